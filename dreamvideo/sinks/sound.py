"""Which sound a container holds, and what other sound becomes. Refuses to read or write it."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, cast

from av.audio.stream import AudioStream
from av.container import OutputContainer

# What the containers hold, by FFmpeg's names of formats and codecs: PyAV's own list claims codecs
# that the muxer then refuses.
SOUND_CODECS = {
    "mp4": {"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"},
    "mov": {
        *("aac", "mp3", "ac3", "eac3", "alac"),
        *("pcm_s16le", "pcm_s24le", "pcm_s16be", "pcm_f32le"),
    },
    "matroska": {
        *("aac", "mp3", "mp2", "ac3", "eac3", "dts", "truehd", "alac", "opus", "flac", "vorbis"),
        *("pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_u8", "pcm_f32le"),
    },
    "webm": {"opus", "vorbis"},
}
# What other sound is encoded as, the rates and layouts that it takes; others are converted to the
# first rate and to stereo.
AAC_RATES_HZ = (48000, 44100, 96000, 88200, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
OPUS_RATES_HZ = (48000, 24000, 16000, 12000, 8000)
AAC_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
OPUS_LAYOUTS = {**AAC_LAYOUTS, 4: "quad", 7: "6.1"}
FALLBACKS = {"webm": ("libopus", OPUS_RATES_HZ, OPUS_LAYOUTS)}
FALLBACK = ("aac", AAC_RATES_HZ, AAC_LAYOUTS)


class SampleClock:
    """Times of sound in samples, where the source rounds them to something coarser."""

    def __init__(self, rate_hz: int) -> None:
        """For sound of that rate."""
        self.tick_seconds = Fraction(1, rate_hz)
        self._next: int | None = None

    def count(self, time_seconds: Fraction, samples: int, rounded_to_seconds: Fraction) -> int:
        """The sample with which a piece begins: the one after the last, unless there is a gap.

        Args:
            time_seconds: when it begins, by the source.
            samples: how many it has.
            rounded_to_seconds: what the source counts time in.
        """
        begin = round(time_seconds / self.tick_seconds)
        if self._next is not None:
            deviation_seconds = abs(self._next - begin) * self.tick_seconds
            begin = self._next if deviation_seconds <= rounded_to_seconds else begin
        self._next = begin + samples
        return begin


def is_held(target: OutputContainer, sound: AudioStream) -> bool:
    """Whether the container holds the stream as it is."""
    # The name of the codec: that of the context is its decoder's (mp3float, dca).
    return sound.codec_context.codec.canonical_name in SOUND_CODECS[target.format.name]


def add_fallback(target: OutputContainer, sound: AudioStream) -> AudioStream:
    """A stream of the target that takes the sound, decoded, and encodes it anew."""
    codec, rates_hz, layouts = FALLBACKS.get(target.format.name, FALLBACK)
    context = sound.codec_context
    rate_hz = context.rate if context.rate in rates_hz else rates_hz[0]
    layout = layouts.get(context.channels, "stereo")
    add: Any = target.add_stream  # its types know no layout
    return cast(AudioStream, add(codec, rate=rate_hz, layout=layout))
