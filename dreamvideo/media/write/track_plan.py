"""Finds out, before any frame is made, what becomes of each audio and subtitle stream of a source.

What a container refuses shows only when packets are written. So the source's own packets are
written on trial, to nowhere.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import islice
from types import MappingProxyType

import av
from av.container import InputContainer, OutputContainer
from av.stream import Stream

from dreamvideo.errors import DreamVideoWarning, OutputError
from dreamvideo.media.formats import OutputFormat
from dreamvideo.media.opening import Location, open_video_container
from dreamvideo.media.write.audio import AnyPacket, decode_audio, split_aac
from dreamvideo.media.write.packets import CopiedStream, codec_of, packets_of, start_seconds
from dreamvideo.media.write.subtitles import TEXT_CODECS, convert_subtitles
from dreamvideo.types import VideoInfo

# Damaged packets are left out; with more than this share of them, a stream is encoded again.
MAX_DAMAGED_SHARE = 0.05
# A decoder that gives no sound from so many packets gives none at all.
DECODED_PACKETS = 200
# A stream whose first packets have no header has none.
MAX_HEADER_PACKETS = 10
# Options of muxers that read the finished file again.
FILE_OPTIONS = ("movflags",)


class Treatment(Enum):
    """What becomes of a stream."""

    COPY = auto()
    """Its packets are written as they are."""
    ENCODE = auto()
    """Audio is decoded and encoded by the format's fallback."""
    CONVERT = auto()
    """Text subtitles are converted to the format's codec."""
    LEAVE_OUT = auto()


@dataclass(frozen=True)
class TrackPlan:
    """What becomes of each audio and subtitle stream of a source."""

    source: Location | None = None
    """The video that has them; None if there is none."""
    treatments: Mapping[int, Treatment] = field(default_factory=lambda: MappingProxyType({}))
    """By the number of the stream in the source."""
    headers: Mapping[int, bytes] = field(default_factory=lambda: MappingProxyType({}))
    """Headers of copied streams that have none in the source."""


def plan_tracks(source: Location | None, row: OutputFormat, info: VideoInfo) -> TrackPlan:
    """What becomes of each stream; warns of all that is not carried over as it is.

    A file is read through once, without decoding; of a stream, only the beginning.

    Args:
        source: the video whose tracks are carried over; None if there is none.
        row: the format of the output.
        info: which part of the source is dreamed.

    Raises:
        InputError: the source cannot be read.
    """
    if source is None:
        return TrackPlan()
    with ExitStack() as opened:
        container = opened.enter_context(open_video_container(source))
        treatments = {
            stream.index: _by_codec(stream, row, source)
            for stream in (*container.streams.audio, *container.streams.subtitles)
        }
        trials = {
            index: _Trial(
                *(container.streams[index], row, info), is_copied=treatment is Treatment.COPY
            )
            for index, treatment in treatments.items()
            if treatment in (Treatment.COPY, Treatment.ENCODE)
        }
        _try_packets(container, trials, info, source.is_file)
        for index, trial in trials.items():
            trial.close()
            stream = container.streams[index]
            if source.is_file:
                treatments[index] = _tried(treatments[index], trial, stream, source)
            elif trial.needs_header and trial.header is None:
                treatments[index] = Treatment.ENCODE
        for index, treatment in treatments.items():
            if treatment is Treatment.CONVERT and not _is_converted(source, index, row):
                treatments[index] = Treatment.LEAVE_OUT
        for index, treatment in treatments.items():
            _warn(container.streams[index], treatment, trials.get(index), row)
        headers = {index: trial.header for index, trial in trials.items() if trial.header}
        return TrackPlan(source, treatments, headers)


def _by_codec(stream: Stream, row: OutputFormat, source: Location) -> Treatment:
    """What the table of formats says of the stream's codec."""
    codec = codec_of(stream)
    if stream.type == "audio":
        if stream.codec_context is None:  # this FFmpeg does not know it
            return Treatment.LEAVE_OUT
        return Treatment.COPY if codec in row.audio_codecs else Treatment.ENCODE
    if codec in row.subtitle_codecs:
        return Treatment.COPY
    if codec in TEXT_CODECS and source.is_file:
        return Treatment.CONVERT
    return Treatment.LEAVE_OUT


class _Trial:
    """Writes the packets of one stream, as they would be copied, to nowhere."""

    def __init__(
        self, stream: Stream, row: OutputFormat, info: VideoInfo, *, is_copied: bool
    ) -> None:
        self._is_copied = is_copied
        self.packets = self.damaged = 0
        self.header: bytes | None = None
        self.is_refused = False
        self._stream = stream
        self._row = row
        self._origin_seconds = info.origin_seconds
        self._target: OutputContainer | None = None
        self._copied: CopiedStream | None = None

    @property
    def needs_header(self) -> bool:
        """Whether the stream has no header, and no container takes it without."""
        context = self._stream.codec_context
        return self._is_copied and codec_of(self._stream) == "aac" and not context.extradata

    def add(self, packet: AnyPacket) -> None:
        """Write a packet."""
        self.packets += 1
        if not self._is_copied:
            return
        try:
            if self._copied is None and not self.is_refused:
                self._open(packet)
            if not self.is_refused:
                self.damaged += self._copied is None or not self._copied.write(packet)
        except (av.FFmpegError, ValueError):  # PyAV's own checks raise the latter
            self.is_refused = True

    def close(self) -> None:
        """Write the end, which some containers refuse as well."""
        try:
            if self._target is not None:
                self._target.close()
        except (av.FFmpegError, ValueError):
            self.is_refused = True
        self._target = None

    def _open(self, first: AnyPacket) -> None:
        if self.needs_header:
            parts = split_aac(first)
            if parts is None:
                return
            self.header = parts.header
        options = {
            name: value for name, value in self._row.muxer_options if name not in FILE_OPTIONS
        }
        self._target = av.open(os.devnull, "w", format=self._row.muxer, container_options=options)
        self._copied = CopiedStream(
            self._stream, self._target, self._row, self._origin_seconds, self.header
        )


def _try_packets(
    container: InputContainer, trials: Mapping[int, _Trial], info: VideoInfo, is_file: bool
) -> None:
    """Write the packets of the part that is dreamed; of a stream only what the headers need."""
    waiting = {index for index, trial in trials.items() if is_file or trial.needs_header}
    if not waiting:
        return
    is_whole = info.begin_seconds is None and info.end_seconds is None
    for packet in packets_of(container, [container.streams[index] for index in waiting]):
        index = packet.stream.index
        place = 0 if is_whole else _place_in_part(packet, info)
        if place > 0:
            waiting.discard(index)
        elif place == 0:
            trial = trials[index]
            trial.add(packet)
            if not is_file and (trial.header or trial.packets == MAX_HEADER_PACKETS):
                waiting.discard(index)
        if not waiting:
            return


def _place_in_part(packet: AnyPacket, info: VideoInfo) -> int:
    """Whether a packet is before (-1), in (0) or after (1) the part that is dreamed."""
    time_seconds = start_seconds(packet)
    if info.end_seconds is not None and time_seconds >= info.end_seconds:
        return 1
    return -1 if info.begin_seconds is not None and time_seconds < info.begin_seconds else 0


def _tried(treatment: Treatment, trial: _Trial, stream: Stream, source: Location) -> Treatment:
    """What becomes of a stream after its packets were tried."""
    is_audio = stream.type == "audio"
    if is_audio and trial.packets == 0:
        return Treatment.LEAVE_OUT
    if treatment is Treatment.COPY and (
        trial.is_refused or trial.damaged > MAX_DAMAGED_SHARE * trial.packets
    ):
        treatment = Treatment.ENCODE if is_audio else Treatment.LEAVE_OUT
    if treatment is Treatment.ENCODE and not _is_decoded(source, stream.index):
        return Treatment.LEAVE_OUT
    return treatment


def _is_decoded(source: Location, index: int) -> bool:
    """Whether a decoder gives any sound from the first packets of a stream."""
    with open_video_container(source) as container:
        packets = packets_of(container, [container.streams[index]])
        return any(decode_audio(packet) for packet in islice(packets, DECODED_PACKETS))


def _is_converted(source: Location, index: int, row: OutputFormat) -> bool:
    """Whether FFmpeg converts a stream of subtitles; warns of the reason if not."""
    try:
        with convert_subtitles(source, index, row.text_subtitle_codec):
            return True
    except OutputError as error:
        warnings.warn(str(error), DreamVideoWarning, stacklevel=4)
        return False


def _warn(stream: Stream, treatment: Treatment, trial: _Trial | None, row: OutputFormat) -> None:
    """Say what happens to a stream that is not carried over as it is."""
    what = "subtitles" if stream.type == "subtitle" else stream.type
    name = f"stream {stream.index} of the source, {what},"
    message = ""
    if treatment is Treatment.LEAVE_OUT and what == "audio" and trial and trial.packets == 0:
        message = f"{name} has no sound in this part and is left out"
    elif treatment is Treatment.LEAVE_OUT:
        message = f"{name} cannot be in a {row.suffix} file and is left out; .mkv holds most codecs"
    elif treatment is Treatment.ENCODE and codec_of(stream) in row.audio_codecs:
        message = (
            f"{name} is damaged or changes midway, cannot be copied into a {row.suffix} file, and "
            f"is encoded again as {row.audio_fallback.codec}"
        )
    elif treatment is Treatment.ENCODE:
        message = (
            f"{name} cannot be in a {row.suffix} file as it is ({codec_of(stream)}) and is encoded "
            f"again as {row.audio_fallback.codec}; .mkv holds most codecs"
        )
    elif trial is not None and trial.damaged:
        message = f"{name} is damaged: {trial.damaged} of {trial.packets} packets are left out"
    if message:
        warnings.warn(message, DreamVideoWarning, stacklevel=3)
