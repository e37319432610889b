"""Audio of a source: its header, its time in samples, and how it is encoded again."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias, cast

import av
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer

from dreamvideo.media.formats import AudioFallback
from dreamvideo.media.opening import as_fraction

AnyPacket: TypeAlias = "av.Packet[Any]"

# Sound may be this much late without being noticed (EBU R37). Frames that overlap those before by
# more are left out.
MAX_LAG_SECONDS = Fraction(60, 1000)

# The header of each AAC packet in a transport stream (ADTS, ISO/IEC 14496-3, 1.A.2): 12 bits that
# are set, 3 others, whether there is no checksum (1 bit), profile (2), sampling rate (4), 1 other,
# channels (3); after 21 others, the number of frames that follow the first (2).
ADTS_HEADER_BYTES, ADTS_CHECKSUM_BYTES = 7, 2
ADTS_SYNC = 0xFFF


@dataclass(frozen=True)
class AacPacket:
    """An AAC packet with a header of its own, in its parts."""

    header: bytes
    """What the header says, as a container stores it once: an AudioSpecificConfig."""
    sound: bytes
    """The rest of the packet."""


def split_aac(packet: AnyPacket) -> AacPacket | None:
    """An AAC packet in its parts; None if it has no header, or one that a container cannot hold."""
    data = bytes(packet)
    bits = int.from_bytes(data[:ADTS_HEADER_BYTES], "big")
    if len(data) <= ADTS_HEADER_BYTES or bits >> 44 != ADTS_SYNC:
        return None
    no_checksum, profile, rate = bits >> 40 & 1, bits >> 38 & 0b11, bits >> 34 & 0b1111
    channels, more_frames = bits >> 30 & 0b111, bits & 0b11
    if channels == 0 or more_frames:
        return None
    header = ((profile + 1) << 11 | rate << 7 | channels << 3).to_bytes(2, "big")
    return AacPacket(
        header, data[ADTS_HEADER_BYTES + (0 if no_checksum else ADTS_CHECKSUM_BYTES) :]
    )


class SampleClock:
    """Counts the time of audio in samples, where the source rounds it to something coarser."""

    def __init__(self, rate_hz: int, source_tick_seconds: Fraction) -> None:
        """For audio of a sample rate, and a source that rounds to a tick."""
        self.tick_seconds = Fraction(1, rate_hz)
        self._max_deviation = int(source_tick_seconds * rate_hz)
        self._next: int | None = None

    def first_sample(self, rounded: int, samples: int) -> int:
        """The first sample of a packet or frame: the next one, unless the source has a gap.

        Args:
            rounded: the sample at which it begins, by the source.
            samples: how many samples it has.
        """
        if self._next is None or abs(self._next - rounded) > self._max_deviation:
            self._next = rounded
        first = self._next
        self._next += samples
        return first


class AudioEncoding:
    """A stream of the target into which the decoded audio of a source's stream is encoded."""

    def __init__(
        self, source: AudioStream, target: OutputContainer, fallback: AudioFallback
    ) -> None:
        """Add the stream to the target, at the source's rate and channels where it has them."""
        context = source.codec_context
        is_kept = context.rate in fallback.rates_hz
        rate_hz = context.rate if is_kept else fallback.rates_hz[0]
        layout = fallback.layouts.get(context.channels, "stereo")
        add_stream: Any = target.add_stream  # its types lack `layout`
        self.stream = cast(AudioStream, add_stream(fallback.codec, rate=rate_hz, layout=layout))
        self._target = target
        self._rate_hz = rate_hz
        self._resampler: AudioResampler | None = None
        self._shape: tuple[object, ...] = ()
        self._source_tick_seconds = as_fraction(cast(Fraction, source.time_base))
        self._clock = SampleClock(context.rate, self._source_tick_seconds)
        self._end_seconds: Fraction | None = None
        self._next_sample: int | None = None

    def write(
        self, packet: AnyPacket, origin_seconds: Fraction, begin_seconds: Fraction | None
    ) -> None:
        """Decode a packet and encode its frames.

        Args:
            packet: of the source's stream.
            origin_seconds: the source's time that is zero in the target.
            begin_seconds: frames that end before it are left out, unless it is None.
        """
        for frame in decode_audio(packet):
            if frame.pts is None or not frame.time_base or not frame.samples:
                continue
            tick_seconds = as_fraction(frame.time_base)
            time_seconds = frame.pts * tick_seconds
            end_seconds = time_seconds + Fraction(frame.samples, frame.rate)
            if begin_seconds is None or end_seconds > begin_seconds:
                self._encode(frame, time_seconds - origin_seconds)

    def finish(self) -> None:
        """Encode what is left."""
        self._resample(None)
        self._target.mux(self.stream.encode(None))

    def _encode(self, frame: AudioFrame, time_seconds: Fraction) -> None:
        """Encode a frame that begins at a time of the target, or as soon as the last one ends."""
        if self._end_seconds is not None and time_seconds < self._end_seconds:
            if self._end_seconds - time_seconds > MAX_LAG_SECONDS:
                return
            time_seconds = self._end_seconds
        self._end_seconds = time_seconds + Fraction(frame.samples, frame.rate)
        shape = (frame.format.name, frame.layout.name, frame.rate)
        if shape != self._shape:  # the source may change it midway
            self._resample(None)
            context = self.stream.codec_context
            self._resampler = AudioResampler(context.format, context.layout, context.rate)
            self._clock = SampleClock(frame.rate, self._source_tick_seconds)
            self._shape = shape
        frame.time_base = self._clock.tick_seconds
        frame.pts = self._clock.first_sample(round(time_seconds * frame.rate), frame.samples)
        self._resample(frame)

    def _resample(self, frame: AudioFrame | None) -> None:
        """Encode a frame, or what the resampler holds back (None), in the encoder's format."""
        for resampled in () if self._resampler is None else self._resampler.resample(frame):
            if resampled is None:  # for the end of a stream that needs no resampling
                return
            tick_seconds = as_fraction(cast(Fraction, resampled.time_base))
            first = round((resampled.pts or 0) * tick_seconds * self._rate_hz)
            first = first if self._next_sample is None else max(first, self._next_sample)
            self._next_sample = first + resampled.samples
            resampled.time_base, resampled.pts = Fraction(1, self._rate_hz), first
            self._target.mux(self.stream.encode(resampled))


def decode_audio(packet: AnyPacket) -> list[AudioFrame]:
    """The audio of a packet; nothing of a damaged one, which is silence in every player."""
    try:
        return cast("list[AudioFrame]", packet.decode())
    except (av.FFmpegError, ValueError):  # PyAV raises the latter for a decoder that did not open
        return []
