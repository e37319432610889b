"""From floats to the bytes that files hold. Refuses to know which files."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dreamvideo.frames import FloatArray


def to_eight_bits(picture: FloatArray) -> npt.NDArray[np.uint8]:
    """Values in [0, 1] to 0 … 255, rounded to the nearest, in the same shape."""
    return np.rint(picture * 255).astype(np.uint8)
