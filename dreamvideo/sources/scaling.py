"""The size that a picture gets, and the conversion that takes it there. Refuses to open files."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, TypeAlias

import av
import numpy as np
import numpy.typing as npt

from dreamvideo.colour import SCALE_FLAGS
from dreamvideo.frames import FloatArray
from dreamvideo.media.filters import filter_chain

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
    width_px: int, height_px: int, size_px: int | None, most_px: int | None = None
) -> Size:
    """(width, height) with `size_px` as the longest side and the shape kept.

    A scaled size is even on both sides, since film formats want that. Without `size_px` the size
    stays as it is, unless its longest side is more than `most_px`, which it then becomes.
    """
    longest_px = max(width_px, height_px)
    if size_px is None:
        if most_px is None or longest_px <= most_px:
            return width_px, height_px
        size_px = most_px
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
