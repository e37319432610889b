"""Reads one image file: its header, and its pixels with alpha, bit depth, profile and EXIF."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

from dreamvideo.media.pixels import to_floats
from dreamvideo.media.read.conversion import EVEN_PX, RGB_FORMATS, Scaler, Size
from dreamvideo.media.read.ffmpeg_image import (
    check_pixels,
    decode_one,
    read_ffmpeg_header,
    read_ffmpeg_pixels,
)
from dreamvideo.media.read.picture_formats import Reader, picture_format
from dreamvideo.media.read.pillow_file import frame_numbers, open_pillow, reading_image
from dreamvideo.types import FloatArray, ImageMetadata

# Pillow's modes that carry transparency, those of 16-bit grey, which Pillow would clip to white
# instead of converting, and those whose 16 bits Pillow cuts to 8.
ALPHA_MODES = ("RGBA", "RGBa", "LA", "La", "PA")
DEEP_GREY_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")
COLOUR_MODES = ("RGB", "RGBA", "LA")
# The position of the bit depth in a PNG (PNG specification, 11.2.2), TIFF's tag of it, and that of
# deep images.
PNG_DEPTH_BYTE = 24
TIFF_DEPTH_TAG = 258
DEEP_BITS = 16
# TIFF's tags of the size as stored.
TIFF_WIDTH_TAG, TIFF_HEIGHT_TAG = 256, 257
# The position of an ICC profile's colour space (ICC.1, 7.2.6).
PROFILE_SPACE = slice(16, 20)
ORIENTATION_TAG = 0x0112
# How an image with each value of that tag is made upright: whether it is flipped from left to
# right, then by how many quarter turns to the left it is rotated.
UPRIGHT: dict[int, tuple[bool, int]] = {
    **{1: (False, 0), 2: (True, 0), 3: (False, 2), 4: (True, 2)},
    **{5: (True, 1), 6: (False, 3), 7: (True, 3), 8: (False, 1)},
}


@dataclass(frozen=True)
class ImageHeader:
    """What an image file says of itself, before its pixels are decoded."""

    size: Size
    """(width, height) in px as it is to be shown."""
    bits: int
    """Of each channel: 8 or 16."""


def read_header(path: Path, max_pixels: int) -> ImageHeader:
    """The header of an image file.

    Raises:
        InputError: as in `read_image`.
        UsageError: as in `read_image`.
    """
    with reading_image(path):
        image = _open(path)
        if image is None:
            return ImageHeader(*read_ffmpeg_header(path, max_pixels))
        with image:
            return _header_of(image, path, max_pixels)


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
        UsageError: it needs a package that is not installed.
    """
    with reading_image(path):
        image = _open(path)
        if image is None:
            pixels = read_ffmpeg_pixels(path, max_pixels)
            metadata = ImageMetadata(path.name, 8 * pixels.dtype.itemsize)
        else:
            with image:
                header = _header_of(image, path, max_pixels)
                pixels = read_page(image, path, header.bits)
                metadata = ImageMetadata(path.name, header.bits, _profile(image), _exif(image))
        if size is None or size == (pixels.shape[1], pixels.shape[0]):
            values = to_floats(pixels)
        else:
            frame = frame_of(_crop_centre(pixels, size))
            values = Scaler(frame, size)(frame)
    alpha = np.ascontiguousarray(values[..., 3]) if values.shape[2] == 4 else None
    return np.ascontiguousarray(values[..., :3]), alpha, metadata


def frame_of(pixels: npt.NDArray[Any]) -> av.VideoFrame:
    """A frame of FFmpeg with pixels (height, width, 3), or 4 with alpha, of 8 or 16 bits."""
    is_deep = pixels.dtype == np.uint16
    return av.VideoFrame.from_ndarray(pixels, RGB_FORMATS[pixels.shape[2] == 4, is_deep])


def _open(path: Path) -> Image.Image | None:
    """The file, opened by Pillow at its first frame; None if FFmpeg has to read it."""
    row = picture_format(path)
    if row is None or row.reader is Reader.FFMPEG:
        return None
    image = open_pillow(path, row)
    if image is not None:
        try:
            image.seek(frame_numbers(image, row)[0])
        except BaseException:
            image.close()
            raise
    return image


def _header_of(image: Image.Image, path: Path, max_pixels: int) -> ImageHeader:
    # First, since Pillow decodes a PNG to find metadata at its end.
    check_pixels(path, *image.size, max_pixels)
    if image.mode == "F":
        raise ValueError("its values are floats, whose range is unknown")
    width, height = image.size
    if image.format == "TIFF":
        # Newer versions of Pillow give the size as shown, older ones as stored.
        tags = image.tag_v2  # type: ignore[attr-defined]
        width, height = tags[TIFF_WIDTH_TAG], tags[TIFF_HEIGHT_TAG]
    size = (height, width) if _turns(image)[1] % 2 else (width, height)
    return ImageHeader(size, bits_of_page(image, path))


def bits_of_page(image: Image.Image, path: Path) -> int:
    """8 or 16 bits per channel of the page that an image is at, as they are read."""
    if image.mode in DEEP_GREY_MODES:
        return DEEP_BITS
    if image.mode not in COLOUR_MODES:
        return 8
    if image.format == "PNG":
        with path.open("rb") as file:
            depth = file.read(PNG_DEPTH_BYTE + 1)[-1]
    elif image.format == "TIFF":
        depth = np.max(image.tag_v2.get(TIFF_DEPTH_TAG, 8))  # type: ignore[attr-defined]
    elif image.format == "JPEG2000":
        depth = read_ffmpeg_header(path, image.width * image.height)[1]
    else:
        return 8
    return DEEP_BITS if depth == DEEP_BITS else 8


def read_page(image: Image.Image, path: Path, bits: int) -> npt.NDArray[Any]:
    """The page that an image is at: (height, width, 3), or 4 with alpha, upright.

    Args:
        image: the file, opened by Pillow.
        path: the file.
        bits: 8 or 16, those of the page.
    """
    if bits == DEEP_BITS and image.mode not in DEEP_GREY_MODES:
        return _turned(_read_deep_colours(path, image.tell()), *_turns(image))
    image.load()
    turns = _turns(image)  # TIFF is turned as it is loaded
    if image.mode in DEEP_GREY_MODES:
        grey = np.asarray(image).clip(0, 65535).astype(np.uint16)
        return _turned(np.repeat(grey[..., None], 3, axis=2), *turns)
    has_alpha = image.mode in ALPHA_MODES or "transparency" in image.info
    return _turned(np.asarray(image.convert("RGBA" if has_alpha else "RGB")), *turns)


def _read_deep_colours(path: Path, page: int) -> npt.NDArray[Any]:
    """Colours of 16 bits, which Pillow would cut to 8, in the shape of `read_page`."""
    if page == 0:
        pixels = decode_one(path)[0].to_ndarray()
    else:  # of a TIFF; FFmpeg decodes only its first page
        with tifffile.TiffFile(path) as file:
            stored = file.pages[page]
            pixels = stored.asarray()
            if stored.axes.startswith("S"):  # the channels are stored one after another
                pixels = np.moveaxis(pixels, 0, -1)
    return pixels[..., [0, 0, 0, 1]] if pixels.shape[2] == 2 else pixels  # grey with alpha


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


def _turned(pixels: npt.NDArray[Any], is_flipped: bool, quarter_turns: int) -> npt.NDArray[Any]:
    pixels = pixels[:, ::-1] if is_flipped else pixels
    return np.ascontiguousarray(np.rot90(pixels, quarter_turns))


def _turns(image: Image.Image) -> tuple[bool, int]:
    """The entry of `UPRIGHT` for the image's orientation."""
    return UPRIGHT.get(image.getexif().get(ORIENTATION_TAG, 1), UPRIGHT[1])


def _profile(image: Image.Image) -> bytes | None:
    """The ICC profile if it is one for RGB, which is what is written; None for others."""
    profile: bytes | None = image.info.get("icc_profile")
    return profile if profile and profile[PROFILE_SPACE] == b"RGB " else None


def _exif(image: Image.Image) -> bytes | None:
    """The EXIF data without the orientation, since images are read upright."""
    if not image.info.get("exif"):
        return None
    exif = Image.Exif()
    exif.load(image.info["exif"])
    exif.pop(ORIENTATION_TAG, None)
    return exif.tobytes()
