"""Turns the raw gradient of an image into a step: smooth, natural in colour, of unit size.

A smoothed gradient is fully described by few of its pixels, so that smoothing keeps only every n-th
row and column, and everything after it is done at a fraction of the cost.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn

from dreamvideo.types import NATURAL_COVARIANCE_ROOT

# On flat areas the gradient of every layer is a weave of the network's grid, 8 px wide. A blur
# three times as wide leaves soft figures; chosen by looking at skies.
FLAT_SMOOTHING_RATIO = 3
# Strength of the soft figures on flat areas relative to those on textured ones; chosen by eye.
FLAT_STRENGTH = 0.7
# In squared pixels of which every third is kept: no less, so that the neighbours contribute.
MIN_SOFT_VARIANCE = 0.25
# Keeps a gradient of zeros at zero.
MIN_NORM = 1e-12
# A Gaussian is cut off where it has fallen to 1 % of its maximum.
GAUSSIAN_CUTOFF_STDS = 3.0
# Below this a Gaussian is a single point.
MIN_STD_PX = 1e-6
# Coverage maps are cached for two sizes per octave; more only occur where octave sizes change over
# time.
CACHED_SIZES = 24
# Pixels of a row band: what is computed from one takes a few tens of megabytes.
BAND_PIXELS = 2**21


class Conditioning(nn.Module):
    """Smooths a gradient, shifts its colours toward natural ones and scales it to unit size."""

    stride: int
    """A step has one pixel for so many of the image's, across and down."""

    def __init__(self, smoothing_px: float, natural_colour: float) -> None:
        """Prepare the filters.

        Args:
            smoothing_px: standard deviation of the blur.
            natural_colour: how far colours are decorrelated as in natural images, in [0, 1].
        """
        super().__init__()
        # A Gaussian of n pixels passes nothing finer than 2n pixels.
        self.stride = stride = max(1, math.floor(smoothing_px))
        fine_variance = smoothing_px**2 - upsampling_variance(stride)
        soft_variance = (FLAT_SMOOTHING_RATIO**2 - 1) * (smoothing_px / stride) ** 2
        soft_variance -= upsampling_variance(FLAT_SMOOTHING_RATIO)
        self._fine = SubsampledGaussian(math.sqrt(fine_variance), stride)
        # Never so narrow that at an edge no part of it lies inside.
        soft_variance = max(MIN_SOFT_VARIANCE, soft_variance)
        self._soft = SubsampledGaussian(math.sqrt(soft_variance), FLAT_SMOOTHING_RATIO)
        self._upsampled_rms = _rms_after_upsampling(stride, fine_variance)
        self.register_buffer("colour", _colour_matrix(natural_colour))

    def forward(self, gradient: Tensor, texture: Tensor) -> Tensor:
        """A step (1, 3, ceil(H / stride), ceil(W / stride)).

        Upsampled to the size of the image, it has a root mean square of 1 if gradients are noise.

        Args:
            gradient: (1, 3, H, W), of any magnitude.
            texture: (1, 1, rows, columns) in [0, 1] of any size, 0 where the image is flat.
        """
        fine = self._fine(gradient)
        # Images stay channels last in memory, the fastest layout for all that follows. The matrix
        # is symmetric, so that it may stand on the right.
        fine = (fine.permute(0, 2, 3, 1) @ self.get_buffer("colour")).permute(0, 3, 1, 2)
        size = (fine.shape[-2], fine.shape[-1])
        soft = upsample(_normalize_(self._soft(fine)), FLAT_SMOOTHING_RATIO, size)
        share = nn.functional.interpolate(texture, size=size, mode="bilinear")
        step = torch.lerp(soft * FLAT_STRENGTH, _normalize_(fine), share)
        return _normalize_(step).div_(self._upsampled_rms)


class SubsampledGaussian(nn.Module):
    """A Gaussian blur of which every n-th row and column is kept."""

    def __init__(self, std_px: float, stride: int) -> None:
        """Prepare the kernels.

        Args:
            std_px: standard deviation of the Gaussian.
            stride: n; the centres of blocks of n rows and columns are kept.
        """
        super().__init__()
        self._stride = stride
        self._margin_px = math.ceil(GAUSSIAN_CUTOFF_STDS * std_px)
        taps = stride + 2 * self._margin_px
        kernel = _gaussian(std_px, taps).expand(3, 1, 1, taps).contiguous()
        self.register_buffer("across", kernel)
        self.register_buffer("down", kernel.transpose(2, 3).contiguous())
        self._coverage = lru_cache(maxsize=CACHED_SIZES)(self._compute_coverage)

    def forward(self, image: Tensor) -> Tensor:
        """(1, 3, H, W) to (1, 3, ceil(H / stride), ceil(W / stride))."""
        return self._blur(image) / self._coverage(*image.shape[-2:])

    def _blur(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        padding = (0, -width % self._stride, 0, -height % self._stride)
        if any(padding):
            image = nn.functional.pad(image, padding)
        margin_px, stride = self._margin_px, self._stride
        across = _by_bands(
            lambda band: nn.functional.conv2d(
                band, self.get_buffer("across"), None, (1, stride), (0, margin_px), groups=3
            ),
            image,
            axis=2,
        )
        return _by_bands(
            lambda band: nn.functional.conv2d(
                band, self.get_buffer("down"), None, (stride, 1), (margin_px, 0), groups=3
            ),
            across,
            axis=3,
        )

    def _compute_coverage(self, height: int, width: int) -> Tensor:
        """The share of the kernel that lies inside the image: what zero padding took away."""
        kernel = self.get_buffer("across")[:1, 0]

        def along(side: int) -> Tensor:
            inside = torch.ones(1, 1, side, device=kernel.device)
            inside = nn.functional.pad(inside, (0, -side % self._stride))
            return nn.functional.conv1d(
                inside, kernel, stride=self._stride, padding=self._margin_px
            )

        return along(height)[..., None] * along(width)[:, :, None]


def upsample(image: Tensor, factor: int, size: tuple[int, int]) -> Tensor:
    """(1, 3, rows, columns) from a `SubsampledGaussian` to (1, 3, *size), bilinear."""
    if factor > 1:
        image = nn.functional.interpolate(image, scale_factor=factor, mode="bilinear")
    return image[..., : size[0], : size[1]]


def upsampling_variance(factor: int) -> float:
    """How much bilinear upsampling blurs, in px², on average over all pixels.

    A pixel a share f of the way between two kept ones is blurred by f · (1 − f) · factor².
    """
    return 0.0 if factor == 1 else (2 * factor**2 + 1) / 12


def row_bands(image: Tensor, axis: int) -> tuple[Tensor, ...]:
    """Views of (1, C, H, W), split along axis 2 or 3 if the image is large."""
    across_px = image.shape[5 - axis]
    return tuple(torch.split(image, max(1, BAND_PIXELS // across_px), axis))


def _by_bands(blur: Callable[[Tensor], Tensor], image: Tensor, axis: int) -> Tensor:
    """Apply `blur`, which works along the other axis only, band by band.

    PyTorch's convolution of three channels takes the memory of sixteen.
    """
    bands = row_bands(image, axis)
    return blur(image) if len(bands) == 1 else torch.cat([blur(band) for band in bands], axis)


def _gaussian(std_px: float, taps: int) -> Tensor:
    offsets = torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2
    weights = torch.exp(-0.5 * (offsets / max(std_px, MIN_STD_PX)) ** 2)
    return (weights / weights.sum()).float()


def _normalize_(step: Tensor) -> Tensor:
    """Scale to a root mean square of 1, in place, since images may be large."""
    norm = torch.linalg.vector_norm(step) / math.sqrt(step.numel())
    return step.div_(norm + MIN_NORM)


def _rms_after_upsampling(factor: int, variance_px2: float) -> float:
    """What bilinear upsampling leaves of the root mean square of noise blurred by a Gaussian.

    A pixel a share f of the way between two kept ones keeps 1 − 2 f (1 − f) (1 − ρ) of the square,
    along each axis, with ρ the correlation of the two. Measured on gradients of the sample with a
    smoothing of 2 px: 0.87 to 0.91; this gives 0.90.
    """
    if factor == 1:
        return 1.0
    correlation = math.exp(-(factor**2) / (4 * variance_px2))
    return 1 - 2 * upsampling_variance(factor) / factor**2 * (1 - correlation)


def _colour_matrix(natural_colour: float) -> Tensor:
    """(3, 3): ascent in decorrelated colour, expressed in RGB.

    Ascent on c where RGB = M c moves RGB along M Mᵀ times the RGB gradient (Olah et al. 2017,
    "Feature Visualization", preconditioning). Interpolated with the identity by `natural_colour`.
    """
    root = torch.tensor(NATURAL_COVARIANCE_ROOT)
    natural = root @ root.T
    return torch.lerp(torch.eye(3), natural * 3 / natural.trace(), natural_colour)
