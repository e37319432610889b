"""Turns the raw gradient on a picture into a step worth taking.

The step is smooth, smoother still on flat areas, natural in colour and of unit size.
Refuses to know where the gradient comes from.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor, nn

from dreamvideo.colour import NATURAL_COVARIANCE_ROOT
from dreamvideo.dream.pyramid import resize

# How far a gradient is smoothed unless asked otherwise: less leaves more noise than strokes.
SMOOTHING_PX = 2.0
# A Gaussian is cut where it has fallen to 1 % of its middle.
GAUSSIAN_CUT_DEVIATIONS = 3.0
# On flat areas the gradient of every layer is a weave of the network's grid, 8 px wide. Blurring it
# three times as far leaves soft figures; chosen by looking at skies.
FLAT_SMOOTHING_RATIO = 3
# How strong the soft figures of flat areas are beside those of textured ones; chosen by looking.
FLAT_STRENGTH = 0.7
# Two of each octave; more only come up where the sizes of octaves change over time.
SIZES_AT_HAND = 24
# Keeps a gradient of zeros at zero.
SMALLEST_DEVIATION = 1e-12


class Conditioning(nn.Module):
    """Smooths a gradient, draws its colours toward natural ones and gives it unit deviation."""

    def __init__(self, smoothing_px: float, natural_colour: float) -> None:
        super().__init__()
        self.radius_px = math.ceil(GAUSSIAN_CUT_DEVIATIONS * smoothing_px)
        kernel = _gaussian(smoothing_px, self.radius_px).expand(3, 1, 1, -1).contiguous()
        self.register_buffer("across", kernel)
        self.register_buffer("down", kernel.transpose(2, 3).contiguous())
        self.register_buffer("colour", _colour_matrix(natural_colour)[:, :, None, None])
        self._coverage = lru_cache(maxsize=SIZES_AT_HAND)(self._cover)

    def forward(self, gradient: Tensor, texture: Tensor) -> Tensor:
        """A step (1, 3, H, W), with a standard deviation of 1.

        Args:
            gradient: (1, 3, H, W), of any size.
            texture: (1, 1, H, W) in [0, 1], 0 where the picture is flat.
        """
        natural = nn.functional.conv2d(gradient, self.get_buffer("colour"))
        fine = _to_unit_deviation(self._smooth(natural))
        height, width = natural.shape[-2:]
        small = (-(-height // FLAT_SMOOTHING_RATIO), -(-width // FLAT_SMOOTHING_RATIO))
        soft = resize(self._smooth(resize(natural, small)), (height, width))
        soft = _to_unit_deviation(soft) * FLAT_STRENGTH
        return _to_unit_deviation(torch.lerp(soft, fine, texture))

    def _smooth(self, picture: Tensor) -> Tensor:
        return self._blur(picture) / self._coverage(*picture.shape[-2:])

    def _blur(self, picture: Tensor) -> Tensor:
        across = nn.functional.conv2d(
            picture, self.get_buffer("across"), padding=(0, self.radius_px), groups=3
        )
        return nn.functional.conv2d(
            across, self.get_buffer("down"), padding=(self.radius_px, 0), groups=3
        )

    def _cover(self, height: int, width: int) -> Tensor:
        """The share of the kernel that lies inside the picture: what zero padding took away."""
        return self._blur(torch.ones(1, 3, height, width, device=self.get_buffer("across").device))


def _to_unit_deviation(step: Tensor) -> Tensor:
    return step / (step.std() + SMALLEST_DEVIATION)


def _gaussian(deviation_px: float, radius_px: int) -> Tensor:
    offsets = torch.arange(-radius_px, radius_px + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (offsets / max(deviation_px, SMALLEST_DEVIATION)) ** 2)
    return (weights / weights.sum()).float()


def _colour_matrix(natural_colour: float) -> Tensor:
    """(3, 3): ascent in decorrelated colour, seen from RGB.

    Ascent on c where RGB = M c moves RGB along M Mᵀ times the RGB gradient (Olah et al. 2017,
    "Feature Visualization", preconditioning). Mixed with the identity by `natural_colour`.
    """
    root = torch.tensor(NATURAL_COVARIANCE_ROOT)
    natural = root @ root.T
    return torch.lerp(torch.eye(3), natural * 3 / natural.trace(), natural_colour)
