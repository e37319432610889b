"""Turns pictures upright as their display matrix says. Refuses to know where they come from."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, cast

import av
import numpy as np

from dreamvideo.frames import FloatArray


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
