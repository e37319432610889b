"""Encodes one image for a file, with the metadata of its source."""

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
from dreamvideo.media.write.encoder import to_integers
from dreamvideo.settings import Settings
from dreamvideo.types import DreamedFrame, Frame, ImageMetadata

JPEG_SUFFIXES = (".jpg", ".jpeg")
TIFF_SUFFIXES = (".tif", ".tiff")
LOSSY_SUFFIXES = (*JPEG_SUFFIXES, ".webp")
DEEP_SUFFIXES = (".png", *TIFF_SUFFIXES)
ALPHA_SUFFIXES = (".png", ".webp", *TIFF_SUFFIXES)
PROFILE_SUFFIXES = (".png", ".webp", *JPEG_SUFFIXES, *TIFF_SUFFIXES)
EXIF_SUFFIXES = (".png", ".webp", *JPEG_SUFFIXES)
# Of JPEG and WebP, unless asked otherwise: no loss that one sees.
IMAGE_QUALITY = 95
# Dreams are all fine detail: halved chroma blurs it.
FULL_CHROMA = 0
# Where the first chunk of a PNG, its header, ends (PNG specification, 5.2 and 11.2.2).
PNG_HEADER_END = 33


def encode_image(frame: Frame, suffix: str, quality: int | None) -> bytes:
    """The file of a picture: RGB, with alpha, 16 bits, profile and EXIF where the format has them.

    Args:
        frame: the picture and what the file of its source said.
        suffix: of the file, in small letters.
        quality: of JPEG and WebP, from 1 to 100; None takes the usual.

    Raises:
        OSError, ValueError: the format cannot hold it.
    """
    metadata = frame.metadata or ImageMetadata("")
    bits = metadata.bits if suffix in DEEP_SUFFIXES else 8
    pixels = to_integers(frame.image, bits)
    if frame.alpha is not None and suffix in ALPHA_SUFFIXES:
        pixels = np.dstack([pixels, to_integers(frame.alpha, bits)])
    profile = metadata.colour_profile if suffix in PROFILE_SUFFIXES else None
    if bits > 8 and suffix in TIFF_SUFFIXES:
        return _deep_tiff(pixels, profile)
    if bits > 8:
        return _deep_png(pixels, profile, metadata.exif)
    options: dict[str, Any] = {"icc_profile": profile} if profile else {}
    if metadata.exif and suffix in EXIF_SUFFIXES:
        options["exif"] = metadata.exif
    if suffix in LOSSY_SUFFIXES:
        options["quality"] = IMAGE_QUALITY if quality is None else quality
    if suffix in JPEG_SUFFIXES:
        options["subsampling"] = FULL_CHROMA
    encoded = iio.imwrite("<bytes>", pixels, extension=suffix, plugin="pillow", **options)
    return bytes(encoded)


def _deep_tiff(pixels: npt.NDArray[Any], profile: bytes | None) -> bytes:
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
    """PNG of 16 bits, which Pillow cannot write; FFmpeg can, without profile and EXIF."""
    alpha = pixels.shape[2] == 4
    picture = av.VideoFrame.from_ndarray(
        np.ascontiguousarray(pixels),
        format="rgba64be" if alpha else "rgb48be",
    )
    encoder = av.CodecContext.create("png", "w")
    assert isinstance(encoder, av.video.codeccontext.VideoCodecContext)  # png is for pictures
    encoder.width, encoder.height = picture.width, picture.height
    encoder.pix_fmt = picture.format.name
    encoder.time_base = 1  # type: ignore[assignment]
    encoded = b"".join(
        bytes(packet) for packet in (*encoder.encode(picture), *encoder.encode(None))
    )
    chunks = b""
    if profile:
        chunks += _png_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(profile))
    if exif:
        chunks += _png_chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))
    return encoded[:PNG_HEADER_END] + chunks + encoded[PNG_HEADER_END:]


def _png_chunk(name: bytes, data: bytes) -> bytes:
    """PNG specification, 5.3."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


class ImageWriter:
    """Writes the frame it is given in the format that its name asks for."""

    def __init__(self, part: Path, path: Path, settings: Settings) -> None:
        """Write to the file `part` a picture that will be called `path`."""
        self._part = part
        self._path = path
        self._quality = settings.quality

    def write(self, dreamed: DreamedFrame) -> None:
        """See `Sink`."""
        write_image(dreamed.frame, self._part, self._path, self._quality)


def write_image(frame: Frame, file: Path, path: Path, quality: int | None) -> None:
    """Write the picture that will be called `path` to a file.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        file.write_bytes(encode_image(frame, path.suffix.lower(), quality))
    except (OSError, ValueError) as error:
        raise OutputError(
            f"cannot write {path}: {error}; make room, or choose another place or format"
        ) from error
