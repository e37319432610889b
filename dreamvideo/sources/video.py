"""A film as frames with exact times and true colours. Refuses to know what becomes of them."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from dreamvideo.colour import MATRIX_NAMES, matrix_of
from dreamvideo.errors import InputError
from dreamvideo.frames import ColourTags, FloatArray, Footage, Frame
from dreamvideo.sources.scaling import Scaler, scaled_size

# Code point of FFmpeg's AVColorRange.
FULL_RANGE = 2
# A declared end may lie this many frames behind the last one in whole files (edit lists, rounding).
END_TOLERANCE_FRAMES = 3
FALLBACK_FRAME_RATE = Fraction(25)
# Formats whose header counts the frames that are shown; others count what an edit list hides too.
COUNTED_FORMATS = ("avi",)
# Formats that say when a frame is decoded, not when it is shown: their rate is constant.
UNTIMED_FORMATS = ("avi", "h264", "hevc", "m4v", "mpegvideo")
GET_WHOLE_FILE = "get the whole file, or cut it there with another tool first"


class _Ratio(Protocol):
    """What PyAV's ratios have in common: Fraction before version 19, a type of its own since."""

    @property
    def numerator(self) -> int: ...

    @property
    def denominator(self) -> int: ...


class VideoSource:
    """The pictures of a film's first video stream, upright, scaled, in order."""

    def __init__(self, path: Path, size_px: int | None) -> None:
        """Open the film and read through it once, to know its length and that it is whole.

        Raises:
            InputError: not a film that can be read, or it ends before its declared end.
        """
        frame_count = _survey(path)
        self._scalers: dict[tuple[object, ...], Scaler] = {}
        self._path = path
        self._container, self._stream = _open(path)
        try:
            self._decoded, first = self._start()
        except InputError:
            self._container.close()
            raise
        upright = (first.width, first.height)
        aspect = _exact(self._stream.sample_aspect_ratio, Fraction(1))
        if first.rotation % 180:
            upright = upright[::-1]
            aspect = 1 / aspect
        width, height = scaled_size(*upright, size_px)
        self.footage = Footage(
            path=path,
            width_px=width,
            height_px=height,
            frame_count=frame_count,
            frame_rate=_frame_rate(self._stream),
            time_base_seconds=self._tick_seconds(),
            pixel_aspect=aspect,
            colour=ColourTags(
                int(self._stream.codec_context.color_primaries),
                int(self._stream.codec_context.color_trc),
                matrix_of(int(first.colorspace), first.height),
            ),
        )

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        """See `Source`."""
        index = 0
        try:
            for index, decoded in enumerate(self._decoded):
                yield self._frame(index, decoded)
        except av.FFmpegError as error:
            raise InputError(
                f"{self._path} is damaged near frame {index}: {error.strerror}; repair the file"
            ) from error

    def _tick_seconds(self) -> Fraction:
        if self._container.format.name in UNTIMED_FORMATS:
            return 1 / _frame_rate(self._stream)
        return _time_base(self._stream)

    def _frame(self, index: int, decoded: av.VideoFrame) -> Frame:
        picture = self._picture(decoded)
        if self._container.format.name in UNTIMED_FORMATS:
            return Frame(index, index / self.footage.frame_rate, picture)
        if decoded.pts is None:
            raise InputError(f"{self._path}: frame {index} has no time; convert the film to .mp4")
        time_base = _exact(decoded.time_base, _time_base(self._stream))
        duration_seconds = decoded.duration * time_base if decoded.duration else None
        time_seconds = decoded.pts * time_base
        return Frame(index, time_seconds, picture, duration_seconds=duration_seconds)

    def _start(self) -> tuple[Iterator[av.VideoFrame], av.VideoFrame]:
        """All decoded pictures, and the first one, which tells what the container may not."""
        decoded = self._container.decode(self._stream)
        try:
            first = next(decoded, None)
        except av.FFmpegError as error:
            raise InputError(f"{self._path} cannot be decoded: {error.strerror}") from error
        if first is None:
            raise InputError(f"{self._path} holds no picture; is the film whole?")
        return itertools.chain([first], decoded), first

    def _picture(self, decoded: av.VideoFrame) -> FloatArray:
        quarter_turns = decoded.rotation % 360 // 90
        size = (self.footage.width_px, self.footage.height_px)
        size = size[::-1] if quarter_turns % 2 else size
        facts = _colour_facts(decoded, self._stream.codec_context.name)
        # A film may change its size or format on the way.
        kind = (decoded.width, decoded.height, decoded.format.name, size, facts)
        if kind not in self._scalers:
            self._scalers = {kind: Scaler(decoded, size, "rgb24", facts)}
        rgb = self._scalers[kind](decoded)
        upright: FloatArray = np.rot90(rgb, quarter_turns).astype(np.float32)
        upright /= 255
        return upright


def _colour_facts(decoded: av.VideoFrame, codec: str) -> str:
    """What FFmpeg's scale filter must be told of the colours of a picture, as its options."""
    if decoded.format.is_rgb:
        return ""
    matrix = MATRIX_NAMES[matrix_of(int(decoded.colorspace), decoded.height)]
    is_full_range = decoded.color_range == FULL_RANGE or "yuvj" in decoded.format.name
    # Left is what films mean where they do not say, and FFmpeg takes that for centre.
    chroma = "center" if codec == "mjpeg" else "left"
    return (
        f":in_color_matrix={matrix}:in_range={'pc' if is_full_range else 'tv'}"
        f":in_chroma_loc={chroma}"
    )


def _open(path: Path) -> tuple[InputContainer, VideoStream]:
    try:
        container = av.open(str(path.absolute()))
    except av.FFmpegError as error:
        raise InputError(
            f"cannot read {path} as a film: {error.strerror}; is it a film, and whole?"
        ) from error
    for stream in container.streams.video:
        # The cover of a song is a video stream of one still.
        if not stream.disposition & av.stream.Disposition.attached_pic:
            stream.thread_type = "AUTO"
            return container, stream
    container.close()
    raise InputError(f"{path} has no video stream; give a film with pictures")


def _survey(path: Path) -> int:
    """The number of pictures, read without decoding them; refuses a film that is cut off.

    Damaged films decode without an error, so their declared duration is held against them.
    """
    container, stream = _open(path)
    with container:
        time_base = _time_base(stream)
        declared_end_seconds = _declared_end_seconds(stream)
        tolerance_seconds = END_TOLERANCE_FRAMES / _frame_rate(stream)
        start_pts = stream.start_time or 0
        declared_count = stream.frames if container.format.name in COUNTED_FORMATS else 0
        count, end_pts = 0, start_pts
        # A damaged packet ends the reading; that the film is short is then seen below.
        with contextlib.suppress(av.FFmpegError):
            for packet in container.demux(stream):
                if packet.size and packet.pts is not None and not packet.is_discard:
                    count += 1
                    end_pts = max(end_pts, packet.pts + (packet.duration or 0))
    end_seconds = end_pts * time_base
    if declared_end_seconds is not None and declared_end_seconds - end_seconds > tolerance_seconds:
        raise InputError(
            f"{path} is cut off: it declares pictures until {float(declared_end_seconds):.2f} s "
            f"and they end at {float(end_seconds):.2f} s ({count} frames); {GET_WHOLE_FILE}"
        )
    if declared_count - count > END_TOLERANCE_FRAMES:
        raise InputError(
            f"{path} is cut off: it declares {declared_count} frames and holds {count}; "
            f"{GET_WHOLE_FILE}"
        )
    return count


def _exact(ratio: _Ratio | None, fallback: Fraction) -> Fraction:
    """A ratio of PyAV's as a fraction; the fallback where there is none."""
    return Fraction(ratio.numerator, ratio.denominator) if ratio else fallback


def _time_base(stream: VideoStream) -> Fraction:
    return _exact(stream.time_base, 1 / FALLBACK_FRAME_RATE)


def _frame_rate(stream: VideoStream) -> Fraction:
    return _exact(stream.average_rate, FALLBACK_FRAME_RATE)


def _declared_end_seconds(stream: VideoStream) -> Fraction | None:
    """When the stream ends, on its own clock, by what the container says, if anything."""
    if stream.duration is not None:
        return ((stream.start_time or 0) + stream.duration) * _time_base(stream)
    clock = stream.metadata.get("DURATION", "").split(":")  # Matroska: 00:00:04.000000000
    try:
        hours, minutes, seconds = (Fraction(part) for part in clock)
    except ValueError:
        return None
    return hours * 3600 + minutes * 60 + seconds
