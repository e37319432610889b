"""A still as the reference of a zoom: its colours, and how strongly its dream activates layers."""

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
from dreamvideo.settings import Settings
from dreamvideo.settings.frame_params import frame_params
from dreamvideo.settings.keyframes import Schedule
from dreamvideo.settings.options import option_values

Matrix = npt.NDArray[np.float64]

# Added to every variance: two steps of 8 bits. Without it, matching a grey image to a colourful one
# would amplify rounding errors.
MIN_VARIANCE = (2 / 255) ** 2
# The gain of a dream hardly depends on its size, and a cold dream takes long: its longest side is
# at most this.
REFERENCE_DREAM_MAX_PX = 384


class StillReference:
    """A still, its colours, and how strongly it and its dream activate the layers."""

    def __init__(self, dreamer: Dreamer, settings: Settings, still: Tensor) -> None:
        """Prepare.

        Args:
            dreamer: dreams the still.
            settings: how, apart from layer and strength.
            still: (1, 3, H, W) in [0, 1].
        """
        self.still = still
        self.colours = ColourStatistics.of(still)
        self._dreamer, self._settings = dreamer, settings
        keys = [
            value.times_seconds
            for option, value in option_values(settings)
            if option.affects_cold_gain and isinstance(value, Schedule)
        ]
        self._times_seconds = sorted(set(chain([0.0], *keys)))
        self._log_gain = cache(self._measure_log_gain)
        self._value = cache(self._measure_value)

    def level(
        self,
        size_share: float,
        layers: Sequence[tuple[str, float]],
        strength: float,
        time_seconds: float,
    ) -> Tensor:
        """The objective of a dream of the given strength, a scalar.

        That of the still, plus the log gain of its dream times the strength.

        Args:
            size_share: height of the image that is dreamed as a share of the still's.
            layers: names and weights.
            strength: 0 for the still, 1 for its dream.
            time_seconds: for options that change over time.
        """
        # A layer with a negative weight is one whose objective is raised with the other sign.
        signed = [(layer, math.copysign(1.0, weight), abs(weight)) for layer, weight in layers]
        levels = [weight * self._value(layer, sign, size_share) for layer, sign, weight in signed]
        if strength > 0:
            levels += [
                weight * strength * self._log_gain_at(layer, sign, time_seconds)
                for layer, sign, weight in signed
            ]
        return torch.stack(levels).sum()

    def _log_gain_at(self, layer: str, sign: float, time_seconds: float) -> Tensor:
        """Measured at the keyframes of the options, interpolated between them."""
        times = self._times_seconds
        index = max(0, bisect.bisect_right(times, time_seconds) - 1)
        before, after = times[index], times[min(index + 1, len(times) - 1)]
        if time_seconds <= before or after == before:
            return self._log_gain(layer, sign, before)
        share = (time_seconds - before) / (after - before)
        low, high = (self._log_gain(layer, sign, time) for time in (before, after))
        return torch.lerp(low, high, share)

    def _measure_value(self, layer: str, sign: float, size_share: float) -> Tensor:
        height, width = self.still.shape[-2:]
        size = (max(1, round(height * size_share)), max(1, round(width * size_share)))
        return self._dreamer.value(resize(self.still, size), self._objective(layer, sign))

    def _measure_log_gain(self, layer: str, sign: float, time_seconds: float) -> Tensor:
        """How much a cold dream with the settings of a time raises the objective."""
        params = frame_params(self._settings, time_seconds)
        params = replace(params, strength=1.0, layers=((layer, sign),))
        still = shrink_to(self.still, REFERENCE_DREAM_MAX_PX)
        residual = self._dreamer.dream(still, 0, params, subject=self.still)
        objective = self._objective(layer, sign)
        with torch.no_grad():
            return objective((still + residual).clamp(0, 1)) - objective(still)

    def _objective(self, layer: str, sign: float) -> Objective:
        params = frame_params(self._settings, 0.0)
        return self._dreamer.objectives.build(params, self.still, [(layer, sign)])


@dataclass(frozen=True, eq=False)
class ColourStatistics:
    """Mean and covariance of the colours of an image."""

    mean: Matrix
    """(3,), RGB in [0, 1]."""
    covariance: Matrix
    """(3, 3)."""

    @classmethod
    def of(cls, image: Tensor) -> ColourStatistics:
        """Those of an image (1, 3, H, W)."""
        values = image[0].flatten(1)
        mean = values.mean(1, keepdim=True)
        centred = values - mean
        covariance = (centred @ centred.T) / values.shape[1]
        return cls(_to_float64(mean[:, 0]), _to_float64(covariance))

    @classmethod
    def blend(
        cls, statistics: Sequence[ColourStatistics], shares: Sequence[float]
    ) -> ColourStatistics:
        """The weighted mean of several, given shares that add up to 1."""
        pairs = list(zip(statistics, shares, strict=True))
        return cls(
            sum((one.mean * share for one, share in pairs), np.zeros(3)),
            sum((one.covariance * share for one, share in pairs), np.zeros((3, 3))),
        )


def match_colours(
    image: Tensor, present: ColourStatistics, target: ColourStatistics, share: float
) -> Tensor:
    """An image whose colour statistics have moved a share of the way to a target.

    The linear map with the least displacement that takes one covariance C to another, W, is
    C^(-1/2) · (C^(1/2) · W · C^(1/2))^(1/2) · C^(-1/2) (Pitié and Kokaram 2007, "The linear
    Monge-Kantorovitch linear colour mapping"); it is interpolated with the identity.

    Args:
        image: (1, 3, H, W) in [0, 1].
        present: its statistics.
        target: where they move to.
        share: in [0, 1].

    Returns:
        (1, 3, H, W) in [0, 1].
    """
    noise = np.eye(3) * MIN_VARIANCE
    root = _matrix_sqrt(present.covariance + noise)
    inverse = np.linalg.inv(root)
    whole = inverse @ _matrix_sqrt(root @ (target.covariance + noise) @ root) @ inverse
    matrix = np.eye(3) * (1 - share) + whole * share
    mean = present.mean * (1 - share) + target.mean * share
    offset = mean - matrix @ present.mean
    weight, bias = (
        torch.from_numpy(values.astype(np.float32)).to(image.device)
        for values in (matrix[:, :, None, None], offset)
    )
    return nn.functional.conv2d(image, weight, bias).clamp(0, 1)


def _matrix_sqrt(matrix: Matrix) -> Matrix:
    """The square root of a symmetric matrix without negative eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    root: Matrix = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    return root


def _to_float64(values: Tensor) -> Matrix:
    return values.cpu().numpy().astype(np.float64)
