"""Encodes one image file, with the metadata of its source."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import av
import imageio.v3 as iio
import numpy as np
import numpy.typing as npt

from dreamvideo.errors import OutputError
from dreamvideo.media.formats import IMAGE_FORMATS
from dreamvideo.media.pixels import to_integers
from dreamvideo.settings import Settings
from dreamvideo.types import DreamedFrame, Frame, ImageMetadata

# The end of the first chunk of a PNG, its header (PNG specification, 5.2 and 11.2.2).
PNG_HEADER_END = 33


def encode_image(frame: Frame, suffix: str, quality: int | None) -> bytes:
    """The content of an image file, with alpha, 16 bits, profile and EXIF if the format has them.

    Args:
        frame: the image, and the metadata of its source.
        suffix: of the file, in small letters.
        quality: of JPEG and WebP, from 1 to 100; None takes the default.

    Raises:
        OSError, ValueError: the format cannot hold the image.
    """
    metadata = frame.metadata or ImageMetadata("")
    row = IMAGE_FORMATS[suffix]
    bits = min(metadata.bits, row.max_bits)
    pixels = to_integers(frame.image, bits)
    if frame.alpha is not None and row.holds_alpha:
        pixels = np.dstack([pixels, to_integers(frame.alpha, bits)])
    profile = metadata.colour_profile if row.holds_profile else None
    exif = metadata.exif if row.holds_exif else None
    if bits > 8:
        return DEEP_ENCODERS[row.name](pixels, profile, exif)
    options: dict[str, Any] = dict(row.options)
    if profile:
        options["icc_profile"] = profile
    if exif:
        options["exif"] = exif
    if row.default_quality is not None:
        options["quality"] = row.default_quality if quality is None else quality
    encoded = iio.imwrite("<bytes>", pixels, extension=suffix, plugin="pillow", **options)
    return bytes(encoded)


def _deep_tiff(pixels: npt.NDArray[Any], profile: bytes | None, _exif: bytes | None) -> bytes:
    """A TIFF of 16 bits, which Pillow cannot write."""
    options: dict[str, Any] = {"extrasamples": ["unassalpha"]} if pixels.shape[2] == 4 else {}
    encoded = iio.imwrite(
        "<bytes>",
        pixels,
        extension=".tiff",
        plugin="tifffile",
        photometric="rgb",
        compression="zlib",
        iccprofile=profile,
        **options,
    )
    return bytes(encoded)


def _deep_png(pixels: npt.NDArray[Any], profile: bytes | None, exif: bytes | None) -> bytes:
    """A PNG of 16 bits, which Pillow cannot write; FFmpeg can, without profile and EXIF."""
    frame = av.VideoFrame.from_ndarray(
        np.ascontiguousarray(pixels),
        format="rgba64be" if pixels.shape[2] == 4 else "rgb48be",
    )
    encoder = av.CodecContext.create("png", "w")
    assert isinstance(encoder, av.video.codeccontext.VideoCodecContext)  # png is a video codec
    encoder.width, encoder.height = frame.width, frame.height
    encoder.pix_fmt = frame.format.name
    encoder.time_base = 1  # type: ignore[assignment]
    encoded = b"".join(bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None)))
    chunks = b""
    if profile:
        chunks += _png_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(profile))
    if exif:
        chunks += _png_chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))
    return encoded[:PNG_HEADER_END] + chunks + encoded[PNG_HEADER_END:]


def _png_chunk(name: bytes, data: bytes) -> bytes:
    """PNG specification, 5.3."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


# By `ImageFormat.name`: each format with more than 8 bits.
DEEP_ENCODERS = {"PNG": _deep_png, "TIFF": _deep_tiff}


class ImageWriter:
    """Writes a frame as an image file, in the format of the file's suffix."""

    def __init__(self, part: Path, path: Path, settings: Settings) -> None:
        """Write to the file `part`, which will be renamed to `path`."""
        self._part = part
        self._path = path
        self._quality = settings.quality

    def write(self, dreamed: DreamedFrame) -> None:
        """See `FrameWriter`."""
        write_image(dreamed.frame, self._part, self._path, self._quality)


def write_image(frame: Frame, file: Path, path: Path, quality: int | None) -> None:
    """Write an image to `file`, which will be renamed to `path`.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        file.write_bytes(encode_image(frame, path.suffix.lower(), quality))
    except (OSError, ValueError) as error:
        raise OutputError(
            f"cannot write {path}: {error}; make room, or choose another folder or format"
        ) from error
