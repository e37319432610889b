"""Blurs a picture into a smaller one, and makes it large again.

A blurred picture is known from few of its pixels, so that blurring, keeping every n-th row and
column, and all that comes after is done at a fraction of the cost. Refuses to know what is blurred.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn

from dreamvideo.dream.bands import bands_of

# A Gaussian is cut where it has fallen to 1 % of its middle.
GAUSSIAN_CUT_DEVIATIONS = 3.0
# Below this a Gaussian is a point.
SMALLEST_DEVIATION_PX = 1e-6
# Two of each octave; more only come up where the sizes of octaves change over time.
SIZES_AT_HAND = 24


class Smoothing(nn.Module):
    """A Gaussian, of which every n-th row and column is kept."""

    def __init__(self, deviation_px: float, every: int) -> None:
        """Args:
        deviation_px: of the Gaussian, before anything is made large again.
        every: n; kept are the middles of blocks of n rows and columns.
        """
        super().__init__()
        self._every = every
        self._margin_px = math.ceil(GAUSSIAN_CUT_DEVIATIONS * deviation_px)
        taps = every + 2 * self._margin_px
        kernel = _gaussian(deviation_px, taps).expand(3, 1, 1, taps).contiguous()
        self.register_buffer("across", kernel)
        self.register_buffer("down", kernel.transpose(2, 3).contiguous())
        self._coverage = lru_cache(maxsize=SIZES_AT_HAND)(self._cover)

    def forward(self, picture: Tensor) -> Tensor:
        """(1, 3, H, W) to (1, 3, ceil(H / every), ceil(W / every))."""
        return self._blur(picture) / self._coverage(*picture.shape[-2:])

    def _blur(self, picture: Tensor) -> Tensor:
        height, width = picture.shape[-2:]
        missing = (0, -width % self._every, 0, -height % self._every)
        if any(missing):
            picture = nn.functional.pad(picture, missing)
        margin_px, every = self._margin_px, self._every
        across = _in_bands(
            lambda band: nn.functional.conv2d(
                band, self.get_buffer("across"), None, (1, every), (0, margin_px), groups=3
            ),
            picture,
            axis=2,
        )
        return _in_bands(
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


def enlarged(picture: Tensor, times: int, size: tuple[int, int]) -> Tensor:
    """(1, 3, rows, columns), kept by a `Smoothing`, to (1, 3, *size), bilinearly."""
    if times > 1:
        picture = nn.functional.interpolate(picture, scale_factor=times, mode="bilinear")
    return picture[..., : size[0], : size[1]]


def enlarging_variance(times: int) -> float:
    """How far bilinear enlarging blurs, px², the mean over all pixels.

    A pixel a share f of the way between two kept ones is blurred by f · (1 − f) · times².
    """
    return 0.0 if times == 1 else (2 * times**2 + 1) / 12


def _in_bands(blur: Callable[[Tensor], Tensor], picture: Tensor, axis: int) -> Tensor:
    """What `blur`, which works along the other axis only, makes of a picture: band by band.

    PyTorch's convolution of three channels takes the memory of sixteen.
    """
    bands = bands_of(picture, axis)
    return blur(picture) if len(bands) == 1 else torch.cat([blur(band) for band in bands], axis)


def _gaussian(deviation_px: float, taps: int) -> Tensor:
    offsets = torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2
    weights = torch.exp(-0.5 * (offsets / max(deviation_px, SMALLEST_DEVIATION_PX)) ** 2)
    return (weights / weights.sum()).float()
