"""A still as a reference for a zoom: its colours, and how strongly it activates layers."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from dreamvideo.dream.dreamer import Dreamer
from dreamvideo.dream.objectives import Objective
from dreamvideo.dream.pyramid import resize, shrink_to
from dreamvideo.settings.keyframes import Schedule

Matrix = npt.NDArray[np.float64]

# What is added to every variance: two steps of 8 bits. Without it a grey picture could not be
# drawn to a colourful one but by blowing up its rounding errors.
MIN_VARIANCE = (2 / 255) ** 2


@dataclass(frozen=True, eq=False)
class ColourStatistics:
    """Mean and covariance of the colours of a picture."""

    mean: Matrix
    """(3,), RGB in [0, 1]."""
    covariance: Matrix
    """(3, 3)."""

    @classmethod
    def of(cls, picture: Tensor) -> ColourStatistics:
        """That of a picture (1, 3, H, W)."""
        values = picture[0].flatten(1)
        mean = values.mean(1, keepdim=True)
        spread = values - mean
        covariance = (spread @ spread.T) / values.shape[1]
        return cls(_to_float64(mean[:, 0]), _to_float64(covariance))

    @classmethod
    def mixed(
        cls, palettes: Sequence[ColourStatistics], shares: Sequence[float]
    ) -> ColourStatistics:
        """One between several, given their shares, which add up to 1."""
        return cls(
            sum((p.mean * s for p, s in zip(palettes, shares, strict=True)), np.zeros(3)),
            sum(
                (p.covariance * s for p, s in zip(palettes, shares, strict=True)), np.zeros((3, 3))
            ),
        )


def match_colours(
    picture: Tensor, present: ColourStatistics, wanted: ColourStatistics, share: float
) -> Tensor:
    """A picture whose colours have gone a share of the way to those of a palette.

    The linear map with the least displacement that takes one covariance C to another, W, is
    C^(-1/2) · (C^(1/2) · W · C^(1/2))^(1/2) · C^(-1/2) (Pitié and Kokaram 2007, "The linear
    Monge-Kantorovitch linear colour mapping"); it is mixed with the identity.

    Args:
        picture: (1, 3, H, W) in [0, 1].
        present: its palette.
        wanted: where it is drawn.
        share: in [0, 1].

    Returns:
        (1, 3, H, W) in [0, 1].
    """
    noise = np.eye(3) * MIN_VARIANCE
    root = _matrix_sqrt(present.covariance + noise)
    back = np.linalg.inv(root)
    whole = back @ _matrix_sqrt(root @ (wanted.covariance + noise) @ root) @ back
    matrix = np.eye(3) * (1 - share) + whole * share
    mean = present.mean * (1 - share) + wanted.mean * share
    offset = mean - matrix @ present.mean
    weight, bias = (
        torch.from_numpy(values.astype(np.float32)).to(picture.device)
        for values in (matrix[:, :, None, None], offset)
    )
    return nn.functional.conv2d(picture, weight, bias).clamp(0, 1)


def _matrix_sqrt(matrix: Matrix) -> Matrix:
    """The square root of a symmetric matrix without negative eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    root: Matrix = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    return root


def _to_float64(values: Tensor) -> Matrix:
    return values.cpu().numpy().astype(np.float64)


# The gain of a dream hardly depends on its size, and a cold dream takes long: for it, longest sides
# are made this long.
REFERENCE_DREAM_MAX_PX = 384
# Options, beside layer and strength, on which the gain of a cold dream depends.
GAIN_OPTIONS = (
    *("octaves", "octave_scale", "iterations", "step_size"),
    *("jitter", "smoothing", "natural_colour"),
)


class StillReference:
    """A still, its colours, and how strongly the layers answer to it and to its dream."""

    def __init__(self, dreamer: Dreamer, still: Tensor) -> None:
        """Args:
        dreamer: dreams the still, with a strength of 1.
        still: (1, 3, H, W).
        """
        self.still = still
        self.palette = ColourStatistics.of(still)
        self._dreamer = dreamer
        schedules = (getattr(dreamer.settings, name) for name in GAIN_OPTIONS)
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

    def _goal(self, layer: str, sign: float) -> Objective:
        return self._dreamer.objectives.objective(0.0, self.still, [(layer, sign)])

    def _dream(self, layer: str, sign: float, time_seconds: float) -> Tensor:
        """How much a cold dream with the settings of a time raises the objective."""
        settings = replace(self._dreamer.settings.at(time_seconds), strength=1.0)
        if settings.class_ is None:
            settings = replace(settings, layer=f"{layer}={sign}")
        still = shrink_to(self.still, REFERENCE_DREAM_MAX_PX)
        residual = self._dreamer.with_settings(settings).dream(still, 0, subject=self.still)
        objective = self._goal(layer, sign)
        with torch.no_grad():
            return objective((still + residual).clamp(0, 1)) - objective(still)
