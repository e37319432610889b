"""Scans a video without decoding it; selects which of its frames are shown, and when."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, pairwise
from statistics import median_low

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from dreamvideo.errors import InputError
from dreamvideo.media.opening import (
    Location,
    Ratio,
    as_fraction,
    describe_video_stream,
    open_video_container,
    video_stream_of,
    video_streams,
)

# In complete files the declared end may be this many frames after the last one (edit lists,
# rounding).
END_TOLERANCE_FRAMES = 3
FALLBACK_FRAME_RATE = Fraction(25)
# Of images without times: FFmpeg's default for numbered images, too.
DEFAULT_RATE = Fraction(25)
# In broken files time goes back by some frames; where it goes back by more than this, another
# recording begins.
MAX_JUMP_SECONDS = 1
# A step is a gap if it is this many times as long as the median. A video with more gaps than this
# share of its steps has a variable frame rate.
MAX_REGULAR_STEP = Fraction(8, 5)
MAX_GAP_SHARE = 0.05
# Formats whose header counts the frames that are shown; others count those that an edit list hides
# as well.
COUNTED_FORMATS = ("avi",)
# Formats that store when a frame is decoded, not when it is shown: their frame rate is constant.
UNTIMED_FORMATS = ("avi", "h264", "hevc", "m4v", "mpegvideo")


@dataclass(frozen=True)
class StreamScan:
    """What the packets of a video tell, read once through without decoding."""

    times_seconds: Sequence[Fraction]
    """When each frame is shown, in order."""
    missing: int
    """Roughly how many frames the end lacks, by the length that the file declares."""

    @property
    def gaps(self) -> int:
        """Frames that are missing within a video of otherwise constant frame rate.

        A video with a variable rate has steps of many lengths, and no gaps.
        """
        times = self.times_seconds
        steps = [later - earlier for earlier, later in pairwise(times)]
        if not steps:
            return 0
        median = median_low(steps)
        longer = [step for step in steps if step > MAX_REGULAR_STEP * median]
        if median <= 0 or len(longer) > MAX_GAP_SHARE * len(steps):
            return 0
        return sum(round(step / median) - 1 for step in longer)

    def count(self, start_seconds: Fraction | None, end_seconds: Fraction | None) -> int:
        """How many frames are shown from the start on and before the end."""
        return sum(
            (start_seconds is None or time >= start_seconds)
            and (end_seconds is None or time < end_seconds)
            for time in self.times_seconds
        )


def scan_video(location: Location, max_broken: float) -> StreamScan:
    """Read through the packets of a video.

    Incomplete videos decode without an error, so the frames are compared with the declared length.

    Raises:
        InputError: more than the share `max_broken` of the frames is missing.
    """
    container, stream = open_video_stream(location)
    with container:
        untimed = container.format.name in UNTIMED_FORMATS
        ticks, end_tick, jumps = _scan_packets(container, stream, untimed)
        rate, tick_seconds = frame_rate(stream), time_base(stream)
        declared_end_seconds = _declared_end_seconds(stream)
        declared_frames = stream.frames if container.format.name in COUNTED_FORMATS else 0
    if jumps:
        raise InputError(clock_jump_message(location))
    missing = declared_frames - len(ticks)
    if declared_end_seconds is not None:
        missing = max(missing, int((declared_end_seconds - end_tick * tick_seconds) * rate))
    if missing <= END_TOLERANCE_FRAMES:
        missing = 0
    if missing > max_broken * (len(ticks) + missing):
        raise InputError(
            f"{location.name} is cut off: about {missing} of {len(ticks) + missing} frames are "
            "missing at its end, by the length that it declares; get the complete file, or dream "
            "the part that is there with --max-broken 1"
        )
    if untimed:
        return StreamScan([index / rate for index in range(len(ticks))], missing)
    return StreamScan([tick * tick_seconds for tick in sorted(ticks)], missing)


def clock_jump_message(location: Location) -> str:
    """The error of a video whose parts each count time from the beginning."""
    return (
        f"the clock of {location.name} jumps back, as in recordings that were put together; give "
        "it one clock first (ffmpeg -i THIS -c copy NEW.mkv), or cut it there"
    )


def open_video_stream(location: Location) -> tuple[InputContainer, VideoStream]:
    """A container and the video stream that is read.

    Raises:
        InputError: it cannot be read, or has no such stream.
    """
    container = open_video_container(location)
    stream = video_stream_of(container, location.stream)
    if stream is None:
        others = ", ".join(map(describe_video_stream, video_streams(container)))
        container.close()
        if location.stream is not None and others:
            raise InputError(
                f"{location.name} has no video stream {location.stream} that can be decoded; its "
                f"video streams are {others}"
            )
        raise InputError(
            f"{location.name} has no video stream that can be decoded; give a file with one"
        )
    stream.thread_type = "AUTO"
    return container, stream


def as_exact(ratio: Ratio | None, fallback: Fraction) -> Fraction:
    """A ratio of PyAV as a fraction; the fallback where there is none."""
    return as_fraction(ratio) if ratio else fallback


def time_base(stream: VideoStream) -> Fraction:
    """Seconds per tick of a stream."""
    return as_exact(stream.time_base, 1 / FALLBACK_FRAME_RATE)


def frame_rate(stream: VideoStream) -> Fraction:
    """Frames per second, on average."""
    return as_exact(stream.average_rate, FALLBACK_FRAME_RATE)


def _scan_packets(
    container: InputContainer, stream: VideoStream, untimed: bool
) -> tuple[list[int], int, bool]:
    """When each frame is shown and the last one ends, in ticks; whether time jumped back."""
    ticks: list[int] = []
    end_tick = stream.start_time or 0
    latest_dts, jumps = None, False
    tick_seconds = time_base(stream)
    # A damaged packet ends the scan; the declared length then shows that frames are missing.
    with contextlib.suppress(av.FFmpegError):
        for packet in container.demux(stream):
            if packet.size and not packet.is_discard and (untimed or packet.pts is not None):
                pts = packet.pts or 0
                ticks.append(pts)
                end_tick = max(end_tick, pts + (packet.duration or 0))
                dts = pts if packet.dts is None else packet.dts
                jumps |= (
                    latest_dts is not None and (latest_dts - dts) * tick_seconds > MAX_JUMP_SECONDS
                )
                latest_dts = dts
    return ticks, end_tick, jumps and not untimed


def _declared_end_seconds(stream: VideoStream) -> Fraction | None:
    """When the stream ends, on its own clock, if the container declares it."""
    if stream.duration is not None:
        return ((stream.start_time or 0) + stream.duration) * time_base(stream)
    clock = stream.metadata.get("DURATION", "").split(":")  # Matroska: 00:00:04.000000000
    try:
        hours, minutes, seconds = (Fraction(part) for part in clock)
    except (ValueError, ZeroDivisionError):
        return None
    return hours * 3600 + minutes * 60 + seconds


# Frame rates are written with three digits but meant exactly: 23.976 is 24000/1001.
NTSC_FACTOR = Fraction(1000, 1001)
RATE_TOLERANCE = Fraction(1, 1000)
LARGEST_RATE_DENOMINATOR = 10_000


@dataclass(frozen=True)
class TimedFrame:
    """A decoded frame and when it is shown."""

    time_seconds: Fraction
    frame: av.VideoFrame
    duration_seconds: Fraction | None = None


def exact_rate(fps: float) -> Fraction:
    """The frame rate that a rounded number stands for."""
    for rate in (Fraction(round(fps)), math.ceil(fps) * NTSC_FACTOR):
        if abs(rate - Fraction(fps)) < RATE_TOLERANCE:
            return rate
    return Fraction(fps).limit_denominator(LARGEST_RATE_DENOMINATOR)


def exact_seconds(seconds: float | None) -> Fraction | None:
    """The decimal number that was typed, not the binary one that is nearest to it."""
    return None if seconds is None else Fraction(str(seconds))


def trimmed(
    timed_frames: Iterable[TimedFrame], start_seconds: Fraction | None, end_seconds: Fraction | None
) -> Iterator[TimedFrame]:
    """The frames from the start on and before the end, on a clock that is 0 at the start."""
    for timed_frame in timed_frames:
        time_seconds, duration_seconds = timed_frame.time_seconds, timed_frame.duration_seconds
        if end_seconds is not None:
            if time_seconds >= end_seconds:
                return
            if duration_seconds is not None:
                duration_seconds = min(duration_seconds, end_seconds - time_seconds)
        if start_seconds is None or time_seconds >= start_seconds:
            yield TimedFrame(
                time_seconds - (start_seconds or 0), timed_frame.frame, duration_seconds
            )


def every_nth(timed_frames: Iterable[TimedFrame], step: int) -> Iterator[TimedFrame]:
    """Every `step`-th frame, from the first; each lasts until the next one."""
    taken: TimedFrame | None = None
    for index, timed_frame in enumerate(timed_frames):
        if index % step == 0:
            if taken is not None:
                yield taken
            taken = timed_frame
        elif taken is not None and taken.duration_seconds and timed_frame.duration_seconds:
            taken = replace(
                taken, duration_seconds=taken.duration_seconds + timed_frame.duration_seconds
            )
    if taken is not None:
        yield taken


def at_rate(
    timed_frames: Iterable[TimedFrame], rate: Fraction, first_index: int, last_seconds: Fraction
) -> Iterator[TimedFrame]:
    """The frame that is shown at each tick of a constant rate, from tick `first_index` on.

    Args:
        timed_frames: from one that is shown at that tick, or an earlier one; on a clock with ticks
            at whole multiples of 1 / rate.
        rate: ticks per second.
        first_index: of the first tick.
        last_seconds: how long the last frame lasts if it has no duration.
    """
    tick = first_index
    previous: TimedFrame | None = None
    for timed_frame in chain(timed_frames, [None]):
        if previous is not None:
            end_seconds = (
                timed_frame.time_seconds
                if timed_frame is not None
                else previous.time_seconds + (previous.duration_seconds or last_seconds)
            )
            while tick / rate < end_seconds:
                yield TimedFrame(tick / rate, previous.frame, 1 / rate)
                tick += 1
        previous = timed_frame
