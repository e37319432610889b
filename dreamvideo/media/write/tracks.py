"""Carries over the other streams of a source video: audio, subtitles; and its metadata."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from functools import partial
from typing import cast

from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.stream import Stream

from dreamvideo.media.formats import OutputFormat
from dreamvideo.media.metadata import copy_metadata, copy_stream_metadata
from dreamvideo.media.opening import Location, open_video_container, video_stream_of
from dreamvideo.media.write.audio import AnyPacket, AudioEncoding
from dreamvideo.media.write.covers import add_covers
from dreamvideo.media.write.packets import (
    CopiedStream,
    Track,
    WritePacket,
    packets_in_order,
    packets_of,
    start_seconds,
)
from dreamvideo.media.write.subtitles import convert_subtitles
from dreamvideo.media.write.track_plan import TrackPlan, Treatment
from dreamvideo.types import VideoInfo

# How far before the start of a cut audio decoders begin: they may need earlier packets.
LEAD_SECONDS = 1


class Tracks:
    """Every stream of a source video but its frames, written next to the dreamed frames."""

    def __init__(
        self,
        plan: TrackPlan,
        target: OutputContainer,
        target_format: OutputFormat,
        info: VideoInfo,
        video_stream: Stream,
    ) -> None:
        """Add the streams to the target. FFmpeg needs all of them before the first packet.

        Args:
            plan: the source, and what becomes of each of its streams.
            target: the container to write to.
            target_format: its row in the table of formats.
            info: which part of the source is dreamed.
            video_stream: the target's stream of dreamed frames, which gets the metadata of the
                source's video stream.
        """
        self._plan = plan
        self._target = target
        self._format = target_format
        self._origin_seconds = info.origin_seconds
        self._begin_seconds = info.begin_seconds
        self._end_seconds = info.end_seconds
        self._opened = ExitStack()
        self._encoded: dict[int, AudioEncoding] = {}
        self._packets: Iterator[tuple[AnyPacket, WritePacket]] = iter(())
        self._first_packets: list[AnyPacket] = []
        try:
            if plan.source is not None:
                self._add_streams(plan.source, video_stream)
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
            packet_seconds = start_seconds(packet) - self._origin_seconds
            if time_seconds is not None and packet_seconds >= time_seconds:
                return
            if self._is_in_part(packet):
                write(packet)
            self._next = next(self._packets, None)
        if time_seconds is None:
            for encoding in self._encoded.values():
                encoding.finish()

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
        if packet.stream.type == "audio":
            if self._begin_seconds is None:
                return True
            is_encoded = packet.stream.index in self._encoded  # what comes first is cut off again
            return packet_seconds >= self._begin_seconds - (LEAD_SECONDS if is_encoded else 0)
        end_seconds = packet_seconds + (packet.duration or 0) * packet.time_base
        return packet_seconds >= self._origin_seconds or end_seconds > self._origin_seconds

    def _to_target_time(self, time_seconds: Fraction) -> Fraction:
        """A time of the source on the target's clock, clamped to the target's duration."""
        if self._end_seconds is not None:
            time_seconds = min(time_seconds, self._end_seconds)
        return max(time_seconds - self._origin_seconds, Fraction(0))

    def _add_audio(self, source: InputContainer) -> Iterator[Track]:
        streams: list[AudioStream] = []
        write: dict[int, WritePacket] = {}
        for stream in source.streams.audio:
            treatment = self._plan.treatments[stream.index]
            if treatment is Treatment.COPY:
                copied = self._copied_stream(stream)
                write[stream.index] = copied.write
                copy_stream_metadata(copied.stream, stream)
            elif treatment is Treatment.ENCODE:
                encoding = AudioEncoding(stream, self._target, self._format.audio_fallback)
                self._encoded[stream.index] = encoding
                write[stream.index] = partial(self._encode, encoding)
                copy_stream_metadata(encoding.stream, stream)
            else:
                continue
            streams.append(stream)
        if streams:
            packets = packets_of(source, streams)
            yield Track(packets, lambda packet: write[packet.stream.index](packet))

    def _encode(self, encoding: AudioEncoding, packet: AnyPacket) -> None:
        encoding.write(packet, self._origin_seconds, self._begin_seconds)

    def _copied_stream(self, original: Stream) -> CopiedStream:
        header = self._plan.headers.get(original.index)
        return CopiedStream(original, self._target, self._format, self._origin_seconds, header)

    def _add_subtitles(self, source: Location, video: InputContainer) -> Iterator[Track]:
        for number, stream in enumerate(video.streams.subtitles):
            treatment = self._plan.treatments[stream.index]
            if treatment is Treatment.LEAVE_OUT:
                continue
            subtitles = (
                open_video_container(source)
                if treatment is Treatment.COPY
                else convert_subtitles(source, stream.index, self._format.text_subtitle_codec)
            )
            container = self._opened.enter_context(subtitles)
            # A file of converted subtitles has one stream only.
            streams = container.streams.subtitles
            original = streams[min(number, len(streams) - 1)]
            copied = self._copied_stream(original)
            copy_stream_metadata(copied.stream, stream)
            write = partial(self._write_subtitle, target=copied)
            yield Track(packets_of(container, [original]), write)

    def _write_subtitle(self, packet: AnyPacket, target: CopiedStream) -> None:
        """Copy a packet, cut to the part of the source that is dreamed."""
        tick_seconds, pts = packet.time_base, cast(int, packet.pts)
        begin_tick = max(pts, math.ceil(self._origin_seconds / tick_seconds))
        end_tick = pts + (packet.duration or 0)
        if self._end_seconds is not None and packet.duration:
            end_tick = min(end_tick, math.ceil(self._end_seconds / tick_seconds))
        packet.pts = packet.dts = begin_tick
        packet.duration = max(0, end_tick - begin_tick)
        target.write(packet)
