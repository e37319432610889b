"""Carries over the other streams of a source video: audio, subtitles; and its metadata."""

from __future__ import annotations

import heapq
import math
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, cast

import av
import imageio_ffmpeg
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.stream import Stream

from dreamvideo.errors import DreamVideoWarning, OutputError
from dreamvideo.media.formats import OUTPUT_FORMATS, OutputFormat
from dreamvideo.media.metadata import copy_metadata, copy_stream_metadata
from dreamvideo.media.opening import (
    LOCAL_ONLY,
    Location,
    as_fraction,
    open_video_container,
    video_stream_of,
)
from dreamvideo.media.write.covers import add_covers
from dreamvideo.types import VideoInfo

AnyPacket: TypeAlias = "av.Packet[Any]"

# Subtitle codecs that hold text, which can be converted into one another.
TEXT_CODECS = {"subrip", "ass", "ssa", "webvtt", "text", "mov_text"}
# How far before the start of a cut audio decoders begin: they may need earlier packets.
LEAD_SECONDS = 1


class Tracks:
    """Every stream of a source video but its frames, written next to the dreamed frames.

    Audio whose codec the container cannot hold is encoded again, text subtitles are converted.
    """

    def __init__(
        self,
        source: Location | None,
        target: OutputContainer,
        target_format: OutputFormat,
        info: VideoInfo,
        video_stream: Stream,
    ) -> None:
        """Add the streams to the target. FFmpeg needs all of them before the first packet.

        Args:
            source: the video to copy from; None if there is none.
            target: the container to write to.
            target_format: its row in the table of formats.
            info: which part of the source is dreamed.
            video_stream: the target's stream of dreamed frames, which gets the metadata of the
                source's video stream.
        """
        self._target = target
        self._format = target_format
        self._shift_seconds = info.begin_seconds or Fraction(0)
        self._begin_seconds = info.begin_seconds
        self._end_seconds = info.end_seconds
        self._opened = ExitStack()
        self._encoded: dict[int, AudioStream] = {}
        self._copied: dict[int, Stream] = {}
        self._clocks: dict[int, SampleClock] = {}
        self._packets: Iterator[tuple[AnyPacket, WritePacket]] = iter(())
        self._first_packets: list[AnyPacket] = []
        try:
            if source is not None:
                self._add_streams(source, video_stream)
            self._next = next(self._packets, None)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the source."""
        self._opened.close()

    def write_until(self, time_seconds: Fraction | None) -> None:
        """Write the packets that begin before `time_seconds`; all others for None.

        Called before each frame, so that audio and frames of one time are together in the file.
        """
        while self._first_packets:
            self._target.mux(self._first_packets.pop(0))
        while self._next is not None:
            packet, write = self._next
            packet_seconds = start_seconds(packet) - self._shift_seconds
            if time_seconds is not None and packet_seconds >= time_seconds:
                return
            if self._is_in_part(packet):
                write(packet)
            self._next = next(self._packets, None)
        if time_seconds is None:
            for stream in self._encoded.values():
                self._target.mux(stream.encode(None))

    def _add_streams(self, source: Location, video_stream: Stream) -> None:
        container = self._opened.enter_context(open_video_container(source))
        copy_metadata(container, self._target, self._format, self._to_target_time)
        if (original := video_stream_of(container, source.stream)) is not None:
            copy_stream_metadata(video_stream, original)
        tracks = [*self._add_audio(container), *self._add_subtitles(source, container)]
        self._packets = packets_in_order(tracks)
        self._first_packets = add_covers(source, container, self._target, self._format)

    def _is_in_part(self, packet: AnyPacket) -> bool:
        """Whether a packet is needed for the part of the source that is dreamed."""
        packet_seconds = start_seconds(packet)
        if self._end_seconds is not None and packet_seconds >= self._end_seconds:
            return False
        if self._begin_seconds is None:
            return True
        if packet.stream.index in self._encoded:  # decoded from a little earlier, then cut
            return packet_seconds >= self._begin_seconds - LEAD_SECONDS
        if packet.stream.type == "audio":
            return packet_seconds >= self._begin_seconds
        return packet_seconds + (packet.duration or 0) * packet.time_base > self._begin_seconds

    def _to_target_time(self, time_seconds: Fraction) -> Fraction:
        """A time of the source on the target's clock, clamped to the target's duration."""
        if self._end_seconds is not None:
            time_seconds = min(time_seconds, self._end_seconds)
        return max(time_seconds - self._shift_seconds, Fraction(0))

    def _add_audio(self, source: InputContainer) -> Iterator[Track]:
        streams: list[Stream] = []
        for stream in source.streams.audio:
            if stream.codec_context is None:  # a codec that this FFmpeg does not know
                self._warn_left_out(stream, "audio")
                continue
            copy: Stream
            # The name of the codec: that of the context is its decoder's (mp3float, dca).
            if stream.codec_context.codec.canonical_name in self._format.audio_codecs:
                copy = self._copied[stream.index] = self._target.add_stream_from_template(stream)
            else:
                copy = self._encoded[stream.index] = self._add_audio_fallback(stream)
            copy_stream_metadata(copy, stream)
            streams.append(stream)
        if streams:
            yield Track(packets_of(source, streams), self._write_audio)

    def _add_audio_fallback(self, source: AudioStream) -> AudioStream:
        """A stream of the target that encodes the decoded audio of a source's stream."""
        fallback, context = self._format.audio_fallback, source.codec_context
        is_kept = context.rate in fallback.rates_hz
        rate_hz = context.rate if is_kept else fallback.rates_hz[0]
        layout = fallback.layouts.get(context.channels, "stereo")
        add_stream: Any = self._target.add_stream  # its types lack `layout`
        return cast(AudioStream, add_stream(fallback.codec, rate=rate_hz, layout=layout))

    def _write_audio(self, packet: AnyPacket) -> None:
        index = packet.stream.index
        if index in self._copied:
            self._make_time_exact(packet)
            self._copy(packet, self._copied[index])
            return
        stream = self._encoded[index]
        for frame in _decode_audio(packet):
            if frame.pts is None or not frame.time_base:
                continue
            tick_seconds = as_fraction(frame.time_base)
            frame_seconds = frame.pts * tick_seconds
            end_seconds = frame_seconds + Fraction(frame.samples, frame.rate)
            if self._begin_seconds is not None and end_seconds <= self._begin_seconds:
                continue
            clock = self._clocks.setdefault(index, SampleClock(frame.rate))
            frame.time_base = clock.tick_seconds
            frame.pts = clock.first_sample(
                frame_seconds - self._shift_seconds, frame.samples, tick_seconds
            )
            self._target.mux(stream.encode(frame))

    def _make_time_exact(self, packet: AnyPacket) -> None:
        """Count a packet's time in samples, if the target can hold that and the source does not."""
        context, tick_seconds = packet.stream.codec_context, as_fraction(packet.time_base)
        samples, rate_hz = context.frame_size, context.sample_rate
        if not self._format.counts_samples or not samples or tick_seconds * rate_hz <= 1:
            return
        clock = self._clocks.setdefault(packet.stream.index, SampleClock(rate_hz))
        first_sample = clock.first_sample((packet.pts or 0) * tick_seconds, samples, tick_seconds)
        packet.time_base = clock.tick_seconds
        packet.pts = packet.dts = first_sample
        packet.duration = samples

    def _add_subtitles(self, source: Location, video: InputContainer) -> Iterator[Track]:
        for number, stream in enumerate(video.streams.subtitles):
            container = self._open_subtitles(source, stream)
            if container is None:
                self._warn_left_out(stream, "subtitles")
                continue
            # A file of converted subtitles has one stream only.
            streams = container.streams.subtitles
            original = streams[min(number, len(streams) - 1)]
            copy = self._target.add_stream_from_template(original)
            copy_stream_metadata(copy, stream)
            write = partial(self._write_subtitle, target=copy)
            yield Track(packets_of(container, [original]), write)

    def _open_subtitles(self, source: Location, stream: Stream) -> InputContainer | None:
        """A container with the subtitles in a codec that the target holds; None if impossible."""
        codec = stream.codec_context.codec.canonical_name if stream.codec_context else ""
        if codec in self._format.subtitle_codecs:
            return self._opened.enter_context(open_video_container(source))
        if codec not in TEXT_CODECS or not source.is_file:
            return None
        try:
            return self._opened.enter_context(
                convert_subtitles(source, stream.index, self._format.text_subtitle_codec)
            )
        except OutputError as error:
            warnings.warn(str(error), DreamVideoWarning, stacklevel=2)
            return None

    def _write_subtitle(self, packet: AnyPacket, target: Stream) -> None:
        """Copy a packet, cut to the part of the source that is dreamed."""
        tick_seconds, pts = packet.time_base, cast(int, packet.pts)
        begin_tick, end_tick = pts, pts + (packet.duration or 0)
        if self._begin_seconds is not None:
            begin_tick = max(begin_tick, math.ceil(self._begin_seconds / tick_seconds))
        if self._end_seconds is not None and packet.duration:
            end_tick = min(end_tick, math.ceil(self._end_seconds / tick_seconds))
        packet.pts = packet.dts = begin_tick
        packet.duration = max(0, end_tick - begin_tick)
        self._copy(packet, target)

    def _copy(self, packet: AnyPacket, target: Stream) -> None:
        """Write a packet as it is, on the target's clock."""
        assert packet.time_base is not None  # packets_of drops those without
        shift_ticks = round(self._shift_seconds / packet.time_base)
        if shift_ticks:
            packet.pts = None if packet.pts is None else packet.pts - shift_ticks
            packet.dts = None if packet.dts is None else packet.dts - shift_ticks
        packet.stream = target
        self._target.mux(packet)

    def _warn_left_out(self, stream: Stream, what: str) -> None:
        warnings.warn(
            f"stream {stream.index} of the source, {what}, cannot be in a {self._format.suffix} "
            "file and is left out; .mkv holds most codecs",
            DreamVideoWarning,
            stacklevel=2,
        )


class SampleClock:
    """Counts the time of audio in samples, where the source rounds it to something coarser."""

    def __init__(self, rate_hz: int) -> None:
        """For audio of a sample rate."""
        self.tick_seconds = Fraction(1, rate_hz)
        self._next: int | None = None

    def first_sample(
        self, time_seconds: Fraction, samples: int, source_tick_seconds: Fraction
    ) -> int:
        """The first sample of a packet or frame: the next one, unless the source has a gap.

        Args:
            time_seconds: when it begins, by the source.
            samples: how many samples it has.
            source_tick_seconds: the time base of the source, to which its times are rounded.
        """
        first = round(time_seconds / self.tick_seconds)
        if self._next is not None:
            deviation_seconds = abs(self._next - first) * self.tick_seconds
            first = self._next if deviation_seconds <= source_tick_seconds else first
        self._next = first + samples
        return first


def _decode_audio(packet: AnyPacket) -> list[av.AudioFrame]:
    """The audio of a packet; nothing of a damaged one, which is silence in every player."""
    try:
        return cast("list[av.AudioFrame]", packet.decode())
    except (av.FFmpegError, ValueError):  # PyAV raises the latter for a decoder that did not open
        return []


@contextmanager
def convert_subtitles(source: Location, stream_index: int, codec: str) -> Iterator[InputContainer]:
    """A container whose only stream is that of the source in another codec, at the same times.

    Raises:
        OutputError: FFmpeg cannot convert it.
    """
    suffix = next(row.suffix for row in OUTPUT_FORMATS.values() if codec in row.subtitle_codecs)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"subtitles{suffix}"
        command = [
            *(imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin"),
            *("-protocol_whitelist", LOCAL_ONLY["protocol_whitelist"], "-copyts"),
            *("-i", str(Path(source.name).absolute()), "-map", f"0:{stream_index}"),
            *("-map_chapters", "-1", "-c:s", codec, "-avoid_negative_ts", "disabled", str(path)),
        ]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or ["no reason given"]
            raise OutputError(
                f"cannot convert the subtitles of stream {stream_index} of {source.name} to "
                f"{codec}: {lines[-1]}; write .mkv, which holds them as they are"
            )
        with av.open(str(path)) as container:
            yield container


WritePacket: TypeAlias = Callable[[AnyPacket], None]


@dataclass(frozen=True)
class Track:
    """Packets of one or more streams, and the function that writes one of them."""

    packets: Iterator[AnyPacket]
    write: WritePacket


def packets_in_order(tracks: list[Track]) -> Iterator[tuple[AnyPacket, WritePacket]]:
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


def packets_of(container: InputContainer, streams: list[Stream]) -> Iterator[AnyPacket]:
    """The packets of some streams of a container, up to damage that cannot be read."""
    with suppress(av.FFmpegError):
        for packet in container.demux(cast(Any, streams)):
            if packet.dts is not None and packet.time_base is not None and packet.size:
                yield packet


def start_seconds(packet: AnyPacket) -> Fraction:
    """When a packet is to be decoded, in seconds."""
    assert packet.dts is not None  # packets_of drops those without
    return packet.dts * as_fraction(packet.time_base)
