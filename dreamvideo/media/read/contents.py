"""What an input is: found by looking into the file, not by its name."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from pathlib import Path

import av

from dreamvideo.errors import InputError, UsageError
from dreamvideo.media.formats import (
    IMAGE_SUFFIXES,
    STREAM_NAME,
    MediaKind,
    has_suffix,
)
from dreamvideo.media.opening import Location, is_noise, open_picture_container, video_stream_of
from dreamvideo.media.read.picture_formats import PictureFormat, Reader, picture_format
from dreamvideo.media.read.pillow_file import frame_numbers, open_pillow, reading_image

# FFmpeg's formats that hold pictures end like this, or are these.
PICTURE_FORMAT_ENDING = "_pipe"
OTHER_PICTURE_FORMATS = ("fits", "image2")
# In other formats, one frame of such a codec is a picture, too, unless there is sound.
PICTURE_CODECS = ("bmp", "jpeg2000", "jpegls", "mjpeg", "png", "tiff", "webp")
# The end of a JPEG and the beginning of the next one: a video of JPEGs in a row.
NEXT_JPEG = b"\xff\xd9\xff\xd8\xff"


@dataclass(frozen=True)
class Contents:
    """What an input is, and which library reads it if it is a file."""

    kind: MediaKind
    reader: Reader = Reader.FFMPEG
    is_known: bool = True
    """Whether it was found to be this; otherwise opening it will say what is wrong."""


def contents_of(location: Location) -> Contents:
    """What an input is; a file with several frames is a video, whatever its format.

    What is missing or cannot be read is a still image or a video by its name.
    """
    name = location.name
    if location.spool is None and name == STREAM_NAME:
        return Contents(MediaKind.STREAM)
    if not location.is_file:
        return Contents(MediaKind.VIDEO)
    path = Path(name)
    if path.is_dir():
        return Contents(MediaKind.FOLDER)
    if is_noise(name):
        return Contents(MediaKind.STILL)
    return _contents_of_file(path)


def _contents_of_file(path: Path) -> Contents:
    kind = MediaKind.STILL if has_suffix(path, IMAGE_SUFFIXES) else MediaKind.VIDEO
    by_name = Contents(kind, is_known=False)
    if not path.is_file() or not os.access(path, os.R_OK):
        return by_name
    row = picture_format(path)
    if row is None:
        return _seen_by_ffmpeg(path) or by_name
    if row.reader is Reader.FFMPEG:
        return _seen_by_ffmpeg(path) or Contents(MediaKind.STILL)
    return _seen_by_pillow(path, row)


def _seen_by_pillow(path: Path, row: PictureFormat) -> Contents:
    still = Contents(MediaKind.STILL, row.reader)
    try:
        with reading_image(path):
            image = open_pillow(path, row)
            if image is None:
                # Some variants of a format only FFmpeg reads; and a name is no signature.
                return _seen_by_ffmpeg(path) or still
            with image:
                has_frames = len(frame_numbers(image, row)) > 1
                if row.name == "JPEG" and image.format == "JPEG":
                    has_frames = _is_joined(path)
    except (InputError, UsageError):
        return still
    if has_frames and row.animation_reader is not None:
        return Contents(MediaKind.VIDEO, row.animation_reader)
    return still


def _is_joined(path: Path) -> bool:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(NEXT_JPEG) >= 0


def _seen_by_ffmpeg(path: Path) -> Contents | None:
    """Whether FFmpeg finds a still image or a video in a file; None if it finds neither."""
    try:
        with path.open("rb") as file, open_picture_container(file) as container:
            stream, name = video_stream_of(container), container.format.name
            is_picture = name.endswith(PICTURE_FORMAT_ENDING) or name in OTHER_PICTURE_FORMATS
            if stream is None:
                return Contents(MediaKind.STILL if is_picture else MediaKind.VIDEO)
            codec = stream.codec_context.codec.canonical_name
            is_picture |= codec in PICTURE_CODECS and not container.streams.audio
            if is_picture:
                packets = (packet for packet in container.demux(stream) if packet.size)
                is_picture = next(packets, None) is not None and next(packets, None) is None
            return Contents(MediaKind.STILL if is_picture else MediaKind.VIDEO)
    except (av.FFmpegError, OSError):
        return None
