"""Turns the raw gradient on an image into a step: smooth, natural in colour, of unit size."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn

from dreamvideo.types import NATURAL_COVARIANCE_ROOT

# Of a band: what is made of it takes a few tens of megabytes.
BAND_PIXELS = 2**21


def row_bands(picture: Tensor, axis: int) -> tuple[Tensor, ...]:
    """Parts of (1, C, H, W) along axis 2 or 3, views; one where the picture is small."""
    across_px = picture.shape[5 - axis]
    return tuple(torch.split(picture, max(1, BAND_PIXELS // across_px), axis))


# A Gaussian is cut where it has fallen to 1 % of its middle.
GAUSSIAN_CUTOFF_STDS = 3.0
# Below this a Gaussian is a point.
MIN_STD_PX = 1e-6
# Two of each octave; more only come up where the sizes of octaves change over time.
CACHED_SIZES = 24


class SubsampledGaussian(nn.Module):
    """A Gaussian, of which every n-th row and column is kept."""

    def __init__(self, std_px: float, every: int) -> None:
        """Args:
        deviation_px: of the Gaussian, before anything is made large again.
        every: n; kept are the middles of blocks of n rows and columns.
        """
        super().__init__()
        self._every = every
        self._margin_px = math.ceil(GAUSSIAN_CUTOFF_STDS * std_px)
        taps = every + 2 * self._margin_px
        kernel = _gaussian(std_px, taps).expand(3, 1, 1, taps).contiguous()
        self.register_buffer("across", kernel)
        self.register_buffer("down", kernel.transpose(2, 3).contiguous())
        self._coverage = lru_cache(maxsize=CACHED_SIZES)(self._cover)

    def forward(self, picture: Tensor) -> Tensor:
        """(1, 3, H, W) to (1, 3, ceil(H / every), ceil(W / every))."""
        return self._blur(picture) / self._coverage(*picture.shape[-2:])

    def _blur(self, picture: Tensor) -> Tensor:
        height, width = picture.shape[-2:]
        missing = (0, -width % self._every, 0, -height % self._every)
        if any(missing):
            picture = nn.functional.pad(picture, missing)
        margin_px, every = self._margin_px, self._every
        across = _by_bands(
            lambda band: nn.functional.conv2d(
                band, self.get_buffer("across"), None, (1, every), (0, margin_px), groups=3
            ),
            picture,
            axis=2,
        )
        return _by_bands(
            lambda band: nn.functional.conv2d(
                band, self.get_buffer("down"), None, (every, 1), (margin_px, 0), groups=3
            ),
            across,
            axis=3,
        )

    def _cover(self, height: int, width: int) -> Tensor:
        """The share of the kernel that lies inside the picture: what zero padding took away."""
        kernel = self.get_buffer("across")[:1, 0]

        def along(side: int) -> Tensor:
            inside = torch.ones(1, 1, side, device=kernel.device)
            inside = nn.functional.pad(inside, (0, -side % self._every))
            return nn.functional.conv1d(inside, kernel, stride=self._every, padding=self._margin_px)

        return along(height)[..., None] * along(width)[:, :, None]


def upsample(picture: Tensor, times: int, size: tuple[int, int]) -> Tensor:
    """(1, 3, rows, columns), kept by a `Smoothing`, to (1, 3, *size), bilinearly."""
    if times > 1:
        picture = nn.functional.interpolate(picture, scale_factor=times, mode="bilinear")
    return picture[..., : size[0], : size[1]]


def upsampling_variance(times: int) -> float:
    """How far bilinear enlarging blurs, px², the mean over all pixels.

    A pixel a share f of the way between two kept ones is blurred by f · (1 − f) · times².
    """
    return 0.0 if times == 1 else (2 * times**2 + 1) / 12


def _by_bands(blur: Callable[[Tensor], Tensor], picture: Tensor, axis: int) -> Tensor:
    """What `blur`, which works along the other axis only, makes of a picture: band by band.

    PyTorch's convolution of three channels takes the memory of sixteen.
    """
    bands = row_bands(picture, axis)
    return blur(picture) if len(bands) == 1 else torch.cat([blur(band) for band in bands], axis)


def _gaussian(std_px: float, taps: int) -> Tensor:
    offsets = torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2
    weights = torch.exp(-0.5 * (offsets / max(std_px, MIN_STD_PX)) ** 2)
    return (weights / weights.sum()).float()


# How far a gradient is smoothed unless asked otherwise: less leaves more noise than strokes.
SMOOTHING_PX = 2.0
# On flat areas the gradient of every layer is a weave of the network's grid, 8 px wide. Blurring it
# three times as far leaves soft figures; chosen by looking at skies.
FLAT_SMOOTHING_RATIO = 3
# How strong the soft figures of flat areas are beside those of textured ones; chosen by looking.
FLAT_STRENGTH = 0.7
# Of pixels of which every third is kept, so that their neighbours count, too.
MIN_SOFT_VARIANCE = 0.25
# Keeps a gradient of zeros at zero.
MIN_NORM = 1e-12


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
        fine_variance = smoothing_px**2 - upsampling_variance(every)
        soft_variance = (FLAT_SMOOTHING_RATIO**2 - 1) * (smoothing_px / every) ** 2
        soft_variance -= upsampling_variance(FLAT_SMOOTHING_RATIO)
        self._fine = SubsampledGaussian(math.sqrt(fine_variance), every)
        # Never so narrow that at an edge nothing of it lies inside.
        soft_variance = max(MIN_SOFT_VARIANCE, soft_variance)
        self._soft = SubsampledGaussian(math.sqrt(soft_variance), FLAT_SMOOTHING_RATIO)
        self._kept_size = _rms_after_upsampling(every, fine_variance)
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
        soft = upsample(_normalize_(self._soft(fine)), FLAT_SMOOTHING_RATIO, size)
        share = nn.functional.interpolate(texture, size=size, mode="bilinear")
        step = torch.lerp(soft * FLAT_STRENGTH, _normalize_(fine), share)
        return _normalize_(step).div_(self._kept_size)


def _normalize_(step: Tensor) -> Tensor:
    """Changed in place, since pictures may be large: to a root mean square of 1."""
    size = torch.linalg.vector_norm(step) / math.sqrt(step.numel())
    return step.div_(size + MIN_NORM)


def _rms_after_upsampling(times: int, variance_px2: float) -> float:
    """What bilinear enlarging leaves of the root mean square of noise, blurred by a Gaussian.

    A pixel a share f of the way between two kept ones keeps 1 − 2 f (1 − f) (1 − ρ) of the square,
    along each axis, ρ being how far the two are correlated. Measured on the sample's gradients
    with a smoothing of 2: 0.87 to 0.91, this is 0.90.
    """
    if times == 1:
        return 1.0
    correlation = math.exp(-(times**2) / (4 * variance_px2))
    return 1 - 2 * upsampling_variance(times) / times**2 * (1 - correlation)


def _colour_matrix(natural_colour: float) -> Tensor:
    """(3, 3): ascent in decorrelated colour, seen from RGB.

    Ascent on c where RGB = M c moves RGB along M Mᵀ times the RGB gradient (Olah et al. 2017,
    "Feature Visualization", preconditioning). Mixed with the identity by `natural_colour`.
    """
    root = torch.tensor(NATURAL_COVARIANCE_ROOT)
    natural = root @ root.T
    return torch.lerp(torch.eye(3), natural * 3 / natural.trace(), natural_colour)
