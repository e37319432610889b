"""Opens picture files with Pillow, and finds the frames in them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from dreamvideo.errors import DreamVideoError, InputError, UsageError
from dreamvideo.media.read.picture_formats import PictureFormat, Reader

# Pillow has one limit on the number of pixels for the whole process.
PILLOW_LIMIT_LOCK = threading.Lock()
# TIFF's tags NewSubfileType, whose bits 0 and 2 mark thumbnails and masks, and its predecessor
# SubfileType, where 2 marks a thumbnail (TIFF 6.0, section 8).
NEW_SUBFILE_TAG, SUBFILE_TAG = 254, 255
THUMBNAIL_OR_MASK_BITS = 0b101
OLD_THUMBNAIL = 2


@contextmanager
def reading_image(path: Path) -> Iterator[None]:
    """Reads an image file in the body, without Pillow's own limit on the number of pixels.

    That limit is a warning, then an error, neither of which names --max-pixels. Pillow checks it
    when it opens a file and, for some formats, when it decodes it.

    Raises:
        InputError: instead of whatever the decoder of the image format raises.
    """
    with PILLOW_LIMIT_LOCK:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        except DreamVideoError:
            raise
        except Exception as error:
            raise InputError(
                f"cannot read {path} as an image ({error}); give a complete image of 8 or 16 bits, "
                "such as a PNG, JPEG, TIFF or WebP"
            ) from error
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def open_pillow(path: Path, row: PictureFormat) -> Image.Image | None:
    """A picture file, opened; None if Pillow does not read this variant of the format.

    Raises:
        UsageError: it is a HEIF photo, and pillow-heif is not installed.
    """
    if row.reader is Reader.HEIF:
        try:
            from pillow_heif import HeifImageFile
        except ImportError as error:
            raise UsageError(
                f"{path} is a HEIF photo, which needs pillow-heif; run: pip install "
                "'dreamvideo[heif]' (or convert the photo to .jpg)"
            ) from error
        image: Image.Image = HeifImageFile(path)  # type: ignore[no-untyped-call]
        return image
    try:
        # Only these: some formats of Pillow start other programs.
        return Image.open(path, formats=row.pillow_names)
    except UnidentifiedImageError:
        return None


def frame_numbers(image: Image.Image, row: PictureFormat) -> Sequence[int]:
    """Pillow's numbers of the frames in a file: one of a still image.

    Other pictures in it do not count, such as thumbnails, layers, and the picture of an animated
    PNG for viewers that show no animations.

    Raises:
        ValueError: it holds nothing but a thumbnail.
    """
    if image.format == "TIFF":
        pages = [page for page in range(_count(image)) if _is_tiff_frame(image, page)]
        if not pages:
            raise ValueError("it holds only a thumbnail, as raw photos do: develop it first")
        return pages
    if row.animation_reader is None or image.format == "MPO":
        return [image.tell()]
    first = 1 if image.info.get("default_image") else 0
    frames = range(first, _count(image))
    return frames if len(frames) > 1 else [0]


def _count(image: Image.Image) -> int:
    return int(getattr(image, "n_frames", 1))


def _is_tiff_frame(image: Image.Image, page: int) -> bool:
    image.seek(page)
    tags = image.tag_v2  # type: ignore[attr-defined]
    is_thumbnail_or_mask = tags.get(NEW_SUBFILE_TAG, 0) & THUMBNAIL_OR_MASK_BITS
    return not is_thumbnail_or_mask and tags.get(SUBFILE_TAG) != OLD_THUMBNAIL
