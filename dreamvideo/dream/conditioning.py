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
    """Smooths a gradient, draws its colours toward natural ones and gives it unit size."""

    def __init__(self, smoothing_px: float, natural_colour: float) -> None:
        super().__init__()
        # A Gaussian of so many pixels passes nothing finer than twice that.
        self._every = max(1, math.floor(smoothing_px))
        fine_variance = smoothing_px**2 - enlarging_variance(self._every)
        soft_variance = (FLAT_SMOOTHING_RATIO**2 - 1) * (smoothing_px / self._every) ** 2
        soft_variance -= enlarging_variance(FLAT_SMOOTHING_RATIO)
        self._fine = Smoothing(math.sqrt(max(0.0, fine_variance)), self._every)
        # Never so narrow that at an edge nothing of it lies inside.
        soft_variance = max(SMALLEST_SOFT_VARIANCE, soft_variance)
        self._soft = Smoothing(math.sqrt(soft_variance), FLAT_SMOOTHING_RATIO)
        self.register_buffer("colour", _colour_matrix(natural_colour))

    def forward(self, gradient: Tensor, texture: Tensor) -> Tensor:
        """A step (1, 3, H, W), with a root mean square of 1.

        Args:
            gradient: (1, 3, H, W), of any size.
            texture: (1, 1, rows, columns) in [0, 1], 0 where the picture is flat, of any size.
        """
        fine = self._fine(gradient)
        fine = (self.get_buffer("colour") @ fine.flatten(2)).view_as(fine)
        size = (fine.shape[-2], fine.shape[-1])
        soft = enlarged(_made_unit_size(self._soft(fine)), FLAT_SMOOTHING_RATIO, size)
        share = nn.functional.interpolate(texture, size=size, mode="bilinear")
        step = torch.lerp(soft * FLAT_STRENGTH, _made_unit_size(fine), share)
        # Pictures stay channels last, which is what networks run fastest on.
        step = step.contiguous(memory_format=torch.channels_last)
        height, width = gradient.shape[-2:]
        return _made_unit_size(enlarged(step, self._every, (height, width)))


def _made_unit_size(step: Tensor) -> Tensor:
    """Changed in place, since pictures may be large: to a root mean square of 1."""
    size = torch.linalg.vector_norm(step) / math.sqrt(step.numel())
    return step.div_(size + SMALLEST_SIZE)


def _colour_matrix(natural_colour: float) -> Tensor:
    """(3, 3): ascent in decorrelated colour, seen from RGB.

    Ascent on c where RGB = M c moves RGB along M Mᵀ times the RGB gradient (Olah et al. 2017,
    "Feature Visualization", preconditioning). Mixed with the identity by `natural_colour`.
    """
    root = torch.tensor(NATURAL_COVARIANCE_ROOT)
    natural = root @ root.T
    return torch.lerp(torch.eye(3), natural * 3 / natural.trace(), natural_colour)
