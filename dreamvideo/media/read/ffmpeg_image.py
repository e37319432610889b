"""Reads the image files that FFmpeg reads and Pillow does not, such as EXR and DPX."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.video.stream import VideoStream

from dreamvideo.errors import InputError
from dreamvideo.media.opening import open_picture_container, video_stream_of
from dreamvideo.media.pixels import to_integers
from dreamvideo.media.read.conversion import (
    HDR_TRANSFERS,
    LINEAR,
    Scaler,
    Size,
    bits_of,
    from_linear_light,
    has_alpha,
    is_float,
    orientation_of,
    scale_filter_colour,
    to_standard_range,
)
from dreamvideo.types import FloatArray

# The codecs whose images may have EXIF data, which say how they are to be shown.
EXIF_CODECS = ("mjpeg", "png", "tiff", "webp")
# Pixel formats whose values come as they are; converting them would cut what is above white.
DIRECT_FLOATS = ("gbrpf32le", "gbrapf32le", "rgbf32le", "rgbaf32le", "grayf32le")


def check_pixels(path: Path, width_px: int, height_px: int, max_pixels: int) -> None:
    """Refuse an image that is too large.

    Raises:
        InputError: it has more than `max_pixels`.
    """
    if width_px * height_px > max_pixels:
        raise InputError(
            f"{path} has {width_px}x{height_px} pixels, more than {max_pixels:,}; allow that with "
            f"--max-pixels {width_px * height_px}, if you trust it"
        )


def read_ffmpeg_header(path: Path, max_pixels: int) -> tuple[Size, int]:
    """(width, height) in px as it is to be shown, and 8 or 16 bits per channel.

    Raises:
        InputError: it is too large.
        ValueError: FFmpeg finds no picture in it.
        av.FFmpegError: it cannot be read.
    """
    with _open_video(path) as (_, stream):
        context = stream.codec_context
        check_pixels(path, context.width, context.height, max_pixels)
        if context.format is None:
            raise ValueError("its pixel format is unknown")
        bits = 8 if max(component.bits for component in context.format.components) <= 8 else 16
        size = (context.width, context.height)
        may_be_turned = context.codec.canonical_name in EXIF_CODECS
    is_transposed = may_be_turned and orientation_of(*decode_one(path)).transposed
    return size[::-1] if is_transposed else size, bits


def read_ffmpeg_pixels(path: Path, max_pixels: int) -> npt.NDArray[Any]:
    """(height, width, 3), or 4 with alpha, upright; 8 or 16 bits.

    Values of floating point, and of linear light, become those of a screen: see
    `from_linear_light`.

    Raises:
        InputError: it is too large.
        ValueError, av.FFmpegError: it cannot be read.
    """
    read_ffmpeg_header(path, max_pixels)
    frame, codec = decode_one(path)
    if is_float(frame):
        values = _from_floats(frame)
    else:
        size = (frame.width, frame.height)
        values = Scaler(frame, size, scale_filter_colour(frame, codec))(frame)
        if frame.color_trc == LINEAR:
            values[..., :3] = from_linear_light(values[..., :3])
        elif frame.color_trc in HDR_TRANSFERS:
            values[..., :3] = to_standard_range(values[..., :3], frame.color_trc)
    bits = 8 if bits_of(frame) <= 8 else 16
    return to_integers(orientation_of(frame, codec).upright(values), bits)


def decode_one(path: Path) -> tuple[av.VideoFrame, str]:
    """The first frame of an image file, as it is stored, and FFmpeg's name of its decoder.

    Raises:
        ValueError, av.FFmpegError: it cannot be read.
    """
    with _open_video(path) as (container, stream):
        for frame in container.decode(stream):
            return frame, stream.codec_context.name
    raise ValueError("it is incomplete")


@contextmanager
def _open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """An image file and the stream that holds the image."""
    with path.open("rb") as file, open_picture_container(file) as container:
        stream = video_stream_of(container)
        if stream is None:
            raise ValueError("this FFmpeg has no decoder for it: convert it to .png first")
        yield container, stream


def _from_floats(frame: av.VideoFrame) -> FloatArray:
    """A frame of floats, which are linear light, as (height, width, 3 or 4) in [0, 1]."""
    if frame.format.name not in DIRECT_FLOATS:
        frame = frame.reformat(format="gbrapf32le" if has_alpha(frame) else "gbrpf32le")
    values: FloatArray = np.nan_to_num(frame.to_ndarray().astype(np.float32), nan=0.0)
    if values.ndim == 2:  # grey
        values = np.repeat(values[..., None], 3, axis=2)
    light = values[..., :3]
    if values.shape[2] == 3:
        return from_linear_light(light)
    # Where there is alpha, colours are stored multiplied by it.
    alpha = values[..., 3:].clip(0, 1)
    light = np.divide(light, alpha, out=np.zeros_like(light), where=alpha > 0)
    return np.dstack([from_linear_light(light), alpha])
