"""The picture formats that are read, told apart by how their files begin.

A new format is one row of `PICTURE_FORMATS`. What FFmpeg reads is recognised by FFmpeg itself, too;
it has a row where files in a folder of images are to be found without opening each of them.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from pathlib import Path

from dreamvideo.media.formats import has_suffix


class Reader(enum.Enum):
    """The library that reads a file."""

    PILLOW = enum.auto()
    HEIF = enum.auto()
    """Pillow with the plugin of pillow-heif."""
    FFMPEG = enum.auto()


@dataclass(frozen=True)
class PictureFormat:
    """One format of picture files."""

    name: str
    signature: str
    """A regular expression, in Latin-1, that the beginning of each file matches; empty where the
    format has none."""
    reader: Reader = Reader.PILLOW
    """Of a still image."""
    pillow_names: tuple[str, ...] = ()
    """Pillow's names of the format."""
    animation_reader: Reader | None = None
    """Of a file with several frames; None where further pictures in the file are not frames."""
    suffixes: tuple[str, ...] = ()
    """Of a format without signature."""


# How many bytes the signatures need.
SIGNATURE_BYTES = 64
PICTURE_FORMATS = (
    PictureFormat(
        "PNG", r"\x89PNG\r\n\x1a\n", pillow_names=("PNG",), animation_reader=Reader.FFMPEG
    ),
    # Not JPEG-LS, which goes on with F7.
    PictureFormat(
        "JPEG", r"\xff\xd8\xff(?!\xf7)", pillow_names=("JPEG",), animation_reader=Reader.FFMPEG
    ),
    PictureFormat("GIF", r"GIF8[79]a", pillow_names=("GIF",), animation_reader=Reader.FFMPEG),
    PictureFormat(
        "WebP", r"RIFF.{4}WEBP", pillow_names=("WEBP",), animation_reader=Reader.PILLOW
    ),
    PictureFormat(
        "TIFF", r"II[*+]\x00|MM\x00[*+]", pillow_names=("TIFF",), animation_reader=Reader.PILLOW
    ),
    # Two letters begin many files; the size of the second header is one of these.
    PictureFormat(
        "BMP", r"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\x00\x00\x00", pillow_names=("BMP",)
    ),
    PictureFormat(
        "JPEG 2000", r"\x00{3}\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", pillow_names=("JPEG2000",)
    ),
    # The brand, or one of those that the file is compatible with (ISO/IEC 14496-12, 4.3).
    PictureFormat(
        "AVIF", r".{4}ftyp(avi[fs]|m[is]f1.{4}(.{4})*?avi[fs])",
        pillow_names=("AVIF",), animation_reader=Reader.PILLOW,
    ),
    PictureFormat("HEIF", r".{4}ftyp(hei[cxms]|mif[12])", Reader.HEIF),
    PictureFormat("ICO", r"\x00\x00\x01\x00.\x00", pillow_names=("ICO",)),
    PictureFormat("ICNS", r"icns", pillow_names=("ICNS",)),
    PictureFormat("PSD", r"8BPS\x00\x01", pillow_names=("PSD",)),
    PictureFormat("JPEG-LS", r"\xff\xd8\xff\xf7", Reader.FFMPEG),
    PictureFormat("EXR", r"\x76\x2f\x31\x01", Reader.FFMPEG),
    PictureFormat("Radiance HDR", r"#\?(RADIANCE|RGBE)\n", Reader.FFMPEG),
    PictureFormat("DPX", r"SDPX|XPDS", Reader.FFMPEG),
    PictureFormat("PNM", r"P[1-7Ff]\s", Reader.FFMPEG),
    PictureFormat("QOI", r"qoif", Reader.FFMPEG),
    PictureFormat("JPEG XL", r"\xff\x0a|\x00{3}\x0cJXL \r\n\x87\n", Reader.FFMPEG),
    PictureFormat("TGA", "", pillow_names=("TGA",), suffixes=(".tga",)),
)  # fmt: skip
_SIGNATURES = tuple(
    (re.compile(row.signature.encode("latin-1"), re.DOTALL), row)
    for row in PICTURE_FORMATS
    if row.signature
)


def picture_format(path: Path) -> PictureFormat | None:
    """The row of a picture file; None for other files.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        beginning = file.read(SIGNATURE_BYTES)
    for signature, row in _SIGNATURES:
        if signature.match(beginning):
            return row
    for row in PICTURE_FORMATS:
        if has_suffix(path, row.suffixes):
            return row
    return None
