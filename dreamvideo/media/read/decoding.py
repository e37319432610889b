"""Decodes a video from its beginning or from a time on, past broken frames."""

from __future__ import annotations

import heapq
import warnings
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Protocol

import av
from av.stream import Disposition

from dreamvideo.errors import DreamVideoWarning, InputError
from dreamvideo.media.opening import Location, describe_video_stream, video_streams
from dreamvideo.media.read.conversion import deinterlaced
from dreamvideo.media.read.dolby_vision import check_dolby_vision
from dreamvideo.media.read.timeline import (
    MAX_JUMP_SECONDS,
    StreamScan,
    TimedFrame,
    Timing,
    as_exact,
    clock_jump_message,
    frame_rate,
    index_seconds,
    open_video_stream,
    riff_is_whole,
    scan_video,
    time_base,
    timing_of,
)

# How far before the first frame that is needed decoding begins: a key frame may refer to frames
# around it, and the deinterlacer needs the frame before.
LEAD_SECONDS = Fraction(1)
# The longest priming in use: 80 ms of Opus; of AAC 2112 samples, at 16 kHz and more.
MAX_PRIMING_SECONDS = Fraction(15, 100)
# So many frames at the beginning may lack a time, which is then counted back from the next one.
MAX_UNTIMED_FRAMES = 100
# The share of broken frames is taken of at least this many frames.
MIN_FRAMES_JUDGED = 50
# Matroska's tag of a video with alpha, which only these decoders read.
ALPHA_TAG = ("alpha_mode", "1")
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


class FrameDecoder(Protocol):
    """The frames of a file in the order in which they are shown, and what it says of them."""

    @property
    def frames_lost(self) -> int:
        """How many frames were broken so far, and left out."""
        ...

    @property
    def frame_rate(self) -> Fraction:
        """Mean number of frames per second."""
        ...

    @property
    def tick_seconds(self) -> Fraction:
        """Every time is a whole multiple of this."""
        ...

    @property
    def start_seconds(self) -> Fraction:
        """When the video begins, on its own clock."""
        ...

    @property
    def pixel_aspect(self) -> Fraction:
        """Width of a stored pixel divided by its height, as displayed."""
        ...

    @property
    def primaries(self) -> int:
        """Code point of ITU-T H.273."""
        ...

    @property
    def transfer(self) -> int:
        """Code point of ITU-T H.273."""
        ...

    @property
    def codec(self) -> str:
        """FFmpeg's name of the decoder; empty if it is another library's."""
        ...

    def scan(self, max_broken: float) -> StreamScan:
        """When each frame is shown; see `scan_video`."""
        ...

    def timed_frames(
        self, from_seconds: Fraction | None, max_broken: float
    ) -> Iterator[TimedFrame]:
        """All frames with their times, or at least those from a time on.

        Args:
            from_seconds: earlier frames may be left out.
            max_broken: the share of broken frames above which the video is refused.

        Raises:
            InputError: too many frames are broken.
        """
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class Decoder:
    """See `FrameDecoder`; the frames of one video stream, decoded by FFmpeg."""

    def __init__(self, location: Location, max_pixels: int) -> None:
        """Open the video.

        Raises:
            InputError: it cannot be read, its frames are larger than `max_pixels`, or only a
                decoder of Dolby Vision knows its colours.
        """
        self._location = location
        self._max_pixels = max_pixels
        self.frames_lost = 0
        self._open()
        width, height = self.stream.codec_context.width, self.stream.codec_context.height
        if width * height > max_pixels:
            self.container.close()
            raise InputError(
                f"{location.name} has frames of {width}x{height} pixels, more than "
                f"{max_pixels:,}; allow that with --max-pixels {width * height}, if you trust it"
            )
        try:
            check_dolby_vision(self.stream, location)
        except InputError:
            self.container.close()
            raise
        self._warn_left_out()

    def _warn_left_out(self) -> None:
        """A warning about other videos in the same file; parts of videos and covers are none."""
        others = [
            stream
            for stream in video_streams(self.container)
            if stream.index != self.stream.index and not stream.disposition & Disposition.dependent
        ]
        if others:
            warnings.warn(
                f"{self._location.name} has {len(others) + 1} video streams; "
                f"{describe_video_stream(self.stream)} is dreamed and "
                f"{', '.join(map(describe_video_stream, others))} left out; --stream chooses "
                "another one",
                DreamVideoWarning,
                stacklevel=2,
            )

    def _open(self) -> None:
        self.container, self.stream = open_video_stream(self._location)
        self._timing = timing_of(self.container)
        self._index_ticks: list[int] = []
        if self._timing is Timing.INDEXED:
            self.stream.thread_type = "SLICE"  # threads of frames would delay the first one further
        self._context = self.stream.codec_context
        alpha_decoder = ALPHA_DECODERS.get(self._context.codec.canonical_name)
        if alpha_decoder and self.stream.metadata.get(ALPHA_TAG[0]) == ALPHA_TAG[1]:
            self._context = av.CodecContext.create(alpha_decoder, "r")  # type: ignore[assignment]
        self._context.options = {"max_pixels": str(self._max_pixels)}

    def scan(self, max_broken: float) -> StreamScan:
        """See `FrameDecoder`."""
        return scan_video(self._location, max_broken)

    def close(self) -> None:
        """See `FrameDecoder`."""
        self.container.close()

    @property
    def frame_rate(self) -> Fraction:
        """See `FrameDecoder`."""
        return frame_rate(self.stream)

    @property
    def pixel_aspect(self) -> Fraction:
        """See `FrameDecoder`."""
        return as_exact(self.stream.sample_aspect_ratio, Fraction(1)) or Fraction(1)

    @property
    def primaries(self) -> int:
        """See `FrameDecoder`."""
        return int(self.stream.codec_context.color_primaries)

    @property
    def transfer(self) -> int:
        """See `FrameDecoder`."""
        return int(self.stream.codec_context.color_trc)

    @property
    def codec(self) -> str:
        """See `FrameDecoder`."""
        return self.stream.codec_context.name

    @property
    def tick_seconds(self) -> Fraction:
        """See `FrameDecoder`."""
        is_untimed = self._timing is Timing.UNTIMED
        return 1 / frame_rate(self.stream) if is_untimed else time_base(self.stream)

    @property
    def start_seconds(self) -> Fraction:
        """See `FrameDecoder`; that of its first audio or frame.

        A recorder's clock may be at any time, even before zero, when it begins. But the little
        sound that comes before a picture at zero is priming of its decoder, and is not played.
        """
        if self._timing is not Timing.SHOWN or self.container.start_time is None:
            return Fraction(0)
        start_seconds = Fraction(self.container.start_time, av.time_base)
        if -MAX_PRIMING_SECONDS < start_seconds < 0 <= (self.stream.start_time or 0):
            return Fraction(0)
        return round(start_seconds / self.tick_seconds) * self.tick_seconds

    def timed_frames(
        self, from_seconds: Fraction | None, max_broken: float
    ) -> Iterator[TimedFrame]:
        """See `FrameDecoder`."""
        self.frames_lost = 0
        can_seek = self._location.is_file and self._timing is Timing.SHOWN
        if from_seconds is not None and can_seek:
            timed_frames = self._from_key_frame(from_seconds, max_broken)
            first = next(timed_frames, None)
            if first is not None:
                yield first
                yield from timed_frames
                return
        self.container.close()
        self._open()
        self.frames_lost = 0
        frames = self._decode(max_broken)
        if self._timing is Timing.INDEXED:
            yield from self._shown_until_next(self._with_times(deinterlaced(self._indexed(frames))))
        else:
            yield from self._with_times(deinterlaced(frames))

    def _from_key_frame(self, from_seconds: Fraction, max_broken: float) -> Iterator[TimedFrame]:
        """The frames from a key frame before a time on; nothing if there is no such key frame."""
        offset = (from_seconds - LEAD_SECONDS) // time_base(self.stream)
        try:
            self.container.seek(offset, stream=self.stream)
        except av.FFmpegError:
            return
        self._context.flush_buffers()
        frames = self._decode(max_broken)
        # Frames before a key frame may lack the frames that they refer to.
        for frame in frames:
            time_seconds = self._time_seconds(frame)
            if time_seconds is None or time_seconds > from_seconds:
                return
            if frame.key_frame:
                yield from self._with_times(deinterlaced(chain([frame], frames)))
                return

    def _decode(self, max_broken: float) -> Iterator[av.VideoFrame]:
        """Decoded frames; broken ones are left out and counted."""
        decoded = 0
        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError:
                packet = None
            if packet is not None and packet.size and self._timing is Timing.INDEXED:
                heapq.heappush(self._index_ticks, packet.dts or 0)
            try:
                frames = self._context.decode(packet if packet and packet.size else None)
            except av.EOFError:
                return
            except av.FFmpegError:
                frames = []
                self.frames_lost += 1
            for frame in frames:
                decoded += 1
                if frame.is_corrupt:
                    self.frames_lost += 1
                else:
                    yield frame
            if self.frames_lost > max_broken * max(decoded, MIN_FRAMES_JUDGED):
                raise InputError(
                    f"{self._location.name} is damaged: {self.frames_lost} frames are broken near "
                    f"frame {decoded}; repair the video, or allow more with --max-broken"
                )
            if packet is None or not packet.size:
                return

    def _indexed(self, frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        """Frames with the times that the index has for them.

        The index is in the order of decoding. Where that is not the order of showing, a frame is
        shown when a later packet is decoded, and all frames are late by the first one's delay.
        """
        ticks = self._index_ticks
        delay: int | None = None
        tick = -1
        for frame in frames:
            if delay is None:
                delay = len(ticks) - 1 if self._context.has_b_frames else 0
                for _ in range(delay):
                    heapq.heappop(ticks)
            tick = heapq.heappop(ticks) - delay if ticks else tick + 1
            if delay == 0 and frame.dts is not None:
                tick = max(tick, frame.dts)  # broken frames have used up earlier times
                while ticks and ticks[0] <= tick:
                    heapq.heappop(ticks)
            frame.pts, frame.time_base = tick, time_base(self.stream)
            yield frame

    def _shown_until_next(self, timed_frames: Iterator[TimedFrame]) -> Iterator[TimedFrame]:
        """Frames that are shown until the next one, the last one to the end of the index."""
        previous: TimedFrame | None = None
        for timed_frame in timed_frames:
            if previous is not None:
                duration_seconds = timed_frame.time_seconds - previous.time_seconds
                yield replace(previous, duration_seconds=duration_seconds)
            previous = timed_frame
        if previous is None:
            return
        duration_seconds = self.tick_seconds
        if self._location.is_file and riff_is_whole(Path(self._location.name)):
            until_end_seconds = index_seconds(self.stream) - previous.time_seconds
            duration_seconds = max(duration_seconds, until_end_seconds)
        yield replace(previous, duration_seconds=duration_seconds)

    def _with_times(self, frames: Iterator[av.VideoFrame]) -> Iterator[TimedFrame]:
        """Frames with their times, each at least a tick after the one before."""
        rate = frame_rate(self.stream)
        latest_seconds: Fraction | None = None
        for index, frame in enumerate(self._timed_from_first(frames)):
            if self._timing is Timing.UNTIMED:
                yield TimedFrame(index / rate, frame, 1 / rate)
                continue
            time_seconds = self._time_seconds(frame)
            if time_seconds is None:
                raise InputError(
                    f"{self._location.name}: frame {index} has no time; convert the video to .mp4"
                )
            if latest_seconds is not None:
                if latest_seconds - time_seconds > MAX_JUMP_SECONDS:
                    raise InputError(clock_jump_message(self._location))
                time_seconds = max(time_seconds, latest_seconds + self.tick_seconds)
            latest_seconds = time_seconds
            tick_seconds = as_exact(frame.time_base, time_base(self.stream))
            yield TimedFrame(time_seconds, frame, frame.duration * tick_seconds or None)

    def _timed_from_first(self, frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        """Frames of which those at the beginning have times, too.

        Matroska cannot store times before zero.
        """
        if self._timing is Timing.UNTIMED:
            yield from frames
            return
        untimed: list[av.VideoFrame] = []
        for frame in frames:
            if frame.pts is None and len(untimed) < MAX_UNTIMED_FRAMES:
                untimed.append(frame)
                continue
            if frame.pts is not None:
                tick_seconds = as_exact(frame.time_base, time_base(self.stream))
                step = 1 / frame_rate(self.stream) / tick_seconds
                for count, earlier in zip(range(len(untimed), 0, -1), untimed, strict=True):
                    earlier.pts = frame.pts - round(count * step)
            yield from untimed
            yield frame
            yield from frames
            return
        yield from untimed

    def _time_seconds(self, frame: av.VideoFrame) -> Fraction | None:
        if frame.pts is None:
            return None
        return frame.pts * as_exact(frame.time_base, time_base(self.stream))
