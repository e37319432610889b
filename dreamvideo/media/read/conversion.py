"""Converts decoded frames: size, pixel format, orientation, HDR tone mapping, interlacing."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias, cast

import av
import numpy as np
from av.filter import Graph

from dreamvideo.media.pixels import (
    FULL_RANGE,
    MATRIX_NAMES,
    SCALE_FLAGS,
    effective_matrix,
    filter_chain,
    to_floats,
)
from dreamvideo.types import FloatArray

# (width, height) in px.
Size: TypeAlias = tuple[int, int]
EVEN_PX = 2
# FFmpeg's names of pixel formats of floating-point numbers end like this.
FLOAT_FORMAT = re.compile(r"f(16|32)(le|be)$")
# FFmpeg's RGB formats, by whether there is alpha and whether there are more than 8 bits.
RGB_FORMATS = {
    (False, False): "rgb24",
    (True, False): "rgba",
    (False, True): "rgb48le",
    (True, True): "rgba64le",
}


def scaled_size(
    width_px: int, height_px: int, size_px: int | None, max_px: int | None = None
) -> Size:
    """(width, height) in px with `size_px` as the longest side and the aspect ratio kept.

    A scaled size is even on both sides, as video formats require. Without `size_px` the size stays
    as it is, unless its longest side is more than `max_px`, which it then becomes.
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


def fitted_size(size: Size, within: Size) -> Size:
    """The largest (width, height) in px within another size that keeps the aspect ratio of `size`.

    A side fills the other size if it differs only by rounding: of both sizes, by a pixel.
    """
    scale = min(within[0] / size[0], within[1] / size[1])
    width, height = (
        outer if outer - side * scale < 1 + scale else max(1, round(side * scale))
        for side, outer in zip(size, within, strict=True)
    )
    return width, height


def with_bars(image: FloatArray, size: Size) -> FloatArray:
    """An image (height, width, channels) in the middle of a black one of another size."""
    height, width = image.shape[:2]
    top, left = (size[1] - height) // 2, (size[0] - width) // 2
    framed = np.zeros((size[1], size[0], image.shape[2]), np.float32)
    framed[top : top + height, left : left + width] = image
    return framed


class Scaler:
    """Converts frames of one size and pixel format into RGB, or RGBA, of another size."""

    def __init__(self, first: av.VideoFrame, size: Size, colour_options: str = "") -> None:
        """Build the filter graph for frames like `first`.

        Args:
            first: has the size and the pixel format of the frames that go in.
            size: (width, height) in px of the images that come out.
            colour_options: further options of FFmpeg's scale filter, such as the YUV matrix.
        """
        rgb_format = RGB_FORMATS[has_alpha(first), bits_of(first) > 8]
        scale = f"{size[0]}:{size[1]}:flags={SCALE_FLAGS}:out_range=pc{colour_options}"
        self._graph = filter_chain(
            (first.width, first.height),
            first.format,
            first.time_base or Fraction(1),
            [("scale", scale), ("format", rgb_format)],
        )

    def __call__(self, frame: av.VideoFrame) -> FloatArray:
        """(height, width, 3), or 4 with alpha, in [0, 1]."""
        self._graph.vpush(frame)
        return to_floats(self._graph.vpull().to_ndarray())


def bits_of(frame: av.VideoFrame) -> int:
    """Bits of the deepest channel."""
    return max(component.bits for component in frame.format.components)


def has_alpha(frame: av.VideoFrame) -> bool:
    """Whether the pixel format has alpha; the colours of a palette may have it."""
    return frame.format.name == "pal8" or any(
        component.is_alpha for component in frame.format.components
    )


def is_float(frame: av.VideoFrame) -> bool:
    """Whether the values are floating-point numbers, which files use for linear light."""
    return FLOAT_FORMAT.search(frame.format.name) is not None


def is_full_range(frame: av.VideoFrame) -> bool:
    """Whether black and white of YUV are the ends of the range of values."""
    return frame.color_range == FULL_RANGE or "yuvj" in frame.format.name


def scale_filter_colour(frame: av.VideoFrame, codec: str) -> str:
    """The options of FFmpeg's scale filter for the colours of a frame."""
    if frame.format.is_rgb:
        return ""
    matrix = MATRIX_NAMES[effective_matrix(int(frame.colorspace), frame.height)]
    # Where a video declares no chroma location it is left, but FFmpeg assumes centre.
    chroma = "center" if codec == "mjpeg" else "left"
    return (
        f":in_color_matrix={matrix}:in_range={'pc' if is_full_range(frame) else 'tv'}"
        f":in_chroma_loc={chroma}"
    )


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways in which an image can be stored."""

    transposed: bool = False
    """Rows and columns are exchanged, before the flips."""
    flipped_horizontally: bool = False
    flipped_vertically: bool = False

    def upright(self, image: FloatArray) -> FloatArray:
        """The stored image (height, width, channels) as it is to be shown."""
        if self.transposed:
            image = image.swapaxes(0, 1)
        if self.flipped_horizontally:
            image = image[:, ::-1]
        if self.flipped_vertically:
            image = image[::-1]
        return np.ascontiguousarray(image)


def orientation_of(frame: av.VideoFrame, codec: str) -> Orientation:
    """The orientation in a frame's display matrix (ISO/IEC 14496-12, 6.2.2).

    Args:
        frame: as it was decoded.
        codec: FFmpeg's name of the decoder.

    The matrix takes column x and row y to x' = a·x + c·y and y' = b·x + d·y. PyAV's own angle
    takes a mirrored image for one that is turned by 180°.
    """
    rotated = QUARTER_TURNS[frame.rotation % 360 // 90]
    if codec in UNSAFE_SIDE_DATA:
        return rotated
    try:
        data = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # the frame has other data of a kind that PyAV does not know
        return rotated
    if data is None:
        return Orientation()
    a, b, _, c, d = struct.unpack("<5i", bytes(cast(Any, data))[:20])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, a < 0, d < 0)
    return Orientation(True, c < 0, b < 0)


# PyAV frees the name of these codecs' colour profiles twice if the side data is asked for.
UNSAFE_SIDE_DATA = ("png", "apng")
# By how many quarter turns to the left an image is made upright.
QUARTER_TURNS = (
    Orientation(),
    Orientation(True, False, True),
    Orientation(False, True, True),
    Orientation(True, True, False),
)

# Code points of ITU-T H.273: linear light, and the transfers of HDR, SMPTE ST 2084 (PQ) and
# ARIB STD-B67 (HLG).
LINEAR = 8
PQ = 16
HLG = 18
HDR_TRANSFERS = (PQ, HLG)
# White of SDR, which is 1.0 of linear light here, and the peak that PQ can express.
SDR_WHITE_NITS = 100.0
PQ_PEAK_NITS = 10000.0
# The display that HLG is mastered for, and its system gamma (BT.2100, table 5).
HLG_PEAK_NITS = 1000.0
HLG_GAMMA = 1.2
# The gamma of a screen that shows BT.709 (BT.1886, annex 1).
DISPLAY_GAMMA = 2.4
# The light that becomes white, as a multiple of SDR's: the default of FFmpeg's tonemap filter for
# videos that declare no peak.
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
    """An HDR image of BT.2020, tone mapped to SDR and BT.709.

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
    """Linear light, 1 being the white of SDR (SMPTE ST 2084, equation 4.1)."""
    m1, m2 = np.float32(2610 / 16384), np.float32(2523 / 4096 * 128)
    c1, c2, c3 = (np.float32(c) for c in (3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32))
    power: FloatArray = image ** (1 / m2)
    light = (np.maximum(power - c1, np.float32(0)) / (c2 - c3 * power)) ** (1 / m1)
    return np.asarray(light * (PQ_PEAK_NITS / SDR_WHITE_NITS), np.float32)


def _light_of_hlg(image: FloatArray) -> FloatArray:
    """Linear light of the display (ITU-R BT.2100, table 5: inverse OETF, then OOTF)."""
    a, b, c = (np.float32(value) for value in (0.17883277, 0.28466892, 0.55991073))
    scene = np.where(image <= 0.5, image**2 / 3, (np.exp((image - c) / a) + b) / 12)
    luma = np.maximum(scene @ LUMA_BT2020, MIN_LIGHT)[..., None]
    display = scene * luma ** (HLG_GAMMA - 1) * (HLG_PEAK_NITS / SDR_WHITE_NITS)
    return np.asarray(display, np.float32)


def _filmic(light: FloatArray) -> FloatArray:
    """The tone curve of John Hable, Uncharted 2: HDR Lighting (GDC 2010)."""
    a, b, c, d, e, f = (np.float32(value) for value in (0.15, 0.50, 0.10, 0.20, 0.02, 0.30))
    curve = (light * (light * a + b * c) + d * e) / (light * (light * a + b) + d * f) - e / f
    return np.asarray(curve, np.float32)


# Light above this share of white is compressed, so that all of it stays below white; the form of
# the curve is that of the Khronos PBR neutral tone mapper (2024).
COMPRESSION_START = 0.8
# The curve of sRGB (IEC 61966-2-1, 5.2).
SRGB_LINEAR_END, SRGB_SLOPE, SRGB_OFFSET, SRGB_GAMMA = 0.0031308, 12.92, 0.055, 2.4


def from_linear_light(light: FloatArray) -> FloatArray:
    """Linear light as values of a screen (sRGB).

    Highlights keep their hue and come near to white, however bright they are.

    Args:
        light: (height, width, 3), 1 being white; may be above.
    """
    light = light.clip(0, np.finfo(np.float32).max)
    brightest = light.max(axis=2, keepdims=True)
    span = np.float32(1 - COMPRESSION_START)
    above = np.maximum(brightest - np.float32(COMPRESSION_START), np.float32(0))
    compressed = np.float32(1) - span * span / (above + span)
    scale = np.where(above > 0, compressed / np.maximum(brightest, MIN_LIGHT), np.float32(1))
    light = (light * scale).astype(np.float32)
    curve = (1 + SRGB_OFFSET) * light ** (1 / SRGB_GAMMA) - SRGB_OFFSET
    shown = np.where(light <= SRGB_LINEAR_END, light * SRGB_SLOPE, curve)
    return np.asarray(shown.clip(0, 1), np.float32)


def deinterlaced(frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """Progressive frames as they are, interlaced ones deinterlaced."""
    graph: Graph | None = None
    graph_shape: tuple[int, int, str] | None = None
    for frame in frames:
        shape = (frame.width, frame.height, frame.format.name)
        if graph is not None and shape != graph_shape:
            yield from _pull_filtered(graph, None)
            graph = None
        if graph is None and not frame.interlaced_frame:
            yield frame
            continue
        if graph is None:
            graph, graph_shape = _deinterlacer(frame), shape
        yield from _pull_filtered(graph, frame)
    if graph is not None:
        yield from _pull_filtered(graph, None)


def _deinterlacer(first: av.VideoFrame) -> Graph:
    return filter_chain(
        (first.width, first.height),
        first.format,
        first.time_base or Fraction(1),
        [("bwdif", "mode=send_frame:deint=interlaced")],
    )


def _pull_filtered(graph: Graph, frame: av.VideoFrame | None) -> Iterator[av.VideoFrame]:
    """The frames that come out after a frame, or the end (None), is pushed in."""
    graph.vpush(frame)
    while True:
        try:
            yield graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return
