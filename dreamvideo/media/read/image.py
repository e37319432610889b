"""Reads one image file: its header, and its pixels with alpha, bit depth, profile and EXIF."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import av
import imageio.v3 as iio
import numpy as np
import numpy.typing as npt
from imageio.plugins.pillow import PillowPlugin
from PIL import Image

from dreamvideo.errors import InputError
from dreamvideo.media.formats import IMAGE_FORMATS
from dreamvideo.media.opening import LOCAL_ONLY
from dreamvideo.media.pixels import to_floats
from dreamvideo.media.read.conversion import EVEN_PX, RGB_FORMATS, Scaler, Size
from dreamvideo.types import FloatArray, ImageMetadata

# Pillow's modes that carry transparency, and those of 16-bit grey, which Pillow would clip to
# white instead of converting.
ALPHA_MODES = ("RGBA", "RGBa", "LA", "La", "PA")
DEEP_GREY_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")
# The position of the bit depth in a PNG (PNG specification, 11.2.2), and that of deep images.
PNG_DEPTH_BYTE = 24
DEEP_BITS = 16
# The position of an ICC profile's colour space (ICC.1, 7.2.6).
PROFILE_SPACE = slice(16, 20)
ORIENTATION_TAG = 0x0112
# How an image with each value of that tag is made upright: whether it is flipped from left to
# right, then by how many quarter turns to the left it is rotated.
UPRIGHT: dict[int, tuple[bool, int]] = {
    **{1: (False, 0), 2: (True, 0), 3: (False, 2), 4: (True, 2)},
    **{5: (True, 1), 6: (False, 3), 7: (True, 3), 8: (False, 1)},
}
# Pillow has one limit on the number of pixels for the whole process.
PILLOW_LIMIT_LOCK = threading.Lock()


def read_image(
    path: Path, size: Size | None, max_pixels: int
) -> tuple[FloatArray, FloatArray | None, ImageMetadata]:
    """The image (height, width, 3), its alpha (height, width) or None, and its metadata.

    Args:
        path: the file.
        size: (width, height) in px to scale to; the centre is cropped if the aspect ratio is
            another one. None keeps the size.
        max_pixels: larger images are refused by their header.

    Raises:
        InputError: the file cannot be read as an image, or it is too large.
    """
    with _open_image(path) as file:
        header = _header_of(file, path, max_pixels)
        bits = bits_in_file(path, header)
        if bits == DEEP_BITS and header["mode"] not in DEEP_GREY_MODES:
            pixels = _read_deep_colours(path, header)
        else:
            pixels = _read_pixels(file, header)
    metadata = ImageMetadata(path.name, bits, _profile(header), _exif(header))
    if size is None or size == (pixels.shape[1], pixels.shape[0]):
        values = to_floats(pixels)
    else:
        rgb_format = RGB_FORMATS[pixels.shape[2] == 4, bits == DEEP_BITS]
        frame = av.VideoFrame.from_ndarray(_crop_centre(pixels, size), rgb_format)
        values = Scaler(frame, size)(frame)
    alpha = np.ascontiguousarray(values[..., 3]) if values.shape[2] == 4 else None
    return np.ascontiguousarray(values[..., :3]), alpha, metadata


def read_header(path: Path, max_pixels: int) -> Mapping[str, Any]:
    """The header of an image file, by Pillow's names.

    Raises:
        InputError: as in `read_image`.
    """
    with _open_image(path) as file:
        return _header_of(file, path, max_pixels)


def _header_of(file: PillowPlugin, path: Path, max_pixels: int) -> Mapping[str, Any]:
    # First, since Pillow decodes a PNG to find metadata at its end.
    height, width = file.properties(index=0).shape[:2]
    if width * height > max_pixels:
        raise InputError(
            f"{path} has {width}x{height} pixels, more than {max_pixels:,}; allow that with "
            f"--max-pixels {width * height}, if you trust it"
        )
    header: Mapping[str, Any] = file.metadata(exclude_applied=False)
    if header["mode"] == "F":
        raise ValueError("its values are floats, whose range is unknown")
    return header


@contextmanager
def _open_image(path: Path) -> Iterator[PillowPlugin]:
    """An image file, opened by imageio without Pillow's own limit on the number of pixels.

    That limit is a warning, then an error, neither of which names --max-pixels. Pillow checks it
    when it opens a file and, for some formats, when it decodes it.

    Raises:
        InputError: the file cannot be read as an image, be it here or in the body.
    """
    with PILLOW_LIMIT_LOCK:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            with iio.imopen(path, "r", plugin="pillow") as file:
                yield cast(PillowPlugin, file)
        except InputError:
            raise
        except Exception as error:  # imageio passes on whatever the decoder of the format raises
            *names, last = dict.fromkeys(row.name for row in IMAGE_FORMATS.values())
            raise InputError(
                f"cannot read {path} as an image ({error}); give a complete {', '.join(names)} or "
                f"{last} of 8 or 16 bits"
            ) from error
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def upright_size(header: Mapping[str, Any]) -> tuple[int, int]:
    """(width, height) in px of an image as it is to be shown."""
    width, height = header["shape"]
    # Newer versions of Pillow give the size of a TIFF as shown, older ones as stored.
    width, height = header.get("ImageWidth", width), header.get("ImageLength", height)
    return (height, width) if _turns(header)[1] % 2 else (width, height)


def _crop_centre(pixels: npt.NDArray[Any], size: Size) -> npt.NDArray[Any]:
    """The largest part in the middle that has the aspect ratio of `size`, to a pixel."""
    height, width = pixels.shape[:2]
    scale = min(width / size[0], height / size[1])
    kept = [max(1, round(side * scale)) for side in size]
    # A side that differs only by the rounding to an even size is not cropped.
    spare = (width - kept[0], height - kept[1])
    left, top = (pixels // 2 if pixels > EVEN_PX * scale else 0 for pixels in spare)
    across, down = kept[0] if left else width, kept[1] if top else height
    return np.ascontiguousarray(pixels[top : top + down, left : left + across])


def _read_pixels(file: PillowPlugin, header: Mapping[str, Any]) -> npt.NDArray[Any]:
    """(height, width, 3), or 4 with alpha, upright; 8 bits, or 16 of grey."""
    if header["mode"] in DEEP_GREY_MODES:
        grey = file.read(index=0, rotate=True).clip(0, 65535)
        return np.repeat(grey.astype(np.uint16)[..., None], 3, axis=2)
    has_alpha = header["mode"] in ALPHA_MODES or "transparency" in header
    return file.read(index=0, rotate=True, mode="RGBA" if has_alpha else "RGB")


def _read_deep_colours(path: Path, header: Mapping[str, Any]) -> npt.NDArray[Any]:
    """Colours of 16 bits, which Pillow would cut to 8, in the shape of `_read_pixels`."""
    with av.open(str(path.absolute()), options=LOCAL_ONLY) as container:
        pixels = next(container.decode(video=0)).to_ndarray()
    if pixels.shape[2] == 2:  # grey with alpha
        pixels = pixels[..., [0, 0, 0, 1]]
    is_flipped, quarter_turns = _turns(header)
    pixels = pixels[:, ::-1] if is_flipped else pixels
    return np.ascontiguousarray(np.rot90(pixels, quarter_turns))


def bits_in_file(path: Path, header: Mapping[str, Any]) -> int:
    """8 or 16 bits per channel, by the file's header."""
    if header["mode"] in DEEP_GREY_MODES:
        return DEEP_BITS
    if path.suffix.lower() == ".png":
        with path.open("rb") as file:
            depth = file.read(PNG_DEPTH_BYTE + 1)[-1]
    else:
        depth = np.max(header.get("BitsPerSample", 8))
    return DEEP_BITS if depth == DEEP_BITS else 8


def _turns(header: Mapping[str, Any]) -> tuple[bool, int]:
    """The entry of `UPRIGHT` for the header's orientation."""
    exif = Image.Exif()
    exif.load(header.get("exif") or b"")
    orientation = exif.get(ORIENTATION_TAG, header.get("Orientation", 1))
    return UPRIGHT.get(orientation, UPRIGHT[1])


def _profile(header: Mapping[str, Any]) -> bytes | None:
    """The ICC profile if it is one for RGB, which is what is written; None for others."""
    profile: bytes | None = header.get("icc_profile")
    return profile if profile and profile[PROFILE_SPACE] == b"RGB " else None


def _exif(header: Mapping[str, Any]) -> bytes | None:
    """The EXIF data without the orientation, since images are read upright."""
    if not header.get("exif"):
        return None
    exif = Image.Exif()
    exif.load(header["exif"])
    exif.pop(ORIENTATION_TAG, None)
    return exif.tobytes()
