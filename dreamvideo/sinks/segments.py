"""Frames as a film, in segments that outlive a crash. Refuses to know how frames were made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import av
from av.container import OutputContainer
from av.video.stream import VideoStream

from dreamvideo.frames import Dreamed, FloatArray, Footage, Frame, Memory
from dreamvideo.media.opaque import OnBlack
from dreamvideo.media.opening import Location
from dreamvideo.settings import Settings
from dreamvideo.settings.file import settings_as_line
from dreamvideo.sinks.animation import ANIMATIONS, write_animation
from dreamvideo.sinks.choice import Encoding, choose_encoding
from dreamvideo.sinks.encoding import PictureEncoder, writing_errors
from dreamvideo.sinks.join import join
from dreamvideo.sinks.space import check_space
from dreamvideo.work import Segment, WorkFolder

# What a crash may cost: two seconds of the film, and at least so many frames. A segment begins
# with a key frame, so that shorter ones would make the file larger.
SEGMENT_SECONDS = 2
FEWEST_SEGMENT_FRAMES = 50
# A container that any codec fits in, and that plays as far as it was written. Its rounded times
# do not matter: the exact ones are kept beside it.
SEGMENT_SUFFIX = ".mkv"
# Decoding times that are in order, and before any time at which a frame is shown.
DECODED_LONG_BEFORE_TICKS = 1 << 40


class SegmentedFilm:
    """Encodes frames into segments as they come, and joins these at the end."""

    def __init__(
        self,
        work: WorkFolder,
        footage: Footage,
        settings: Settings,
        tracks_from: Location | None,
    ) -> None:
        """Go on where the work folder ends.

        Args:
            work: keeps the segments; its output's suffix says what the film is to be.
            footage: what is known of the frames.
            settings: how to encode.
            tracks_from: the film whose sound, subtitles and so on are carried over.

        Raises:
            SettingsError: the encoder cannot be had so.
            OutputError: the encoder does not start, or there is no room.
        """
        self._work = work
        self._footage = footage
        self._tracks_from = tracks_from
        self._quality = settings.quality
        self._settings_line = settings_as_line(settings)
        self._encoding = choose_encoding(work.output.suffix.lower(), settings, footage)
        self._on_black = OnBlack()
        self._frames_each = segment_length(footage, settings)
        # The segments and the joined film lie side by side for a moment.
        bytes_per_pixel = 2 * self._encoding.facts.bytes_per_pixel
        check_space(work.path, footage, work.frames_done, bytes_per_pixel)
        self._open: _OpenSegment | None = None
        with writing_errors(work.output):
            self._open = self._begin(work.frames_done)

    def write(self, dreamed: Dreamed) -> None:
        """See `Sink`."""
        with writing_errors(self._work.output):
            if self._open is None:
                self._open = self._begin(dreamed.frame.index)
            self._open.write(self._on_black(dreamed.frame))
            if self._open.frames == self._frames_each:
                self._commit(dreamed.memory)

    def finish(self) -> None:
        """Join the segments and put the film in its place.

        Raises:
            OutputError: as in `write`.
        """
        with writing_errors(self._work.output):
            if self._open is not None and self._open.frames:
                self._commit(Memory())
            self.close()
            self._make_film(self._work.result)
            self._work.publish()

    def keep_partial(self, path: Path) -> None:
        """See `ResumableSink`; what there is are the whole segments."""
        with writing_errors(path):
            self._make_film(self._work.result)
            self._work.result.replace(path)

    def close(self) -> None:
        """Close what is open. Without `finish` no error matters any more."""
        if self._open is not None:
            self._open.drop()

    def _begin(self, first: int) -> _OpenSegment:
        file = self._work.path / f"{first:06d}{SEGMENT_SUFFIX}"
        return _OpenSegment(file, first, self._encoding, self._footage)

    def _commit(self, memory: Memory) -> None:
        assert self._open is not None
        segment = self._open.finish()
        self._work.commit(segment, [self._open.file], carried_by(memory), memory.hold)
        self._open = None

    def _make_film(self, path: Path) -> None:
        segments = [self._work.path / f"{s.name}{SEGMENT_SUFFIX}" for s in self._work.segments]
        packets = [segment.packets for segment in self._work.segments]
        if self._work.output.suffix.lower() in ANIMATIONS:
            write_animation(path, segments, packets, self._footage, self._quality)
        else:
            join(
                path,
                segments,
                packets,
                self._encoding,
                self._footage,
                self._tracks_from,
                self._settings_line,
            )


class _OpenSegment:
    """A segment that is being written."""

    def __init__(self, file: Path, first: int, encoding: Encoding, footage: Footage) -> None:
        self.file = file
        self.frames = 0
        self._first = first
        self._packets: list[list[int]] = []
        with ExitStack() as opened:
            self._container: OutputContainer = opened.enter_context(av.open(str(file), "w"))
            self._encoder = PictureEncoder(self._container, encoding, footage)
            self._opened = opened.pop_all()

    def write(self, frame: Frame) -> None:
        """Add one frame."""
        self._mux(self._encoder.encode(frame))
        self._last_time = frame.time_seconds
        self.frames += 1

    def finish(self) -> Segment:
        """Close the file; what is to be known of it."""
        self._mux(self._encoder.encode(None))
        self._opened.close()
        return Segment(self._first, self.frames, str(self._last_time), self._packets)

    def drop(self) -> None:
        """Close the file as it is."""
        with suppress(av.FFmpegError, OSError):
            self._opened.close()

    def _mux(self, packets: Sequence[av.Packet[VideoStream]]) -> None:
        for packet in packets:
            assert packet.pts is not None  # every frame has a time
            # The join sets these anew; of very short segments x265's are garbage.
            packet.dts = len(self._packets) - DECODED_LONG_BEFORE_TICKS
            self._packets.append([packet.pts, packet.duration or 0])
            self._container.mux(packet)


def segment_length(footage: Footage, settings: Settings) -> int:
    """How many frames a segment has."""
    if settings.segment_frames is not None:
        return settings.segment_frames
    return max(FEWEST_SEGMENT_FRAMES, math.ceil(SEGMENT_SECONDS * footage.frame_rate))


def carried_by(memory: Memory) -> FloatArray | None:
    """(height, width, 3), to be written down."""
    if memory.carried is None:
        return None
    carried: FloatArray = memory.carried[0].permute(1, 2, 0).contiguous().cpu().numpy()
    return carried
