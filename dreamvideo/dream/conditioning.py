"""Turns the raw gradient on a picture into a step worth taking.

The step is smooth, smoother still on flat areas, natural in colour and of unit size.
Refuses to know where the gradient comes from.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dreamvideo.colour import NATURAL_COVARIANCE_ROOT
from dreamvideo.dream.smoothing import Smoothing, enlarged, enlarging_variance

# How far a gradient is smoothed unless asked otherwise: less leaves more noise than strokes.
SMOOTHING_PX = 2.0
# On flat areas the gradient of every layer is a weave of the network's grid, 8 px wide. Blurring it
# three times as far leaves soft figures; chosen by looking at skies.
FLAT_SMOOTHING_RATIO = 3
# How strong the soft figures of flat areas are beside those of textured ones; chosen by looking.
FLAT_STRENGTH = 0.7
# Of pixels of which every third is kept, so that their neighbours count, too.
SMALLEST_SOFT_VARIANCE = 0.25
# Keeps a gradient of zeros at zero.
SMALLEST_SIZE = 1e-12


class Conditioning(nn.Module):
    """Smooths a gradient, draws its colours toward natural ones and gives it unit size.

    A step is so smooth that all of it is known from few of its pixels.
    """

    every: int
    """Of so many of the picture's pixels, across and down, a step has one."""

    def __init__(self, smoothing_px: float, natural_colour: float) -> None:
        super().__init__()
        # A Gaussian of so many pixels passes nothing finer than twice that.
        self.every = every = max(1, math.floor(smoothing_px))
        fine_variance = smoothing_px**2 - enlarging_variance(every)
        soft_variance = (FLAT_SMOOTHING_RATIO**2 - 1) * (smoothing_px / every) ** 2
        soft_variance -= enlarging_variance(FLAT_SMOOTHING_RATIO)
        self._fine = Smoothing(math.sqrt(fine_variance), every)
        # Never so narrow that at an edge nothing of it lies inside.
        soft_variance = max(SMALLEST_SOFT_VARIANCE, soft_variance)
        self._soft = Smoothing(math.sqrt(soft_variance), FLAT_SMOOTHING_RATIO)
        self._kept_size = _size_after_enlarging(every, fine_variance)
        self.register_buffer("colour", _colour_matrix(natural_colour))

    def forward(self, gradient: Tensor, texture: Tensor) -> Tensor:
        """A step (1, 3, ceil(H / every), ceil(W / every)).

        Made as large as the picture, it has a root mean square of 1, where gradients are noise.

        Args:
            gradient: (1, 3, H, W), of any size.
            texture: (1, 1, rows, columns) in [0, 1], 0 where the picture is flat, of any size.
        """
        fine = self._fine(gradient)
        # Pictures stay channels last, which is what all that follows runs fastest on. The matrix is
        # symmetric, so that it may stand behind.
        fine = (fine.permute(0, 2, 3, 1) @ self.get_buffer("colour")).permute(0, 3, 1, 2)
        size = (fine.shape[-2], fine.shape[-1])
        soft = enlarged(_made_unit_size(self._soft(fine)), FLAT_SMOOTHING_RATIO, size)
        share = nn.functional.interpolate(texture, size=size, mode="bilinear")
        step = torch.lerp(soft * FLAT_STRENGTH, _made_unit_size(fine), share)
        return _made_unit_size(step).div_(self._kept_size)


def _made_unit_size(step: Tensor) -> Tensor:
    """Changed in place, since pictures may be large: to a root mean square of 1."""
    size = torch.linalg.vector_norm(step) / math.sqrt(step.numel())
    return step.div_(size + SMALLEST_SIZE)


def _size_after_enlarging(times: int, variance_px2: float) -> float:
    """What bilinear enlarging leaves of the root mean square of noise, blurred by a Gaussian.

    A pixel a share f of the way between two kept ones keeps 1 − 2 f (1 − f) (1 − ρ) of the square,
    along each axis, ρ being how far the two are correlated. Measured on the sample's gradients
    with a smoothing of 2: 0.87 to 0.91, this is 0.90.
    """
    if times == 1:
        return 1.0
    correlation = math.exp(-(times**2) / (4 * variance_px2))
    return 1 - 2 * enlarging_variance(times) / times**2 * (1 - correlation)


def _colour_matrix(natural_colour: float) -> Tensor:
    """(3, 3): ascent in decorrelated colour, seen from RGB.

    Ascent on c where RGB = M c moves RGB along M Mᵀ times the RGB gradient (Olah et al. 2017,
    "Feature Visualization", preconditioning). Mixed with the identity by `natural_colour`.
    """
    root = torch.tensor(NATURAL_COVARIANCE_ROOT)
    natural = root @ root.T
    return torch.lerp(torch.eye(3), natural * 3 / natural.trace(), natural_colour)
