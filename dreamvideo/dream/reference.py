"""What a still and its dream are like, for a dream that goes on for ever to be held to.

Refuses to know what is held to it.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import chain

import torch
from torch import Tensor

from dreamvideo.dream.dreamer import Dreamer
from dreamvideo.dream.goal import Goal
from dreamvideo.dream.palette import Palette
from dreamvideo.dream.pyramid import at_most, resize
from dreamvideo.schedule import Schedule

# The gain of a dream hardly depends on its size, and a cold dream takes long: for it, longest sides
# are made this long.
DREAM_MOST_PX = 384
# Options, beside layer and strength, on which the gain of a cold dream depends.
DECIDING = (
    *("octaves", "octave_scale", "iterations", "step_size"),
    *("jitter", "smoothing", "natural_colour"),
)


class Reference:
    """A still, its colours, and how strongly the layers answer to it and to its dream."""

    def __init__(self, dreamer: Dreamer, still: Tensor) -> None:
        """Args:
        dreamer: dreams the still, with a strength of 1.
        still: (1, 3, H, W).
        """
        self.still = still
        self.palette = Palette.of(still)
        self._dreamer = dreamer
        schedules = (getattr(dreamer.settings, name) for name in DECIDING)
        keys = [schedule.times_seconds for schedule in schedules if isinstance(schedule, Schedule)]
        self._times_seconds = sorted(set(chain([0.0], *keys)))
        self._log_gain = cache(self._dream)
        self._answer = cache(self._measure)

    def level(
        self,
        size_share: float,
        layers: Sequence[tuple[str, float]],
        strength: float,
        time_seconds: float,
    ) -> Tensor:
        """The objective of a dream as strong as asked for, a scalar.

        That of the still, and the gain of its dream to the power of the strength.

        Args:
            size_share: size of the picture that is measured, as a share of the still's.
            layers: names and shares of the layers.
            strength: 0 for the still, 1 for its dream.
            time_seconds: for settings that change over time.
        """
        # A layer that is pushed away is one whose answer is raised with the other sign.
        signed = [(layer, math.copysign(1.0, share), abs(share)) for layer, share in layers]
        levels = [size * self._answer(layer, sign, size_share) for layer, sign, size in signed]
        if strength > 0:
            levels += [
                size * strength * self._gain_at(layer, sign, time_seconds)
                for layer, sign, size in signed
            ]
        return torch.stack(levels).sum()

    def _gain_at(self, layer: str, sign: float, time_seconds: float) -> Tensor:
        """What a dream gains: measured at the keys of the settings, between them mixed."""
        times = self._times_seconds
        behind = max(0, bisect.bisect_right(times, time_seconds) - 1)
        one, other = times[behind], times[min(behind + 1, len(times) - 1)]
        if time_seconds <= one or other == one:
            return self._log_gain(layer, sign, one)
        share = (time_seconds - one) / (other - one)
        before, after = (self._log_gain(layer, sign, time) for time in (one, other))
        return torch.lerp(before, after, share)

    def _measure(self, layer: str, sign: float, size_share: float) -> Tensor:
        height, width = self.still.shape[-2:]
        size = (max(1, round(height * size_share)), max(1, round(width * size_share)))
        return self._dreamer.value(resize(self.still, size), self._goal(layer, sign))

    def _goal(self, layer: str, sign: float) -> Goal:
        return self._dreamer.aim.goal(0.0, self.still, [(layer, sign)])

    def _dream(self, layer: str, sign: float, time_seconds: float) -> Tensor:
        """How much a cold dream with the settings of a time raises the objective."""
        settings = replace(self._dreamer.settings.at(time_seconds), strength=1.0)
        if settings.class_ is None:
            settings = replace(settings, layer=f"{layer}={sign}")
        still = at_most(self.still, DREAM_MOST_PX)
        residual = self._dreamer.with_settings(settings).dream(still, 0, subject=self.still)
        goal = self._goal(layer, sign)
        with torch.no_grad():
            return goal((still + residual).clamp(0, 1)) - goal(still)
