"""Dreams one image, cold or warm, and composites the dream over its source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import TypeAlias

import torch
from torch import Tensor

from dreamvideo.dream.ascent import (
    ZOOM_LEVEL_FIRMNESS,
    ascend,
    cold_step_schedule,
    jitter_offsets,
    warm_step_schedule,
)
from dreamvideo.dream.conditioning import SMOOTHING_PX, Conditioning
from dreamvideo.dream.objective_factory import ObjectiveFactory
from dreamvideo.dream.objectives import Features, Objective
from dreamvideo.dream.pyramid import (
    Octave,
    Size,
    at_octave_size,
    build_octaves,
    octave_sizes,
    resize,
    resize_smooth,
    size_at_most,
)
from dreamvideo.dream.tiling import Evaluator
from dreamvideo.settings import Settings
from dreamvideo.types import LUMA_BT709, FloatArray


def composite(source: Tensor, residual: Tensor, mask: Tensor | None, now: Settings) -> Tensor:
    """The picture to show, (1, 3, H, W): source + mask · mix · (dream − source).

    With `keep_colour` the dream's brightness changes only: the difference of lumas is added to all
    three channels, which leaves the chroma of BT.709 as it is (clipped where no colour is left).

    Args:
        source: (1, 3, H, W) in [0, 1].
        residual: (1, 3, H, W), dream minus source.
        mask: (1, 1, rows, columns) in [0, 1], of any size; where it is 0 the source stays exactly.
        now: says what is mixed and kept.
    """
    shown = source + residual
    if now.keep_colour:
        weights = torch.tensor(LUMA_BT709, device=source.device).view(1, 3, 1, 1)
        shown = source + ((shown.clamp(0, 1) - source) * weights).sum(1, keepdim=True)
    if mask is not None:
        height, width = source.shape[-2:]
        share = resize(mask, (height, width)).clamp(0, 1) * now.mix
        return torch.lerp(source, shown, share)
    return shown if now.mix == 1 else torch.lerp(source, shown, now.mix)


# From an octave to the value of the objective that is held there.
Level: TypeAlias = Callable[[Octave], Tensor]


class Dreamer:
    """A network and settings, ready to dream any number of pictures."""

    def __init__(
        self,
        features: Features,
        settings: Settings,
        device: torch.device,
        guide: Tensor | None = None,
        class_channel: int | None = None,
        evaluation: Evaluator | None = None,
    ) -> None:
        """Args:
        features: the network, for all layers of the settings.
        settings: how to dream.
        device: where `features` is.
        guide: (1, 3, H, W), where the settings name one.
        class_channel: of the network's output, where the settings name a class.
        evaluation: takes pictures of any size through the network; None takes each as a whole.
        """
        self.settings = settings
        self.device = device
        self.objectives = ObjectiveFactory(features, settings, guide, class_channel)
        self._features, self._guide, self._class_channel = features, guide, class_channel
        self.evaluator = evaluation or Evaluator(lambda layers: None)
        self._make_conditioning = lru_cache(maxsize=1)(
            lambda smoothing_px, natural_colour: Conditioning(
                SMOOTHING_PX if smoothing_px is None else smoothing_px, natural_colour
            ).to(device)
        )

    def conditioning(self, now: Settings) -> Conditioning:
        """What makes a step of a gradient, with the settings of one time."""
        return self._make_conditioning(now.smoothing, now.natural_colour)

    def with_settings(self, settings: Settings) -> Dreamer:
        """The same network and guide with other settings, for the same layers."""
        return Dreamer(
            *(self._features, settings, self.device, self._guide, self._class_channel),
            self.evaluator,
        )

    def value(self, picture: Tensor, objective: Objective) -> Tensor:
        """A goal's value for a picture (1, 3, H, W) of any size, a scalar."""
        return self.evaluator.value(picture, objective)

    def upload(self, image: FloatArray) -> Tensor:
        """An image (H, W, 3) as (1, 3, H, W) on the device, channels last in memory."""
        return torch.from_numpy(image).to(self.device).permute(2, 0, 1)[None]

    def download(self, picture: Tensor) -> FloatArray:
        """(1, 3, H, W) on the device as an image (H, W, 3)."""
        image: FloatArray = picture[0].permute(1, 2, 0).contiguous().cpu().numpy()
        return image

    def octaves(
        self,
        source: Tensor,
        time_seconds: float = 0.0,
        *,
        is_warm: bool = False,
        every_octave: bool = True,
    ) -> list[Octave]:
        """What `dream` wants to know of a source (1, 3, H, W), smallest octave first.

        Args: see `dream`.
        """
        now = self.settings.at(time_seconds)
        if now.strength == 0:
            return []
        sizes = self._sizes(source, now)
        if is_warm:
            sizes = sizes[-now.warm_octaves if every_octave else -1 :]
        with torch.no_grad():
            return build_octaves(source, sizes)

    def octave(
        self,
        source: Tensor,
        from_largest: int,
        time_seconds: float = 0.0,
        max_px: int | None = None,
    ) -> Octave:
        """A source (1, 3, H, W) at one of its sizes, 0 being the largest; or at its smallest.

        With `most_px`, the longest side is no longer than that.
        """
        sizes = self._sizes(source, self.settings.at(time_seconds))
        number, size = sizes[-1 - min(from_largest, len(sizes) - 1)]
        if max_px is not None:
            size = size_at_most(size, max_px)
        with torch.no_grad():
            return build_octaves(source, [(number, size)])[0]

    def dream(
        self,
        source: Tensor,
        frame_index: int,
        carried: Tensor | None = None,
        *,
        is_warm: bool = False,
        every_octave: bool = True,
        time_seconds: float = 0.0,
        effort: float = 1.0,
        level: Level | None = None,
        firmness: float = ZOOM_LEVEL_FIRMNESS,
        subject: Tensor | None = None,
        octaves: Sequence[Octave] | None = None,
    ) -> Tensor:
        """The residual, dream minus source, that a dream of `source` ends with.

        A cold dream climbs the whole pyramid. A warm one, with a residual `carried` from the
        frame before, refreshes it with a short climb of the largest octaves.

        Args:
            source: (1, 3, H, W), RGB in [0, 1].
            frame_index: with the seed, determines the jitter.
            carried: (1, 3, H, W), the residual to start from.
            is_warm: whether to dream warm without a residual, of a source that is a dream itself.
            every_octave: whether a warm dream refreshes all of its octaves, or the largest only.
            time_seconds: of the frame, for settings that change over time.
            effort: how many times as much ascent as usual; a warm dream takes more steps for it.
            level: where the objective is held; None lets it climb on.
            firmness: how near; see `ascend`.
            subject: (1, 3, H, W), the picture dreamed of, where it is not `source`.
            octaves: those of the source, where they were made ahead.
        """
        now = self.settings.at(time_seconds)
        is_warm = is_warm or carried is not None
        iterations, step_size = (
            warm_step_schedule(now, effort) if is_warm else cold_step_schedule(now, effort)
        )
        if step_size == 0 or iterations == 0:
            return torch.zeros_like(source) if carried is None else carried
        if octaves is None:
            octaves = self.octaves(source, time_seconds, is_warm=is_warm, every_octave=every_octave)
        objective = self.objectives.objective(time_seconds, source if subject is None else subject)
        conditioning = self.conditioning(now)
        with torch.no_grad():
            image = base = octaves[0].source
            for octave in octaves:
                change = resize_smooth(image - base, octave.size)
                base = octave.source if carried is None else at_octave_size(carried, octave)
                image = ascend(
                    change.add_(base).clamp_(0, 1),
                    partial(self.evaluator.value_and_gradient, objective=objective),
                    conditioning,
                    octave.texture,
                    jitter_offsets(now, frame_index, octave.number, iterations),
                    step_size,
                    None if level is None else level(octave),
                    firmness,
                )
            return image - source

    def shown(
        self, source: Tensor, residual: Tensor, mask: FloatArray | None, time_seconds: float
    ) -> FloatArray:
        """The image (H, W, 3) in [0, 1] to show of a dream; see `blended`."""
        there = None if mask is None else torch.from_numpy(mask).to(self.device)[None, None]
        shown = composite(source, residual, there, self.settings.at(time_seconds))
        return self.download(shown.clamp_(0, 1))

    def gain(self, before: Tensor, after: Tensor, time_seconds: float = 0.0) -> float:
        """How many times more is seen of what is raised after a dream than before it.

        Energy of the layer in the one picture (1, 3, H, W) in [0, 1] over the other; of several
        layers, the mean of their gains, weighted by their shares (a geometric one). Of a class,
        its probability.
        """
        if self.settings.strength == 0:
            return 1.0
        strength = self.objectives.strength(time_seconds, before)
        gain = self.value(after, strength) - self.value(before, strength)
        return float(gain.exp())

    def _sizes(self, source: Tensor, now: Settings) -> list[tuple[int, Size]]:
        height, width = source.shape[-2:]
        return list(enumerate(octave_sizes(height, width, now.octaves, now.octave_scale)))
