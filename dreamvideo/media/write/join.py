"""Joins segments and the tracks of the source into one video."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import av
from av.container import OutputContainer
from av.video.stream import VideoStream

from dreamvideo.media.metadata import write_signature
from dreamvideo.media.opening import KEEP_ODD_TAGS, Location
from dreamvideo.media.write.encoder import Encoding
from dreamvideo.media.write.tracks import Tracks
from dreamvideo.types import VideoInfo

CONTAINER_FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
# The movie's clock ticks in milliseconds by default, which moves a film that starts late.
# +faststart puts the index first, so that a film plays in a browser before it is all there.
MOVIE_OPTIONS = {"movflags": "+faststart", "movie_timescale": "90000"}
# Sound may begin before zero, as AAC's lead-in does. By default everything would then be moved.
MATROSKA_OPTIONS = {"avoid_negative_ts": "disabled"}
CONTAINER_OPTIONS = {
    **dict.fromkeys((".mp4", ".mov"), MOVIE_OPTIONS),
    **dict.fromkeys((".mkv", ".webm"), MATROSKA_OPTIONS),
}


def open_container(opened: ExitStack, path: Path, suffix: str) -> OutputContainer:
    """A container of the kind that a suffix asks for."""
    container: OutputContainer = av.open(
        str(path.absolute()),
        "w",
        format=CONTAINER_FORMATS[suffix],
        container_options=CONTAINER_OPTIONS[suffix],
        **KEEP_ODD_TAGS,
    )
    return opened.enter_context(container)


def join(
    path: Path,
    segments: Sequence[Path],
    packets: Sequence[Sequence[Sequence[int]]],
    encoding: Encoding,
    info: VideoInfo,
    tracks_from: Location | None,
    settings_json: str,
) -> None:
    """Write one film with the packets of all segments, at their exact times.

    Args:
        path: of the film; its suffix says what container it is.
        segments: files with one video stream each.
        packets: (time, duration) in ticks of each of their packets, as encoded.
        encoding: with which they were encoded.
        footage: what a tick is, and which part of the source the film shows.
        tracks_from: whose sound, subtitles, chapters and metadata are carried over.
        settings_line: how the film was dreamed, which it is to say.
    """
    suffix = path.suffix.lower()
    with ExitStack() as opened:
        first = opened.enter_context(av.open(str(segments[0])))
        container = open_container(opened, path, suffix)
        # Opaque: by default an encoder of the decoder's name is looked for, and AV1 has none.
        stream = container.add_stream_from_template(first.streams.video[0], opaque=True)
        stream.time_base = info.time_base_seconds
        # Matroska's times are rounded, so that a reader would guess the rate from them.
        stream.codec_context.framerate = info.frame_rate
        if encoding.facts.tag and suffix in (".mp4", ".mov"):
            stream.codec_context.codec_tag = encoding.facts.tag
        tracks = opened.enter_context(closing(Tracks(tracks_from, container, info, stream)))
        write_signature(container, settings_json)
        shown_ticks = [pts for part in packets for pts, _ in part]
        decode_ticks, last_tick = _decode_ticks(shown_ticks), max(shown_ticks)
        usual_ticks = max(1, round(1 / (info.frame_rate * info.time_base_seconds)))
        for packet, dts in zip(_packets(segments, packets), decode_ticks, strict=True):
            packet.time_base = info.time_base_seconds
            packet.dts = dts
            if not packet.duration and packet.pts == last_tick:
                packet.duration = usual_ticks  # or some players would not show the last frame
            packet.stream = stream
            tracks.write_until(dts * info.time_base_seconds)
            container.mux(packet)
        tracks.write_until(None)


def _packets(
    segments: Sequence[Path], packets: Sequence[Sequence[Sequence[int]]]
) -> Iterator[av.Packet[VideoStream]]:
    for segment, times in zip(segments, packets, strict=True):
        with av.open(str(segment)) as container:
            found = (packet for packet in container.demux(video=0) if packet.size)
            for packet, (pts, duration) in zip(found, times, strict=True):
                packet.pts, packet.duration = pts, duration
                yield packet


def _decode_ticks(pts: Sequence[int]) -> list[int]:
    """When each packet is to be decoded, given when it is shown, both in the order of the file.

    Encoders choose this for each segment; here it has to run through: the times at which frames
    are shown, in order, as late by as many frames as no frame is shown before it is decoded.
    """
    shown = sorted(pts)
    place = {time: index for index, time in enumerate(shown)}
    delay = max(index - place[time] for index, time in enumerate(pts))
    # Before the first time, the clock counts backwards at the first frames' pace.
    step = max(1, (shown[min(delay, len(shown) - 1)] - shown[0]) // max(1, delay))
    lead = [shown[0] - step * count for count in range(delay, 0, -1)]
    return [*lead, *shown][: len(shown)]
