"""Which sound a container holds, and what other sound becomes. Refuses to read or write it."""

from __future__ import annotations

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
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
FALLBACKS = {"webm": ("libopus", OPUS_RATES_HZ)}
FALLBACK = ("aac", AAC_RATES_HZ)


def is_held(target: OutputContainer, sound: AudioStream) -> bool:
    """Whether the container holds the stream as it is."""
    # The name of the codec: that of the context is its decoder's (mp3float, dca).
    return sound.codec_context.codec.canonical_name in SOUND_CODECS[target.format.name]


def add_fallback(target: OutputContainer, sound: AudioStream) -> AudioStream:
    """A stream of the target that takes the sound, decoded, and encodes it anew."""
    codec, rates_hz = FALLBACKS.get(target.format.name, FALLBACK)
    context = sound.codec_context
    rate_hz = context.rate if context.rate in rates_hz else rates_hz[0]
    layout = LAYOUTS.get(context.channels, "stereo")
    add: Any = target.add_stream  # its types know no layout
    return cast(AudioStream, add(codec, rate=rate_hz, layout=layout))
