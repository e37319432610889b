"""From floats to the integers that files hold. Refuses to know which files."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dreamvideo.frames import FloatArray


def to_bits(picture: FloatArray, bits: int) -> npt.NDArray[Any]:
    """Values in [0, 1] as unsigned integers of 8 or 16 bits, rounded, in the same shape."""
    kind = np.uint8 if bits == 8 else np.uint16
    scaled = picture * np.float32(np.iinfo(kind).max)
    np.rint(scaled, out=scaled)
    return scaled.astype(kind)
