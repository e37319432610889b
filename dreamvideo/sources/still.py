"""A still picture as a film of one frame. Refuses to know what becomes of it."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import imageio.v3 as iio
import numpy as np
import numpy.typing as npt

from dreamvideo.errors import InputError
from dreamvideo.frames import Footage, Frame
from dreamvideo.sources.scaling import Scaler, scaled_size

# Pillow's modes that carry transparency, and those of 16-bit grey, which Pillow would clip to
# white instead of converting.
ALPHA_MODES = ("RGBA", "RGBa", "LA", "La", "PA")
DEEP_GREY_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")
SIXTEEN_TO_EIGHT_BITS = 257


class StillSource:
    """One picture, upright, in RGB and, where it has it, alpha."""

    def __init__(self, path: Path, size_px: int | None) -> None:
        """Read the picture.

        Raises:
            InputError: the file is not a picture that can be read.
        """
        pixels = _read(path)
        height, width = pixels.shape[:2]
        width, height = scaled_size(width, height, size_px)
        if (height, width) != pixels.shape[:2]:
            pixels = _scale(pixels, width, height)
        self._picture = pixels.astype(np.float32) / np.float32(255)
        self.footage = Footage(path=path, width_px=width, height_px=height)

    def __iter__(self) -> Iterator[Frame]:
        """The one frame."""
        image = np.ascontiguousarray(self._picture[..., :3])
        alpha = self._picture[..., 3] if self._picture.shape[2] == 4 else None
        yield Frame(0, Fraction(0), image, alpha=alpha)


def _read(path: Path) -> npt.NDArray[np.uint8]:
    """(height, width, 3), or 4 with alpha."""
    try:
        facts = iio.immeta(path, plugin="pillow")
        if facts["mode"] == "F":
            raise ValueError("it holds floats, whose range is not known")
        if facts["mode"] in DEEP_GREY_MODES:
            deep = iio.imread(path, plugin="pillow", index=0, rotate=True)
            grey = np.rint(deep / SIXTEEN_TO_EIGHT_BITS).clip(0, 255).astype(np.uint8)
            return np.repeat(grey[..., None], 3, axis=2)
        mode = "RGBA" if facts["mode"] in ALPHA_MODES or "transparency" in facts else "RGB"
        return iio.imread(path, plugin="pillow", index=0, rotate=True, mode=mode)
    except Exception as error:  # imageio passes on whatever the decoder of the format raises
        raise InputError(
            f"cannot read {path} as a picture ({error}); give a whole PNG, JPEG, WebP, TIFF or BMP "
            "of 8 or 16 bits and at most 178 megapixels"
        ) from error


def _scale(pixels: npt.NDArray[np.uint8], width: int, height: int) -> npt.NDArray[np.uint8]:
    layout = "rgba" if pixels.shape[2] == 4 else "rgb24"
    picture = av.VideoFrame.from_ndarray(pixels, format=layout)
    return Scaler(picture, (width, height), layout, facts="")(picture)
