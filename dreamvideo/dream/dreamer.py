"""Dreams one picture, cold or warm. Refuses to know what came before it and where it goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import TypeAlias

import torch
from torch import Tensor

from dreamvideo.dream.aim import Aim
from dreamvideo.dream.ascent import LEVEL_FIRMNESS, ascend
from dreamvideo.dream.blend import blended
from dreamvideo.dream.conditioning import SMOOTHING_PX, Conditioning
from dreamvideo.dream.evaluation import Evaluation
from dreamvideo.dream.focus import (
    ITERATIONS,
    Focus,
    at_size,
    focused,
    log_gains,
    weakness,
)
from dreamvideo.dream.goal import Features, Goal
from dreamvideo.dream.octaves import Octave, octaves_of
from dreamvideo.dream.pace import OUT_OF_REACH, cold_steps, shifts, warm_steps
from dreamvideo.dream.pyramid import Size, octave_sizes, resize_smooth, size_at_most
from dreamvideo.frames import FloatArray
from dreamvideo.settings import Settings

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
        evaluation: Evaluation | None = None,
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
        self.aim = Aim(features, settings, guide, class_channel)
        self._features, self._guide, self._class_channel = features, guide, class_channel
        self._evaluation = evaluation or Evaluation(lambda layers: None)
        self._conditioning = lru_cache(maxsize=1)(
            lambda smoothing_px, natural_colour: Conditioning(
                SMOOTHING_PX if smoothing_px is None else smoothing_px, natural_colour
            ).to(device)
        )

    def with_settings(self, settings: Settings) -> Dreamer:
        """The same network and guide with other settings, for the same layers."""
        return Dreamer(
            *(self._features, settings, self.device, self._guide, self._class_channel),
            self._evaluation,
        )

    def value(self, picture: Tensor, goal: Goal) -> Tensor:
        """A goal's value for a picture (1, 3, H, W) of any size, a scalar."""
        return self._evaluation.value(picture, goal)

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
            return octaves_of(source, sizes)

    def octave(
        self,
        source: Tensor,
        from_largest: int,
        time_seconds: float = 0.0,
        most_px: int | None = None,
    ) -> Octave:
        """A source (1, 3, H, W) at one of its sizes, 0 being the largest; or at its smallest.

        With `most_px`, the longest side is no longer than that.
        """
        sizes = self._sizes(source, self.settings.at(time_seconds))
        number, size = sizes[-1 - min(from_largest, len(sizes) - 1)]
        if most_px is not None:
            size = size_at_most(size, most_px)
        with torch.no_grad():
            return octaves_of(source, [(number, size)])[0]

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
        firmness: float = LEVEL_FIRMNESS,
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
        iterations, step_size = warm_steps(now, effort) if is_warm else cold_steps(now, effort)
        if step_size == 0 or iterations == 0:
            return torch.zeros_like(source) if carried is None else carried
        if octaves is None:
            octaves = self.octaves(source, time_seconds, is_warm=is_warm, every_octave=every_octave)
        goal = self.aim.goal(time_seconds, source if subject is None else subject)
        conditioning = self._conditioning(now.smoothing, now.natural_colour)
        with torch.no_grad():
            image = base = octaves[0].source
            for octave in octaves:
                change = resize_smooth(image - base, octave.size)
                base = octave.source if carried is None else at_size(carried, octave)
                image = ascend(
                    change.add_(base).clamp_(0, 1),
                    partial(self._evaluation.value_and_gradient, goal=goal),
                    conditioning,
                    octave.texture,
                    shifts(now, frame_index, octave.number, iterations),
                    step_size,
                    None if level is None else level(octave),
                    firmness,
                )
            return image - source

    def focused(
        self,
        carried: Tensor,
        focus: Focus,
        usual: float,
        frame_index: int,
        time_seconds: float = 0.0,
    ) -> Tensor | None:
        """What is to be added to a residual where its dream is weak; None where nothing is wanting.

        See `dream.focus`.

        Args:
            carried: (1, 3, H, W), dream minus source.
            focus: facts on the source.
            usual: the logarithm of the gain that is usual in it, above 0.
            frame_index: with the seed, determines the jitter.
            time_seconds: of the frame.
        """
        now = self.settings.at(time_seconds)
        goal = self.aim.goal(time_seconds, focus.subject)
        with torch.no_grad():
            image = at_size(carried, focus.seen_at)
            seen = self.aim.places(time_seconds, focus.subject, image)
            return focused(
                carried,
                focus,
                weakness(log_gains(focus.places, seen, focus.seen_at.size), usual),
                partial(self._evaluation.value_and_gradient, goal=goal),
                self._conditioning(now.smoothing, now.natural_colour),
                shifts(now, frame_index, focus.octave.number, ITERATIONS, OUT_OF_REACH),
                now.step_size * now.strength,
            )

    def shown(
        self, source: Tensor, residual: Tensor, mask: FloatArray | None, time_seconds: float
    ) -> FloatArray:
        """The image (H, W, 3) in [0, 1] to show of a dream; see `blended`."""
        there = None if mask is None else torch.from_numpy(mask).to(self.device)[None, None]
        shown = blended(source, residual, there, self.settings.at(time_seconds))
        return self.download(shown.clamp_(0, 1))

    def gain(self, before: Tensor, after: Tensor, time_seconds: float = 0.0) -> float:
        """How many times more is seen of what is raised after a dream than before it.

        Energy of the layer in the one picture (1, 3, H, W) in [0, 1] over the other; of several
        layers, the mean of their gains, weighted by their shares (a geometric one). Of a class,
        its probability.
        """
        if self.settings.strength == 0:
            return 1.0
        strength = self.aim.strength(time_seconds, before)
        gain = self.value(after, strength) - self.value(before, strength)
        return float(gain.exp())

    def _sizes(self, source: Tensor, now: Settings) -> list[tuple[int, Size]]:
        height, width = source.shape[-2:]
        return list(enumerate(octave_sizes(height, width, now.octaves, now.octave_scale)))
