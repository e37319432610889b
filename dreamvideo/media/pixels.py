"""Pixel values: integers and floats, alpha, colour matrices, FFmpeg's filter graphs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.filter import Graph

from dreamvideo.errors import DreamVideoWarning
from dreamvideo.types import FloatArray, Frame

# Code points of the matrices of ITU-T H.273 that a conversion from YUV can use, by the names of
# FFmpeg's scale filter. Others (unspecified, RGB, rare ones) cannot be used.
MATRIX_RGB = 0
MATRIX_BT709 = 1
MATRIX_BT601 = 6
MATRIX_NAMES = {
    MATRIX_BT709: "bt709",
    4: "fcc",
    5: "bt601",
    MATRIX_BT601: "bt601",
    7: "smpte240m",
    9: "bt2020",
}
# Videos without a matrix in their header are BT.709 from this height up: the convention of HDTV,
# and of players.
MIN_BT709_HEIGHT_PX = 720
# Code points of FFmpeg's AVColorRange.
LIMITED_RANGE, FULL_RANGE = 1, 2
# The default flags of every FFmpeg library shift colours by up to 1.5 of 255 and smear chroma;
# these three together are exact to rounding, there and back.
SCALE_FLAGS = "bicubic+accurate_rnd+full_chroma_int"


def effective_matrix(matrix: int, height_px: int) -> int:
    """The H.273 code point of a video's matrix: its own, or by its height if that is unusable."""
    if matrix in MATRIX_NAMES:
        return matrix
    return MATRIX_BT709 if height_px >= MIN_BT709_HEIGHT_PX else MATRIX_BT601


def filter_chain(
    size: tuple[int, int],
    pixel_format: av.VideoFormat,
    tick_seconds: Fraction,
    filters: Sequence[tuple[str, str]],
) -> Graph:
    """An FFmpeg graph that passes frames through filters, one after the other.

    Args:
        size: (width, height) in px of the frames that go in.
        pixel_format: their pixel format.
        tick_seconds: their time base.
        filters: name and options of each filter.
    """
    graph = Graph()
    source = graph.add_buffer(
        width=size[0], height=size[1], format=pixel_format, time_base=tick_seconds
    )
    added = [graph.add(name, options) for name, options in filters]
    graph.link_nodes(source, *added, graph.add("buffersink")).configure()
    return graph


def to_floats(pixels: npt.NDArray[Any]) -> FloatArray:
    """Unsigned integers over their type's whole range as floats in [0, 1], in the same shape."""
    values = pixels.astype(np.float32)
    values /= np.iinfo(pixels.dtype).max
    return values


def to_integers(image: FloatArray, bits: int) -> npt.NDArray[Any]:
    """Values in [0, 1] as unsigned integers of 8 or 16 bits, rounded, in the same shape."""
    dtype = np.uint8 if bits == 8 else np.uint16
    scaled = image * np.float32(np.iinfo(dtype).max)
    np.rint(scaled, out=scaled)
    return scaled.astype(dtype)


def on_black(frame: Frame) -> Frame:
    """The frame composited onto black, without alpha."""
    if frame.alpha is None:
        return frame
    return replace(frame, image=frame.image * frame.alpha[..., None], alpha=None)


class OpaqueOnBlack:
    """Composites the frames of one source onto black; warns once if that changes anything."""

    def __init__(self) -> None:
        self._has_warned = False

    def __call__(self, frame: Frame) -> Frame:
        """The opaque frame."""
        if frame.alpha is not None and not self._has_warned:
            self._has_warned = True
            warnings.warn(
                "the source is partly transparent; videos are opaque, so it is put on black",
                DreamVideoWarning,
                stacklevel=2,
            )
        return on_black(frame)
