"""Carries over what a video holds beside its pictures: sound, subtitles, fonts, chapters, tags."""

from __future__ import annotations

import math
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, cast

import av
import imageio_ffmpeg
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.stream import Stream

from dreamvideo.errors import DreamVideoWarning, OutputError
from dreamvideo.media.ffmpeg import (
    AnyPacket,
    Track,
    as_fraction,
    packets_in_order,
    packets_of,
    start_seconds,
)
from dreamvideo.media.metadata import copy_stream_tags, copy_tags
from dreamvideo.media.opening import LOCAL_ONLY, Location, open_video_container, video_stream_of
from dreamvideo.types import VideoInfo

# What the containers hold, by FFmpeg's names of formats and codecs: PyAV's own list claims codecs
# that the muxer then refuses.
AUDIO_CODECS = {
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
AUDIO_FALLBACKS = {"webm": ("libopus", OPUS_RATES_HZ, OPUS_LAYOUTS)}
AUDIO_FALLBACK = ("aac", AAC_RATES_HZ, AAC_LAYOUTS)


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


def holds_audio(target: OutputContainer, sound: AudioStream) -> bool:
    """Whether the container holds the stream as it is."""
    # The name of the codec: that of the context is its decoder's (mp3float, dca).
    return sound.codec_context.codec.canonical_name in AUDIO_CODECS[target.format.name]


def add_audio_fallback(target: OutputContainer, sound: AudioStream) -> AudioStream:
    """A stream of the target that takes the sound, decoded, and encodes it anew."""
    codec, rates_hz, layouts = AUDIO_FALLBACKS.get(target.format.name, AUDIO_FALLBACK)
    context = sound.codec_context
    rate_hz = context.rate if context.rate in rates_hz else rates_hz[0]
    layout = layouts.get(context.channels, "stereo")
    add: Any = target.add_stream  # its types know no layout
    return cast(AudioStream, add(codec, rate=rate_hz, layout=layout))


# What the containers hold, by FFmpeg's names of formats and codecs.
SUBTITLE_CODECS = {
    "mp4": {"mov_text"},
    "mov": {"mov_text"},
    "matroska": {
        *("subrip", "ass", "webvtt", "dvd_subtitle", "hdmv_pgs_subtitle", "dvb_subtitle"),
        "text",
    },
    "webm": {"webvtt"},
}
# What is text, and what text is converted to.
TEXT_CODECS = {"subrip", "ass", "ssa", "webvtt", "text", "mov_text"}
CONVERTED_CODECS = {"mp4": "mov_text", "mov": "mov_text", "matroska": "subrip", "webm": "webvtt"}
SUBTITLE_SUFFIXES = {"mov_text": ".mp4", "subrip": ".mkv", "webvtt": ".mkv"}


@contextmanager
def convert_subtitles(source: Location, stream_index: int, codec: str) -> Iterator[InputContainer]:
    """A container with one stream, the subtitles of `source` as another codec, at their times.

    Raises:
        OutputError: they cannot be converted.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"subtitles{SUBTITLE_SUFFIXES[codec]}"
        command = [
            *(imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin"),
            *("-protocol_whitelist", LOCAL_ONLY["protocol_whitelist"], "-copyts"),
            *("-i", str(Path(source.name).absolute()), "-map", f"0:{stream_index}"),
            *("-map_chapters", "-1", "-c:s", codec, "-avoid_negative_ts", "disabled", str(path)),
        ]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            said = done.stderr.strip().splitlines() or ["no reason given"]
            raise OutputError(
                f"cannot convert the subtitles of stream {stream_index} of {source.name} to "
                f"{codec}: {said[-1]}; write .mkv, which holds them as they are"
            )
        with av.open(str(path)) as container:
            yield container


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
        info: VideoInfo,
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
        self._shift_seconds = info.begin_seconds or Fraction(0)
        self._begin_seconds = info.begin_seconds
        self._end_seconds = info.end_seconds
        self._opened = ExitStack()
        self._encoded: dict[int, AudioStream] = {}
        self._copied: dict[int, Stream] = {}
        self._clocks: dict[int, SampleClock] = {}
        self._ready: Iterator[tuple[AnyPacket, Callable[[AnyPacket], None]]] = iter(())
        if source is not None:
            video = self._opened.enter_context(open_video_container(source))
            copy_tags(video, target, self._on_film)
            if (original := video_stream_of(video)) is not None:
                copy_stream_tags(pictures, original)
            tracks = [*self._add_sound(video), *self._add_subtitles(source, video)]
            self._ready = packets_in_order(tracks)
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
            begins = start_seconds(packet) - self._shift_seconds
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
        begins = start_seconds(packet)
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
            if holds_audio(self._target, stream):
                copy = self._copied[stream.index] = self._target.add_stream_from_template(stream)
            else:
                copy = self._encoded[stream.index] = add_audio_fallback(self._target, stream)
            copy_stream_tags(copy, stream)
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
        for frame in _decode_audio(packet):
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

    def _add_subtitles(self, source: Location, video: InputContainer) -> Iterator[Track]:
        for place, stream in enumerate(video.streams.subtitles):
            container = self._subtitles(source, stream)
            if container is None:
                self._leave_out(stream, "subtitles")
                continue
            # What was converted is alone in its file.
            found = container.streams.subtitles[min(place, len(container.streams.subtitles) - 1)]
            copy = self._target.add_stream_from_template(found)
            copy_stream_tags(copy, stream)
            yield Track(packets_of(container, [found]), partial(self._write_subtitle, target=copy))

    def _subtitles(self, source: Location, stream: Stream) -> InputContainer | None:
        """A container to read them from as a codec that the target holds, if that can be."""
        target = self._target.format.name
        codec = stream.codec_context.codec.canonical_name if stream.codec_context else ""
        if codec in SUBTITLE_CODECS[target]:
            return self._opened.enter_context(open_video_container(source))
        if codec not in TEXT_CODECS or not source.is_file:
            return None
        try:
            return self._opened.enter_context(
                convert_subtitles(source, stream.index, CONVERTED_CODECS[target])
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


def _decode_audio(packet: AnyPacket) -> list[av.AudioFrame]:
    """The sound of a packet; a damaged one is a moment of silence, as in every player."""
    try:
        return cast("list[av.AudioFrame]", packet.decode())
    except (av.FFmpegError, ValueError):  # PyAV raises the latter for a decoder that did not open
        return []
