"""Carries the sound of one film over to another. Refuses to know of pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias, cast

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer

SoundPacket: TypeAlias = "av.Packet[AudioStream]"

# What the containers hold, by FFmpeg's names of formats and codecs: PyAV's own list claims codecs
# that the muxer then refuses.
COPIED_CODECS = {
    "mp4": {"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"},
    "mov": {
        *("aac", "mp3", "ac3", "eac3", "alac"),
        *("pcm_s16le", "pcm_s24le", "pcm_s16be", "pcm_f32le"),
    },
    "matroska": {
        *("aac", "mp3", "mp2", "ac3", "eac3", "dts", "truehd", "alac", "opus", "flac", "vorbis"),
        *("pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_u8", "pcm_f32le"),
    },
}
# What every player knows.
FALLBACK_CODEC = "aac"
# What AAC takes; other rates and layouts are converted to the first of these and to stereo.
FALLBACK_RATES_HZ = (48000, 44100, 96000, 88200, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
FALLBACK_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}


class SoundTracks:
    """Every audio stream of `source`, copied packet by packet into `target`.

    A codec that the target's container cannot hold is encoded anew as AAC.
    """

    def __init__(self, source: Path, target: OutputContainer) -> None:
        """Add the streams. All streams must be added before the first packet is written."""
        self._source = av.open(str(source.absolute()))
        self._target = target
        self._copied: dict[int, AudioStream] = {}
        self._encoded: dict[int, AudioStream] = {}
        for stream in self._source.streams.audio:
            sound = stream.codec_context
            if sound is None:  # a codec that this FFmpeg does not know
                continue
            # The name of the codec: that of the context is its decoder's (mp3float, dca).
            if sound.codec.canonical_name in COPIED_CODECS[target.format.name]:
                self._copied[stream.index] = target.add_stream_from_template(stream)
            else:
                rate_hz = sound.rate if sound.rate in FALLBACK_RATES_HZ else FALLBACK_RATES_HZ[0]
                layout = FALLBACK_LAYOUTS.get(sound.channels, "stereo")
                self._encoded[stream.index] = cast(
                    AudioStream, target.add_stream(FALLBACK_CODEC, rate=rate_hz, layout=layout)
                )
        self._packets = self._read()
        self._next = next(self._packets, None)

    def close(self) -> None:
        """Close the source."""
        self._source.close()

    def write_until(self, time_seconds: Fraction | None) -> None:
        """Write what sounds before `time_seconds`; all the rest for None.

        Called before each picture, so that sound and picture lie side by side in the file.
        """
        while (packet := self._next) is not None:
            if time_seconds is not None and _starts(packet) >= time_seconds:
                return
            self._write(packet)
            self._next = next(self._packets, None)
        if time_seconds is None:
            for stream in self._encoded.values():
                self._target.mux(stream.encode(None))

    def _read(self) -> Iterator[SoundPacket]:
        streams = [self._source.streams[index] for index in (*self._copied, *self._encoded)]
        for packet in self._source.demux(streams) if streams else ():
            if packet.dts is not None:
                yield cast(SoundPacket, packet)

    def _write(self, packet: SoundPacket) -> None:
        index = packet.stream.index
        if index in self._copied:
            packet.stream = self._copied[index]
            self._target.mux(packet)
            return
        # A damaged packet is a moment of silence, as in every player.
        with suppress(av.error.InvalidDataError):
            for frame in packet.decode():
                self._target.mux(self._encoded[index].encode(frame))


def _starts(packet: SoundPacket) -> Fraction:
    dts, time_base = packet.dts, packet.time_base
    assert dts is not None and time_base is not None  # _read lets only such packets through
    return dts * time_base
