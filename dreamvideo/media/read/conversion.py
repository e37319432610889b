"""Converts decoded pictures: size, pixel format, orientation, tone mapping."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias, cast

import av
import numpy as np
import numpy.typing as npt

from dreamvideo.media.ffmpeg import SCALE_FLAGS, filter_chain
from dreamvideo.types import FloatArray

# (width, height) in px.
Size: TypeAlias = tuple[int, int]
EVEN_PX = 2
# FFmpeg's RGB formats, by whether there is alpha and whether there are more than 8 bits.
LAYOUTS = {
    (False, False): "rgb24",
    (True, False): "rgba",
    (False, True): "rgb48le",
    (True, True): "rgba64le",
}


def scaled_size(
    width_px: int, height_px: int, size_px: int | None, max_px: int | None = None
) -> Size:
    """(width, height) with `size_px` as the longest side and the shape kept.

    A scaled size is even on both sides, since film formats want that. Without `size_px` the size
    stays as it is, unless its longest side is more than `most_px`, which it then becomes.
    """
    longest_px = max(width_px, height_px)
    if size_px is None:
        if max_px is None or longest_px <= max_px:
            return width_px, height_px
        size_px = max_px
    scale = size_px / longest_px
    width, height = (
        max(EVEN_PX, round(side * scale / EVEN_PX) * EVEN_PX) for side in (width_px, height_px)
    )
    return width, height


class Scaler:
    """Scales pictures of one size and format into RGB, or RGBA, of another size."""

    def __init__(self, first: av.VideoFrame, size: Size, facts: str = "") -> None:
        """Prepare for pictures like `first`.

        Args:
            first: gives the size and the pixel format that come in.
            size: (width, height) of what comes out.
            facts: further options of FFmpeg's scale filter, say of the matrix that comes in.
        """
        layout = LAYOUTS[has_alpha(first), bits_of(first) > 8]
        scale = f"{size[0]}:{size[1]}:flags={SCALE_FLAGS}:out_range=pc{facts}"
        self._graph = filter_chain(
            (first.width, first.height),
            first.format,
            first.time_base or Fraction(1),
            [("scale", scale), ("format", layout)],
        )

    def __call__(self, picture: av.VideoFrame) -> FloatArray:
        """(height, width, 3), or 4 with alpha, in [0, 1]."""
        self._graph.vpush(picture)
        pixels = self._graph.vpull().to_ndarray()
        return to_unit(pixels)


def to_unit(pixels: npt.NDArray[Any]) -> FloatArray:
    """Unsigned integers over their type's whole range as floats in [0, 1]."""
    values = pixels.astype(np.float32)
    values /= np.iinfo(pixels.dtype).max
    return values


def bits_of(picture: av.VideoFrame) -> int:
    """Bits of the deepest channel."""
    return max(component.bits for component in picture.format.components)


def has_alpha(picture: av.VideoFrame) -> bool:
    """Whether the format holds transparency; a palette may."""
    return picture.format.name == "pal8" or any(
        component.is_alpha for component in picture.format.components
    )


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways in which a picture can lie."""

    transposed: bool = False
    """Rows and columns change places, before the flips."""
    flipped_horizontally: bool = False
    flipped_vertically: bool = False

    def upright(self, picture: FloatArray) -> FloatArray:
        """The picture (height, width, channels) as it is to be seen."""
        if self.transposed:
            picture = picture.swapaxes(0, 1)
        if self.flipped_horizontally:
            picture = picture[:, ::-1]
        if self.flipped_vertically:
            picture = picture[::-1]
        return np.ascontiguousarray(picture)


def orientation_of(picture: av.VideoFrame) -> Orientation:
    """What the display matrix of a frame says (ISO/IEC 14496-12, 6.2.2).

    The matrix takes column x and row y to x' = a·x + c·y and y' = b·x + d·y. PyAV's own angle
    takes a mirrored picture for one that is turned by half.
    """
    data = picture.side_data.get("DISPLAYMATRIX")
    if data is None:
        return Orientation()
    a, b, _, c, d = struct.unpack("<5i", bytes(cast(Any, data))[:20])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, a < 0, d < 0)
    return Orientation(True, c < 0, b < 0)


# Code points of ITU-T H.273 for the transfer of HDR: SMPTE ST 2084 (PQ) and ARIB STD-B67 (HLG).
PQ = 16
HLG = 18
HDR_TRANSFERS = (PQ, HLG)
# White of SDR, to which 1.0 of linear light refers here, and the peak that PQ can express.
SDR_WHITE_NITS = 100.0
PQ_PEAK_NITS = 10000.0
# The display that HLG is mastered for, and its system gamma (BT.2100, table 5).
HLG_PEAK_NITS = 1000.0
HLG_GAMMA = 1.2
# What screens do with values of BT.709 (BT.1886, annex 1).
DISPLAY_GAMMA = 2.4
# The light that becomes white, times SDR's: what FFmpeg's tonemap filter takes where a film says
# nothing.
HDR_PEAK = 10.0
# Linear BT.2020 to linear BT.709 (ITU-R BT.2087, inverse of its equation 2).
BT2020_TO_BT709 = np.array(
    [
        [1.660491, -0.587641, -0.072850],
        [-0.124550, 1.132900, -0.008349],
        [-0.018151, -0.100579, 1.118730],
    ],
    np.float32,
)
LUMA_BT2020 = np.array([0.2627, 0.6780, 0.0593], np.float32)
MIN_LIGHT = 1e-6


def to_standard_range(image: FloatArray, transfer: int) -> FloatArray:
    """An image of BT.2020 with a transfer of HDR as one of BT.709.

    Args:
        image: (height, width, 3) in [0, 1], as decoded.
        transfer: `PQ` or `HLG`.
    """
    light = _light_of_pq(image) if transfer == PQ else _light_of_hlg(image)
    light = np.maximum(light @ BT2020_TO_BT709.T, np.float32(0))
    brightest = np.maximum(light.max(axis=2, keepdims=True), MIN_LIGHT)
    light *= _filmic(brightest) / (_filmic(np.full(1, HDR_PEAK, np.float32)) * brightest)
    shown: FloatArray = np.clip(light, 0, 1) ** np.float32(1 / DISPLAY_GAMMA)
    return shown


def _light_of_pq(image: FloatArray) -> FloatArray:
    """SMPTE ST 2084, equation 4.1; 1 is the white of SDR."""
    m1, m2 = np.float32(2610 / 16384), np.float32(2523 / 4096 * 128)
    c1, c2, c3 = (np.float32(c) for c in (3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32))
    power: FloatArray = image ** (1 / m2)
    light = (np.maximum(power - c1, np.float32(0)) / (c2 - c3 * power)) ** (1 / m1)
    return np.asarray(light * (PQ_PEAK_NITS / SDR_WHITE_NITS), np.float32)


def _light_of_hlg(image: FloatArray) -> FloatArray:
    """ITU-R BT.2100, table 5: inverse OETF, then the OOTF of its display."""
    a, b, c = (np.float32(value) for value in (0.17883277, 0.28466892, 0.55991073))
    scene = np.where(image <= 0.5, image**2 / 3, (np.exp((image - c) / a) + b) / 12)
    luma = np.maximum(scene @ LUMA_BT2020, MIN_LIGHT)[..., None]
    display = scene * luma ** (HLG_GAMMA - 1) * (HLG_PEAK_NITS / SDR_WHITE_NITS)
    return np.asarray(display, np.float32)


def _filmic(light: FloatArray) -> FloatArray:
    """John Hable, Filmic Tonemapping with Piecewise Power Curves' forerunner (GDC 2010)."""
    a, b, c, d, e, f = (np.float32(value) for value in (0.15, 0.50, 0.10, 0.20, 0.02, 0.30))
    curve = (light * (light * a + b * c) + d * e) / (light * (light * a + b) + d * f) - e / f
    return np.asarray(curve, np.float32)
