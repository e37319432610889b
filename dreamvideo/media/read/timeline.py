"""Scans a video without decoding it; selects which of its frames are shown, and when."""

from __future__ import annotations

import contextlib
import enum
import math
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path
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
# Formats with an index of the frames at a constant rate, in the order in which they are decoded.
# An empty entry, a null, shows the frame before once more.
INDEX_TIMED_FORMATS = ("avi",)
# Formats whose header has when the video ends, in place of how long it is.
END_TIMED_FORMATS = ("asf",)
# Formats that store no times: their frame rate is constant.
UNTIMED_FORMATS = ("h264", "hevc", "m4v", "mpegvideo")
# The header of a chunk in a RIFF file, such as AVI: its name and its length in bytes.
RIFF_CHUNK_HEADER = struct.Struct("<4sI")
RIFF_CHUNK = b"RIFF"


class Timing(enum.Enum):
    """How a format stores when its frames are shown."""

    SHOWN = enum.auto()
    """Each packet has the time at which its frame is shown."""
    INDEXED = enum.auto()
    """See `INDEX_TIMED_FORMATS`."""
    UNTIMED = enum.auto()
    """See `UNTIMED_FORMATS`."""


def timing_of(container: InputContainer) -> Timing:
    """How a container stores when its frames are shown."""
    if container.format.name in INDEX_TIMED_FORMATS:
        return Timing.INDEXED
    return Timing.UNTIMED if container.format.name in UNTIMED_FORMATS else Timing.SHOWN


@dataclass(frozen=True)
class StreamScan:
    """What the packets of a video tell, read once through without decoding."""

    times_seconds: Sequence[Fraction]
    """When each frame is shown, in order."""
    missing: int
    """Roughly how many frames the end lacks, by the length that the file declares."""
    pauses: bool = False
    """Whether the format stores nothing where nothing changes, so that gaps are meant."""

    @property
    def gaps(self) -> int:
        """Frames that are missing within a video of otherwise constant frame rate.

        A video with a variable rate has steps of many lengths, and no gaps.
        """
        times = self.times_seconds
        steps = [later - earlier for earlier, later in pairwise(times)]
        if not steps or self.pauses:
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
        timing = timing_of(container)
        packets = _scan_packets(container, stream, timing)
        rate, tick_seconds = frame_rate(stream), time_base(stream)
        declared_end_seconds = _declared_end_seconds(container, stream)
    if packets.jumps:
        raise InputError(clock_jump_message(location))
    count = packets.untimed + len(packets.ticks)
    missing = 0
    # The end of a whole file with an index may consist of nulls.
    is_whole = timing is Timing.INDEXED and riff_is_whole(Path(location.name))
    if declared_end_seconds is not None and not is_whole:
        missing = int((declared_end_seconds - packets.end_tick * tick_seconds) * rate)
    if missing <= END_TOLERANCE_FRAMES:
        missing = 0
    if missing > max_broken * (count + missing):
        raise InputError(
            f"{location.name} is cut off: about {missing} of {count + missing} frames are "
            "missing at its end, by the length that it declares; get the complete file, or dream "
            "the part that is there with --max-broken 1"
        )
    if timing is Timing.UNTIMED:
        return StreamScan([index / rate for index in range(count)], missing)
    times = [tick * tick_seconds for tick in sorted(packets.ticks)]
    first_seconds = times[0] if times else Fraction(0)
    before = [first_seconds - index / rate for index in range(packets.untimed, 0, -1)]
    return StreamScan([*before, *times], missing, pauses=timing is Timing.INDEXED)


def riff_is_whole(path: Path) -> bool:
    """Whether a RIFF file, such as an AVI, is as long as its headers say."""
    size_bytes, position = path.stat().st_size, 0
    with path.open("rb") as file:
        while position + RIFF_CHUNK_HEADER.size <= size_bytes:
            file.seek(position)
            name, length = RIFF_CHUNK_HEADER.unpack(file.read(RIFF_CHUNK_HEADER.size))
            if name != RIFF_CHUNK:
                break
            position += RIFF_CHUNK_HEADER.size + length
    return position <= size_bytes


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


@dataclass
class _ScannedPackets:
    """What the packets of a video stream tell."""

    end_tick: int
    """When the last frame ends."""
    ticks: list[int] = field(default_factory=list)
    """When each frame is shown, in the order of the file."""
    untimed: int = 0
    """How many frames at the beginning have no time."""
    jumps: bool = False
    """Whether time jumped back."""


def _scan_packets(
    container: InputContainer, stream: VideoStream, timing: Timing
) -> _ScannedPackets:
    scanned = _ScannedPackets(stream.start_time or 0)
    latest_dts = None
    tick_seconds = time_base(stream)
    # A damaged packet ends the scan; the declared length then shows that frames are missing.
    with contextlib.suppress(av.FFmpegError):
        for packet in container.demux(stream):
            if not packet.size or packet.is_discard:
                continue
            shown = packet.dts if timing is Timing.INDEXED else packet.pts
            if shown is None:
                scanned.untimed += timing is Timing.UNTIMED or not scanned.ticks
                continue
            scanned.ticks.append(shown)
            scanned.end_tick = max(scanned.end_tick, shown + (packet.duration or 0))
            dts = shown if packet.dts is None else packet.dts
            scanned.jumps |= (
                latest_dts is not None and (latest_dts - dts) * tick_seconds > MAX_JUMP_SECONDS
            )
            latest_dts = dts
    scanned.jumps &= timing is not Timing.UNTIMED
    return scanned


def _declared_end_seconds(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """When the stream ends, on its own clock, if the container declares it."""
    if stream.duration is not None:
        if timing_of(container) is Timing.INDEXED:
            return index_seconds(stream)
        from_zero = container.format.name in END_TIMED_FORMATS
        start_tick = 0 if from_zero else stream.start_time or 0
        return (start_tick + stream.duration) * time_base(stream)
    clock = stream.metadata.get("DURATION", "").split(":")  # Matroska: 00:00:04.000000000
    try:
        hours, minutes, seconds = (Fraction(part) for part in clock)
    except (ValueError, ZeroDivisionError):
        return None
    return hours * 3600 + minutes * 60 + seconds


def index_seconds(stream: VideoStream) -> Fraction:
    """When the index of a stream ends, by the header; FFmpeg's duration omits nulls at the end."""
    return max(stream.duration or 0, stream.frames) * time_base(stream)


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
    timed_frames: Iterable[TimedFrame],
    start_seconds: Fraction | None,
    end_seconds: Fraction | None,
    origin_seconds: Fraction,
) -> Iterator[TimedFrame]:
    """The frames from the start on and before the end, on a clock that is 0 at the origin."""
    for timed_frame in timed_frames:
        time_seconds, duration_seconds = timed_frame.time_seconds, timed_frame.duration_seconds
        if end_seconds is not None:
            if time_seconds >= end_seconds:
                return
            if duration_seconds is not None:
                duration_seconds = min(duration_seconds, end_seconds - time_seconds)
        if start_seconds is None or time_seconds >= start_seconds:
            yield TimedFrame(time_seconds - origin_seconds, timed_frame.frame, duration_seconds)


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
