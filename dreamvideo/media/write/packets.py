"""Packets of a source: in order of time, and copied into a target."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias, cast

import av
from av.container import InputContainer, OutputContainer
from av.stream import Stream

from dreamvideo.media.formats import OutputFormat
from dreamvideo.media.opening import as_fraction
from dreamvideo.media.write.audio import AnyPacket, SampleClock, split_aac

WritePacket: TypeAlias = Callable[[AnyPacket], object]


@dataclass(frozen=True)
class Track:
    """Packets of one or more streams, and the function that writes one of them."""

    packets: Iterator[AnyPacket]
    write: WritePacket


def packets_in_order(tracks: Sequence[Track]) -> Iterator[tuple[AnyPacket, WritePacket]]:
    """The packets of all tracks by the time at which they begin, each with its function."""

    def timed(number: int, track: Track) -> Iterator[tuple[Fraction, int, AnyPacket]]:
        for packet in track.packets:
            yield start_seconds(packet), number, packet

    merged = heapq.merge(
        *(timed(number, track) for number, track in enumerate(tracks)),
        key=lambda entry: entry[:2],
    )
    for _, number, packet in merged:
        yield packet, tracks[number].write


def packets_of(container: InputContainer, streams: Sequence[Stream]) -> Iterator[AnyPacket]:
    """The packets of some streams of a container, up to damage that cannot be read."""
    with suppress(av.FFmpegError):
        for packet in container.demux(cast(Any, list(streams))):
            if packet.dts is not None and packet.time_base is not None and packet.size:
                yield packet


def start_seconds(packet: AnyPacket) -> Fraction:
    """When a packet is to be decoded, in seconds."""
    assert packet.dts is not None  # packets_of drops those without
    return packet.dts * as_fraction(packet.time_base)


def codec_of(stream: Stream) -> str:
    """The name of a stream's codec; empty where this FFmpeg does not know it.

    That of the context is its decoder's (mp3float, dca).
    """
    return stream.codec_context.codec.canonical_name if stream.codec_context else ""


class CopiedStream:
    """A stream of the target into which packets of a source are copied.

    Their times increase, whatever those of the source do: otherwise no container takes them.
    """

    def __init__(
        self,
        source: Stream,
        target: OutputContainer,
        row: OutputFormat,
        origin_seconds: Fraction,
        header: bytes | None,
    ) -> None:
        """Add the stream to the target.

        Args:
            source: the stream whose codec it has.
            target: where all streams are added before the first packet is written.
            row: the target's row in the table of formats.
            origin_seconds: the source's time that is zero in the target.
            header: of AAC whose packets have one each, which is taken off; packets with another
                one are left out.
        """
        self.stream = target.add_stream_from_template(source)
        if header is not None:
            self.stream.codec_context.extradata = header
        self._target = target
        self._origin_seconds = origin_seconds
        self._header = header
        # Lines of subtitles may begin at the same time.
        self._min_step_ticks = 0 if source.type == "subtitle" else 1
        self._next_tick: int | None = None
        self._clock: SampleClock | None = None
        if source.type == "audio" and row.counts_samples:
            context: Any = source.codec_context
            tick_seconds = as_fraction(cast(Fraction, source.time_base))
            if context.frame_size and tick_seconds * context.sample_rate > 1:
                self._clock = SampleClock(context.sample_rate)
                self._samples = context.frame_size

    def write(self, packet: AnyPacket) -> bool:
        """Copy a packet; false if it is damaged, and left out."""
        written = packet
        if self._header is not None:
            parts = split_aac(packet)
            if parts is None or parts.header != self._header:
                return False
            written = av.Packet(parts.sound)
        self._target.start_encoding()  # from here on, the ticks of the target are known
        tick_seconds = as_fraction(cast(Fraction, self.stream.time_base))
        time_seconds, duration_seconds = self._times(packet)
        tick = round((time_seconds - self._origin_seconds) / tick_seconds)
        if self._next_tick is not None:
            tick = max(tick, self._next_tick)
        self._next_tick = tick + self._min_step_ticks
        written.time_base = tick_seconds
        written.pts = written.dts = tick
        written.duration = round(duration_seconds / tick_seconds)
        written.is_keyframe = packet.is_keyframe
        written.stream = self.stream
        self._target.mux(written)
        return True

    def _times(self, packet: AnyPacket) -> tuple[Fraction, Fraction]:
        """When a packet begins, by the source, and its duration, in seconds.

        They are exact to the sample where the target counts samples and the source does not.
        """
        tick_seconds = as_fraction(packet.time_base)
        time_seconds = start_seconds(packet) if packet.pts is None else packet.pts * tick_seconds
        if self._clock is None:
            return time_seconds, (packet.duration or 0) * tick_seconds
        first = self._clock.first_sample(time_seconds, self._samples, tick_seconds)
        return first * self._clock.tick_seconds, self._samples * self._clock.tick_seconds
