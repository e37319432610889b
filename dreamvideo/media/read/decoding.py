"""Decodes a film from its beginning or from a time on, past broken frames.

Refuses to know which pictures are wanted and what they are converted to.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import chain

import av
from av.filter import Graph

from dreamvideo.errors import InputError
from dreamvideo.media.ffmpeg import filter_chain
from dreamvideo.media.opening import Location
from dreamvideo.media.read.timeline import (
    MAX_JUMP_SECONDS,
    UNTIMED_FORMATS,
    TimedFrame,
    as_exact,
    clock_jump_message,
    frame_rate,
    open_video_stream,
    time_base,
)

# How far before a wanted time decoding begins, so that what a key frame needs of the frames
# around it, and a deinterlacer of the one before, is there.
LEAD_SECONDS = Fraction(1)
# Of fewer frames than this, no share is taken.
MIN_FRAMES_JUDGED = 50
# Matroska's mark of a film with transparency, which only this decoder reads.
ALPHA_TAG = ("alpha_mode", "1")
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


class Decoder:
    """The pictures of a film's first video stream, in the order in which they are shown."""

    def __init__(self, location: Location, max_pixels: int) -> None:
        """Open the film.

        Raises:
            InputError: it cannot be read, or its pictures are larger than `max_pixels`.
        """
        self._location = location
        self._max_pixels = max_pixels
        self.lost = 0
        self._open()
        width, height = self.stream.codec_context.width, self.stream.codec_context.height
        if width * height > max_pixels:
            self.container.close()
            raise InputError(
                f"{location.name} has pictures of {width}x{height} pixels, more than "
                f"{max_pixels:,}; allow that with --max-pixels {width * height}, if you trust it"
            )

    def _open(self) -> None:
        self.container, self.stream = open_video_stream(self._location)
        self._context = self.stream.codec_context
        wanted = ALPHA_DECODERS.get(self._context.codec.canonical_name)
        if wanted and self.stream.metadata.get(ALPHA_TAG[0]) == ALPHA_TAG[1]:
            self._context = av.CodecContext.create(wanted, "r")  # type: ignore[assignment]
        self._context.options = {"max_pixels": str(self._max_pixels)}

    @property
    def tick_seconds(self) -> Fraction:
        """Every time is a whole multiple of this."""
        return 1 / frame_rate(self.stream) if self._is_untimed else time_base(self.stream)

    @property
    def start_seconds(self) -> Fraction:
        """When the film begins, on its own clock, with its first sound or picture.

        What begins before zero is a decoder's lead-in, and is not heard.
        """
        if self._is_untimed or self.container.start_time is None:
            return Fraction(0)
        return max(Fraction(self.container.start_time, av.time_base), Fraction(0))

    def timed_frames(self, from_seconds: Fraction | None, max_lost: float) -> Iterator[TimedFrame]:
        """All moments, or at least those from a time on.

        Args:
            from_seconds: what comes earlier may be left out.
            most_lost: the share of broken frames above which the film is refused.

        Raises:
            InputError: too much is broken.
        """
        self.lost = 0
        if from_seconds is not None and self._location.is_file and not self._is_untimed:
            timed_frames = self._from_key_frame(from_seconds, max_lost)
            first = next(timed_frames, None)
            if first is not None:
                yield first
                yield from timed_frames
                return
        self.container.close()
        self._open()
        self.lost = 0
        yield from self._timed(_deinterlace(self._pictures(max_lost)))

    @property
    def _is_untimed(self) -> bool:
        return self.container.format.name in UNTIMED_FORMATS

    def _from_key_frame(self, from_seconds: Fraction, max_lost: float) -> Iterator[TimedFrame]:
        """What follows a key frame before a time; nothing if none is found there."""
        offset = max(from_seconds - LEAD_SECONDS, Fraction(0)) / time_base(self.stream)
        try:
            self.container.seek(int(offset), stream=self.stream)
        except av.FFmpegError:
            return
        self._context.flush_buffers()
        pictures = self._pictures(max_lost)
        # What precedes a key frame may lack the frames that it refers to.
        for picture in pictures:
            time_seconds = self._time_seconds(picture)
            if time_seconds is None or time_seconds > from_seconds:
                return
            if picture.key_frame:
                yield from self._timed(_deinterlace(chain([picture], pictures)))
                return

    def _pictures(self, max_lost: float) -> Iterator[av.VideoFrame]:
        """Decoded pictures; broken ones are left out and counted."""
        decoded = 0
        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError:
                packet = None
            try:
                pictures = self._context.decode(packet if packet and packet.size else None)
            except av.EOFError:
                return
            except av.FFmpegError:
                pictures = []
                self.lost += 1
            for picture in pictures:
                decoded += 1
                if picture.is_corrupt:
                    self.lost += 1
                else:
                    yield picture
            if self.lost > max_lost * max(decoded, MIN_FRAMES_JUDGED):
                raise InputError(
                    f"{self._location.name} is damaged: {self.lost} frames are broken near frame "
                    f"{decoded}; repair the film, or allow more with --max-broken"
                )
            if packet is None or not packet.size:
                return

    def _timed(self, pictures: Iterator[av.VideoFrame]) -> Iterator[TimedFrame]:
        """Pictures with their times, each at least a tick after the one before."""
        rate = frame_rate(self.stream)
        latest: Fraction | None = None
        for index, picture in enumerate(pictures):
            if self._is_untimed:
                yield TimedFrame(index / rate, picture, 1 / rate)
                continue
            time_seconds = self._time_seconds(picture)
            if time_seconds is None:
                raise InputError(
                    f"{self._location.name}: frame {index} has no time; convert the film to .mp4"
                )
            if latest is not None:
                if latest - time_seconds > MAX_JUMP_SECONDS:
                    raise InputError(clock_jump_message(self._location))
                time_seconds = max(time_seconds, latest + self.tick_seconds)
            latest = time_seconds
            tick = as_exact(picture.time_base, time_base(self.stream))
            yield TimedFrame(time_seconds, picture, picture.duration * tick or None)

    def _time_seconds(self, picture: av.VideoFrame) -> Fraction | None:
        if picture.pts is None:
            return None
        return picture.pts * as_exact(picture.time_base, time_base(self.stream))


def _deinterlace(pictures: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """Pictures whose two fields are of one moment: whole ones as they are, others filled in."""
    graph: Graph | None = None
    shape: tuple[int, int, str] | None = None
    for picture in pictures:
        now = (picture.width, picture.height, picture.format.name)
        if graph is not None and now != shape:
            yield from _pull_filtered(graph, None)
            graph = None
        if graph is None and not picture.interlaced_frame:
            yield picture
            continue
        if graph is None:
            graph, shape = _deinterlacer(picture), now
        yield from _pull_filtered(graph, picture)
    if graph is not None:
        yield from _pull_filtered(graph, None)


def _deinterlacer(picture: av.VideoFrame) -> Graph:
    return filter_chain(
        (picture.width, picture.height),
        picture.format,
        picture.time_base or Fraction(1),
        [("bwdif", "mode=send_frame:deint=interlaced")],
    )


def _pull_filtered(graph: Graph, picture: av.VideoFrame | None) -> Iterator[av.VideoFrame]:
    """What a picture, or the end of them, makes ready."""
    graph.vpush(picture)
    while True:
        try:
            yield graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return
