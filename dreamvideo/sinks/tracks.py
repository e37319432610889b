"""Carries over what a film holds beside its pictures: sound, subtitles, fonts, chapters, tags.

Refuses to know of pictures.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from functools import partial
from typing import cast

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.stream import Stream

from dreamvideo.errors import DreamVideoWarning, OutputError
from dreamvideo.frames import Footage
from dreamvideo.media.opening import Location, open_film, pictures_of
from dreamvideo.media.ratios import as_fraction
from dreamvideo.sinks.packets import AnyPacket, Track, in_order, packets_of, starts
from dreamvideo.sinks.sound import SampleClock, add_fallback, is_held
from dreamvideo.sinks.subtitles import CONVERTED_CODECS, SUBTITLE_CODECS, TEXT_CODECS, converted
from dreamvideo.sinks.tags import copy_tags, mark

# Containers that count the time of sound in samples.
EXACT_FORMATS = ("mp4", "mov")
# What a decoder of sound may need of what comes before.
LEAD_SECONDS = 1


class Tracks:
    """Every stream of a film but its pictures, written beside those of a dream.

    Sound whose codec the container cannot hold is encoded anew, subtitles of text are converted.
    """

    def __init__(
        self,
        source: Location | None,
        target: OutputContainer,
        footage: Footage,
        pictures: Stream,
    ) -> None:
        """Add the streams. All streams must be added before the first packet is written.

        Args:
            source: the film that has them; None if the pictures come from elsewhere.
            target: gets them.
            footage: which part of the source the film shows.
            pictures: the target's stream of pictures, to be marked as the source's.
        """
        self._target = target
        self._shift_seconds = footage.begin_seconds or Fraction(0)
        self._begin_seconds = footage.begin_seconds
        self._end_seconds = footage.end_seconds
        self._opened = ExitStack()
        self._encoded: dict[int, AudioStream] = {}
        self._copied: dict[int, Stream] = {}
        self._clocks: dict[int, SampleClock] = {}
        self._ready: Iterator[tuple[AnyPacket, Callable[[AnyPacket], None]]] = iter(())
        if source is not None:
            film = self._opened.enter_context(open_film(source))
            copy_tags(film, target, self._on_film)
            if (original := pictures_of(film)) is not None:
                mark(pictures, original)
            tracks = [*self._add_sound(film), *self._add_subtitles(source, film)]
            self._ready = in_order(tracks)
        self._next = next(self._ready, None)

    def close(self) -> None:
        """Close the source."""
        self._opened.close()

    def write_until(self, time_seconds: Fraction | None) -> None:
        """Write what begins before `time_seconds`; all the rest for None.

        Called before each picture, so that sound and picture lie side by side in the file.
        """
        while self._next is not None:
            packet, write = self._next
            begins = starts(packet) - self._shift_seconds
            if time_seconds is not None and begins >= time_seconds:
                return
            if self._is_wanted(packet):
                write(packet)
            self._next = next(self._ready, None)
        if time_seconds is None:
            for stream in self._encoded.values():
                self._target.mux(stream.encode(None))

    def _is_wanted(self, packet: AnyPacket) -> bool:
        """Whether a packet is of the part of the source that the film shows."""
        begins = starts(packet)
        if self._end_seconds is not None and begins >= self._end_seconds:
            return False
        if self._begin_seconds is None:
            return True
        if packet.stream.index in self._encoded:  # is cut when it is decoded
            return begins >= self._begin_seconds - LEAD_SECONDS
        if packet.stream.type == "audio":
            return begins >= self._begin_seconds
        return begins + (packet.duration or 0) * packet.time_base > self._begin_seconds

    def _on_film(self, time_seconds: Fraction) -> Fraction:
        """A time of the source on the film's clock, within the film."""
        if self._end_seconds is not None:
            time_seconds = min(time_seconds, self._end_seconds)
        return max(time_seconds - self._shift_seconds, Fraction(0))

    def _add_sound(self, source: InputContainer) -> Iterator[Track]:
        streams: list[Stream] = []
        for stream in source.streams.audio:
            if stream.codec_context is None:  # a codec that this FFmpeg does not know
                self._leave_out(stream, "sound")
                continue
            copy: Stream
            if is_held(self._target, stream):
                copy = self._copied[stream.index] = self._target.add_stream_from_template(stream)
            else:
                copy = self._encoded[stream.index] = add_fallback(self._target, stream)
            mark(copy, stream)
            streams.append(stream)
        if streams:
            yield Track(packets_of(source, streams), self._write_sound)

    def _write_sound(self, packet: AnyPacket) -> None:
        index = packet.stream.index
        if index in self._copied:
            self._count_samples(packet)
            self._copy(packet, self._copied[index])
            return
        stream = self._encoded[index]
        for frame in _decoded(packet):
            if frame.pts is None or not frame.time_base:
                continue
            tick = as_fraction(frame.time_base)
            begins = frame.pts * tick
            ends = begins + Fraction(frame.samples, frame.rate)
            if self._begin_seconds is not None and ends <= self._begin_seconds:
                continue
            clock = self._clocks.setdefault(index, SampleClock(frame.rate))
            frame.time_base = clock.tick_seconds
            frame.pts = clock.count(begins - self._shift_seconds, frame.samples, tick)
            self._target.mux(stream.encode(frame))

    def _count_samples(self, packet: AnyPacket) -> None:
        """Give a packet its exact time, where the target can hold that and the source could not."""
        sound, tick = packet.stream.codec_context, as_fraction(packet.time_base)
        samples, rate_hz = sound.frame_size, sound.sample_rate
        if self._target.format.name not in EXACT_FORMATS or not samples or tick * rate_hz <= 1:
            return
        clock = self._clocks.setdefault(packet.stream.index, SampleClock(rate_hz))
        begin = clock.count((packet.pts or 0) * tick, samples, tick)
        packet.time_base = clock.tick_seconds
        packet.pts = packet.dts = begin
        packet.duration = samples

    def _write_subtitle(self, packet: AnyPacket, target: Stream) -> None:
        """Copy a packet; of what is shown at the film's beginning or end, the part within it."""
        tick, shown = packet.time_base, cast(int, packet.pts)
        begin, end = shown, shown + (packet.duration or 0)
        if self._begin_seconds is not None:
            begin = max(begin, math.ceil(self._begin_seconds / tick))
        if self._end_seconds is not None and packet.duration:
            end = min(end, math.ceil(self._end_seconds / tick))
        packet.pts = packet.dts = begin
        packet.duration = max(0, end - begin)
        self._copy(packet, target)

    def _copy(self, packet: AnyPacket, target: Stream) -> None:
        assert packet.time_base is not None  # _packets lets only such through
        ticks = round(self._shift_seconds / packet.time_base)
        if ticks:
            packet.pts = None if packet.pts is None else packet.pts - ticks
            packet.dts = None if packet.dts is None else packet.dts - ticks
        packet.stream = target
        self._target.mux(packet)

    def _add_subtitles(self, source: Location, film: InputContainer) -> Iterator[Track]:
        for place, stream in enumerate(film.streams.subtitles):
            container = self._subtitles(source, stream)
            if container is None:
                self._leave_out(stream, "subtitles")
                continue
            # What was converted is alone in its file.
            found = container.streams.subtitles[min(place, len(container.streams.subtitles) - 1)]
            copy = self._target.add_stream_from_template(found)
            mark(copy, stream)
            yield Track(packets_of(container, [found]), partial(self._write_subtitle, target=copy))

    def _subtitles(self, source: Location, stream: Stream) -> InputContainer | None:
        """A container to read them from as a codec that the target holds, if that can be."""
        target = self._target.format.name
        codec = stream.codec_context.codec.canonical_name if stream.codec_context else ""
        if codec in SUBTITLE_CODECS[target]:
            return self._opened.enter_context(open_film(source))
        if codec not in TEXT_CODECS or not source.is_file:
            return None
        try:
            return self._opened.enter_context(
                converted(source, stream.index, CONVERTED_CODECS[target])
            )
        except OutputError as error:
            warnings.warn(str(error), DreamVideoWarning, stacklevel=2)
            return None

    def _leave_out(self, stream: Stream, what: str) -> None:
        warnings.warn(
            f"stream {stream.index} of the source, {what}, cannot be in a "
            f"{self._target.format.name} file and is left out; .mkv holds the most",
            DreamVideoWarning,
            stacklevel=2,
        )


def _decoded(packet: AnyPacket) -> list[av.AudioFrame]:
    """The sound of a packet; a damaged one is a moment of silence, as in every player."""
    try:
        return cast("list[av.AudioFrame]", packet.decode())
    except (av.FFmpegError, ValueError):  # PyAV raises the latter for a decoder that did not open
        return []
