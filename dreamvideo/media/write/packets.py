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
        self._is_subtitle = source.type == "subtitle"
        self._source_tick_seconds = as_fraction(cast(Fraction, source.time_base))
        self._next_tick: int | None = None
        self._is_open = False
        # Where they are the same for all packets; else 0.
        self._samples = self._rate_hz = 0
        if source.type == "audio":
            context: Any = source.codec_context
            self._samples, self._rate_hz = context.frame_size or 0, context.sample_rate
        self._clock: SampleClock | None = None
        if self._samples and row.counts_samples and self._source_tick_seconds * self._rate_hz > 1:
            self._clock = SampleClock(self._rate_hz, self._source_tick_seconds)

    def write(self, packet: AnyPacket) -> bool:
        """Copy a packet; false if it is damaged, and left out."""
        written = packet
        if self._header is not None:
            parts = split_aac(packet)
            if parts is None or parts.header != self._header:
                return False
            written = av.Packet(parts.sound)
        if not self._is_open:
            self._open()
        pts = cast(int, packet.dts if packet.pts is None else packet.pts)
        duration = self._duration
        if self._clock is not None:
            pts = self._clock.first_sample(self._to_sample.tick(pts), self._samples)
        elif packet.duration:
            duration = self._to_target.duration(packet.duration)
        written.pts = written.dts = self._increasing(self._to_target.tick(pts))
        written.duration = duration
        written.time_base = self._tick_seconds
        written.is_keyframe = packet.is_keyframe
        written.stream = self.stream
        self._target.mux(written)
        return True

    def _open(self) -> None:
        """Prepare the conversion of times, once the ticks of the target are known."""
        self._target.start_encoding()
        self._is_open = True
        self._tick_seconds = as_fraction(cast(Fraction, self.stream.time_base))
        source_tick_seconds = self._source_tick_seconds
        if self._clock is not None:
            self._to_sample = _TickConversion(source_tick_seconds, self._clock.tick_seconds)
            source_tick_seconds = self._clock.tick_seconds
        self._to_target = _TickConversion(
            source_tick_seconds, self._tick_seconds, self._origin_seconds
        )
        ticks = Fraction(self._samples, self._rate_hz or 1) / self._tick_seconds
        self._duration = round(ticks)
        # Lines of subtitles may begin at the same time; packets shorter than a tick have to.
        self._min_step = 0 if self._is_subtitle or 0 < ticks < 1 else 1

    def _increasing(self, tick: int) -> int:
        """A time after that of the packet before."""
        if self._next_tick is not None:
            tick = max(tick, self._next_tick)
        self._next_tick = tick + self._min_step
        return tick


class _TickConversion:
    """Converts ticks of one clock into those of another; in whole numbers, which are fast."""

    def __init__(
        self,
        source_tick_seconds: Fraction,
        target_tick_seconds: Fraction,
        origin_seconds: Fraction = Fraction(0),
    ) -> None:
        scale = source_tick_seconds / target_tick_seconds
        offset = origin_seconds / target_tick_seconds
        # Twice everything: the nearest tick is found by adding a half.
        self._factor = 2 * scale.numerator * offset.denominator
        self._shift = scale.denominator * (offset.denominator - 2 * offset.numerator)
        self._divisor = 2 * scale.denominator * offset.denominator
        self._scale = scale

    def tick(self, source_tick: int) -> int:
        """The tick that is nearest to one of the source."""
        return (source_tick * self._factor + self._shift) // self._divisor

    def duration(self, source_ticks: int) -> int:
        """A duration in ticks."""
        return round(source_ticks * self._scale)
