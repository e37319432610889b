"""Dreams one image, cold or warm, and composites the dream over its source."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial

import torch
from torch import Tensor

from dreamvideo.dream.ascent import LevelControl, StepSchedule, climb_pyramid
from dreamvideo.dream.conditioning import Conditioning
from dreamvideo.dream.objective_factory import ObjectiveFactory
from dreamvideo.dream.objectives import Features, Objective
from dreamvideo.dream.pyramid import (
    Octave,
    Size,
    build_octaves,
    octave_sizes,
    resize,
    size_at_most,
)
from dreamvideo.dream.tiling import Evaluator
from dreamvideo.errors import WeightsError
from dreamvideo.runtime.devices import download, upload
from dreamvideo.settings.frame_params import FrameParams
from dreamvideo.types import LUMA_BT709, FloatArray


class Dreamer:
    """A network on a device, ready to dream any number of images. Safe to use from many threads."""

    def __init__(
        self,
        features: Features,
        device: torch.device,
        guide: Tensor | None = None,
        class_channel: int | None = None,
        evaluator: Evaluator | None = None,
    ) -> None:
        """Prepare for a network.

        Args:
            features: computes the activations of all layers that parameters may name.
            device: where `features` runs.
            guide: (1, 3, H, W) in [0, 1], if the objective is `guide`.
            class_channel: index in the network's output, if the objective is `class`.
            evaluator: evaluates images of any size; None passes each image through as a whole.
        """
        self.device = device
        self.objectives = ObjectiveFactory(features, guide, class_channel)
        self.evaluator = evaluator or Evaluator(lambda layers: None)
        self._is_checked = False
        self._make_conditioning = lru_cache(maxsize=1)(
            lambda smoothing_px, natural_colour: Conditioning(smoothing_px, natural_colour).to(
                device
            )
        )

    def dream(
        self,
        source: Tensor,
        frame_index: int,
        params: FrameParams,
        carried: Tensor | None = None,
        *,
        is_warm: bool = False,
        every_octave: bool = True,
        effort: float = 1.0,
        control: LevelControl | None = None,
        subject: Tensor | None = None,
        octaves: Sequence[Octave] | None = None,
        weights: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """The residual, dream minus source, of a dream of `source`.

        A cold dream climbs the whole pyramid. A warm one starts from a residual `carried` from the
        previous frame and refreshes it at the largest octaves.

        Args:
            source: (1, 3, H, W), RGB in [0, 1].
            frame_index: with the seed, determines the jitter.
            params: the settings of the frame.
            carried: (1, 3, H, W), the residual to start from.
            is_warm: whether to dream warm without a residual, if the source is a dream itself.
            every_octave: whether a warm dream refreshes all of its octaves, or the largest only.
            effort: a factor on the amount of ascent; a warm dream takes more steps for more effort.
            control: where steps shrink; None never shrinks them.
            subject: (1, 3, H, W), the image that ranks channels, if it is not `source`.
            octaves: of the source, if they were computed before.
            weights: one per octave, (1, 1, rows, columns) of any size, by which steps are
                multiplied.

        Raises:
            WeightsError: the first dream is not finite.
        """
        is_warm = is_warm or carried is not None
        steps = StepSchedule.warm(params, effort) if is_warm else StepSchedule.cold(params, effort)
        if steps.step_size == 0 or steps.iterations == 0:
            return torch.zeros_like(source) if carried is None else carried
        if octaves is None:
            warm_count = params.warm_octaves if every_octave else 1
            octaves = self.octaves(source, params, warm_count if is_warm else None)
        objective = self.objectives.build(params, source if subject is None else subject)
        with torch.no_grad():
            dream = climb_pyramid(
                octaves,
                carried,
                partial(self.evaluator.value_and_gradient, objective=objective),
                self.conditioning(params),
                steps,
                params,
                frame_index,
                control,
                weights,
            )
            residual = dream - source
            if not self._is_checked:  # once: a later frame must not wait for the device
                _check_finite(residual, objective, octaves[0].source)
                self._is_checked = True
            return residual

    def octaves(
        self, source: Tensor, params: FrameParams, count: int | None = None
    ) -> list[Octave]:
        """The octaves of a source (1, 3, H, W), smallest first; none if nothing is dreamed.

        Args:
            source: see `dream`.
            params: see `dream`.
            count: at most so many, the largest; None for all.
        """
        if params.strength == 0:
            return []
        sizes = _numbered_sizes(source, params)
        if count is not None:
            sizes = sizes[-count:]
        with torch.no_grad():
            return build_octaves(source, sizes)

    def octave(
        self, source: Tensor, params: FrameParams, from_largest: int, max_px: int | None = None
    ) -> Octave:
        """A source (1, 3, H, W) at one octave, 0 being the largest, or at its smallest.

        With `max_px`, the longest side is at most that.
        """
        sizes = _numbered_sizes(source, params)
        number, size = sizes[-1 - min(from_largest, len(sizes) - 1)]
        if max_px is not None:
            size = size_at_most(size, max_px)
        with torch.no_grad():
            return build_octaves(source, [(number, size)])[0]

    def conditioning(self, params: FrameParams) -> Conditioning:
        """What makes a step of a gradient."""
        return self._make_conditioning(params.smoothing_px, params.natural_colour)

    def value(self, image: Tensor, objective: Objective) -> Tensor:
        """The value of an objective for an image (1, 3, H, W) of any size, a scalar."""
        return self.evaluator.value(image, objective)

    def gain(self, source: Tensor, dream: Tensor, params: FrameParams) -> float:
        """The dream gain: energy of the layer on the dream divided by that on the source.

        With several layers, the geometric mean of their gains, weighted; with a class, the ratio of
        its probabilities. Both images are (1, 3, H, W) in [0, 1].
        """
        if params.strength == 0:
            return 1.0
        response = self.objectives.build_response(params, source)
        log_gain = self.value(dream, response) - self.value(source, response)
        return float(log_gain.exp())

    def composite(
        self, source: Tensor, residual: Tensor, mask: FloatArray | None, params: FrameParams
    ) -> FloatArray:
        """The image (H, W, 3) in [0, 1] to show; see `composite`.

        Args:
            source: (1, 3, H, W) in [0, 1].
            residual: (1, 3, H, W), dream minus source.
            mask: (rows, columns) in [0, 1], of any size; None shows the dream everywhere.
            params: mix and colour.
        """
        uploaded = None if mask is None else torch.from_numpy(mask).to(self.device)[None, None]
        return self.download(composite(source, residual, uploaded, params).clamp_(0, 1))

    def upload(self, image: FloatArray) -> Tensor:
        """An image (H, W, 3) as (1, 3, H, W) on the device, channels last in memory."""
        return upload(image, self.device)

    def download(self, image: Tensor) -> FloatArray:
        """(1, 3, H, W) on the device as an image (H, W, 3)."""
        return download(image)


def composite(source: Tensor, residual: Tensor, mask: Tensor | None, params: FrameParams) -> Tensor:
    """source + mask · mix · (dream − source), (1, 3, H, W).

    With `keep_colour` only the luma of the dream is shown: the difference of lumas is added to all
    three channels, which leaves the chroma of BT.709 unchanged (clipped where no colour is left).

    Args:
        source: (1, 3, H, W) in [0, 1].
        residual: (1, 3, H, W), dream minus source.
        mask: (1, 1, rows, columns) in [0, 1], of any size; where it is 0 the source stays exactly.
        params: mix and colour.
    """
    shown = source + residual
    if params.keep_colour:
        weights = torch.tensor(LUMA_BT709, device=source.device).view(1, 3, 1, 1)
        shown = source + ((shown.clamp(0, 1) - source) * weights).sum(1, keepdim=True)
    if mask is not None:
        height, width = source.shape[-2:]
        share = resize(mask, (height, width)).clamp(0, 1) * params.mix
        return torch.lerp(source, shown, share)
    return shown if params.mix == 1 else torch.lerp(source, shown, params.mix)


def _check_finite(residual: Tensor, objective: Objective, source: Tensor) -> None:
    """Refuse a residual (1, 3, H, W) with NaN or infinity.

    Args:
        residual: dream minus source.
        objective: what was maximized.
        source: (1, 3, H, W), the source at a small size, on which the layer is looked for.

    Raises:
        WeightsError: names the layers.
    """
    if residual.isfinite().all():
        return
    activations = zip(objective.layers, objective.activations(source), strict=True)
    layers = [layer for layer, one in activations if not one.isfinite().all()]
    what = "activation" if layers else "gradient"
    raise WeightsError(
        f"the dream of the first frame contains NaN or infinity: the {what} of "
        f"{' and '.join(layers or objective.layers)} is not finite; choose an earlier --layer, or "
        "give other --weights"
    )


def _numbered_sizes(source: Tensor, params: FrameParams) -> list[tuple[int, Size]]:
    height, width = source.shape[-2:]
    return list(enumerate(octave_sizes(height, width, params.octaves, params.octave_scale)))
