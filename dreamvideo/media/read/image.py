"""Reads one picture file, upright, with all that it says. Refuses to know what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import imageio.v3 as iio
import numpy as np
import numpy.typing as npt
from PIL import Image

from dreamvideo.errors import InputError
from dreamvideo.media.read.conversion import EVEN_PX, LAYOUTS, Scaler, Size, to_unit
from dreamvideo.types import FloatArray, ImageMetadata

# Pillow's modes that carry transparency, and those of 16-bit grey, which Pillow would clip to
# white instead of converting.
ALPHA_MODES = ("RGBA", "RGBa", "LA", "La", "PA")
DEEP_GREY_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")
# Where a PNG says how many bits a channel has, and what it says (PNG specification, 11.2.2).
PNG_DEPTH_BYTE = 24
DEEP_BITS = 16
# Where an ICC profile says what its numbers are (ICC.1, 7.2.6).
PROFILE_SPACE = slice(16, 20)
ORIENTATION_TAG = 0x0112
# How each value of that tag is turned upright: quarter turns to the left, after a flip or not.
UPRIGHT: dict[int, tuple[bool, int]] = {
    **{1: (False, 0), 2: (True, 0), 3: (False, 2), 4: (True, 2)},
    **{5: (True, 1), 6: (False, 3), 7: (True, 3), 8: (False, 1)},
}


def read_image(
    path: Path, size: Size | None, max_pixels: int
) -> tuple[FloatArray, FloatArray | None, ImageMetadata]:
    """The image (height, width, 3), its alpha (height, width) or None, and what the file says.

    Args:
        path: the file.
        size: (width, height) to scale to, the middle being cut out where the shape is another;
            None keeps the size.
        max_pixels: of a larger picture only the size is read.

    Raises:
        InputError: the file is not a picture that can be read, or it is too large.
    """
    said = read_header(path, max_pixels)
    bits = bits_in_file(path, said)
    try:
        pixels = _read_deep_pixels(path, said) if bits == DEEP_BITS else _read_pixels(path, said)
    except Exception as error:  # imageio passes on whatever the decoder of the format raises
        raise _not_readable(path, error) from error
    metadata = ImageMetadata(path.name, bits, _profile(said), _exif(said))
    if size is None or size == (pixels.shape[1], pixels.shape[0]):
        values = to_unit(pixels)
    else:
        layout = LAYOUTS[pixels.shape[2] == 4, bits == DEEP_BITS]
        picture = av.VideoFrame.from_ndarray(_crop_centre(pixels, size), layout)
        values = Scaler(picture, size)(picture)
    alpha = np.ascontiguousarray(values[..., 3]) if values.shape[2] == 4 else None
    return np.ascontiguousarray(values[..., :3]), alpha, metadata


def read_header(path: Path, max_pixels: int) -> Mapping[str, Any]:
    """What the file says of itself; only its head is read.

    Raises:
        InputError: as in `read_picture`.
    """
    try:
        # Pillow's own bound on size is a warning, then an error of another wording.
        Image.MAX_IMAGE_PIXELS = None
        said: Mapping[str, Any] = iio.immeta(path, plugin="pillow", exclude_applied=False)
        if said["mode"] == "F":
            raise ValueError("it holds floats, whose range is not known")
    except Exception as error:
        raise _not_readable(path, error) from error
    width, height = said["shape"]
    if width * height > max_pixels:
        raise InputError(
            f"{path} has {width}x{height} pixels, more than {max_pixels:,}; allow that with "
            f"--max-pixels {width * height}, if you trust it"
        )
    return said


def upright_size(said: Mapping[str, Any]) -> tuple[int, int]:
    """(width, height) of a picture as it is to be seen."""
    width, height = said["shape"]
    # Of TIFFs, newer versions of Pillow give the size as it is to be seen, older ones as it is.
    width, height = said.get("ImageWidth", width), said.get("ImageLength", height)
    return (height, width) if _turns(said)[1] % 2 else (width, height)


def _crop_centre(pixels: npt.NDArray[Any], size: Size) -> npt.NDArray[Any]:
    """The largest part in the middle that has the shape of `size`, to a pixel."""
    height, width = pixels.shape[:2]
    scale = min(width / size[0], height / size[1])
    kept = [max(1, round(side * scale)) for side in size]
    # A side that differs by the rounding of an even size only is not worth a cut.
    spare = (width - kept[0], height - kept[1])
    left, top = (pixels // 2 if pixels > EVEN_PX * scale else 0 for pixels in spare)
    across, down = kept[0] if left else width, kept[1] if top else height
    return np.ascontiguousarray(pixels[top : top + down, left : left + across])


def _read_pixels(path: Path, said: Mapping[str, Any]) -> npt.NDArray[Any]:
    if said["mode"] in DEEP_GREY_MODES:
        grey = iio.imread(path, plugin="pillow", index=0, rotate=True).clip(0, 65535)
        return np.repeat(grey.astype(np.uint16)[..., None], 3, axis=2)
    mode = "RGBA" if said["mode"] in ALPHA_MODES or "transparency" in said else "RGB"
    return iio.imread(path, plugin="pillow", index=0, rotate=True, mode=mode)


def _read_deep_pixels(path: Path, said: Mapping[str, Any]) -> npt.NDArray[Any]:
    """Colour of 16 bits, which Pillow would cut to 8."""
    if said["mode"] in DEEP_GREY_MODES:
        return _read_pixels(path, said)
    with av.open(str(path.absolute()), options={"protocol_whitelist": "file"}) as container:
        picture = next(container.decode(video=0)).to_ndarray()
    if picture.shape[2] == 2:  # grey with alpha
        picture = picture[..., [0, 0, 0, 1]]
    flipped, quarter_turns = _turns(said)
    picture = picture[:, ::-1] if flipped else picture
    return np.ascontiguousarray(np.rot90(picture, quarter_turns))


def bits_in_file(path: Path, said: Mapping[str, Any]) -> int:
    """8 or 16 bits per channel, by the file's head."""
    if said["mode"] in DEEP_GREY_MODES:
        return DEEP_BITS
    if path.suffix.lower() == ".png":
        with path.open("rb") as file:
            depth = file.read(PNG_DEPTH_BYTE + 1)[-1]
    else:
        depth = np.max(said.get("BitsPerSample", 8))
    return DEEP_BITS if depth == DEEP_BITS else 8


def _turns(said: Mapping[str, Any]) -> tuple[bool, int]:
    exif = Image.Exif()
    exif.load(said.get("exif") or b"")
    orientation = exif.get(ORIENTATION_TAG, said.get("Orientation", 1))
    return UPRIGHT.get(orientation, UPRIGHT[1])


def _profile(said: Mapping[str, Any]) -> bytes | None:
    """The colour profile, if it is one of RGB: others say nothing of what is written."""
    profile: bytes | None = said.get("icc_profile")
    return profile if profile and profile[PROFILE_SPACE] == b"RGB " else None


def _exif(said: Mapping[str, Any]) -> bytes | None:
    if not said.get("exif"):
        return None
    exif = Image.Exif()
    exif.load(said["exif"])
    exif.pop(ORIENTATION_TAG, None)
    return exif.tobytes()


def _not_readable(path: Path, error: Exception) -> InputError:
    return InputError(
        f"cannot read {path} as a picture ({error}); give a whole PNG, JPEG, WebP, TIFF or BMP "
        "of 8 or 16 bits"
    )
