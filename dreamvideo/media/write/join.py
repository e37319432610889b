"""Joins encoded segments, and the other streams of the source, into one video."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
from av.video.stream import VideoStream

from dreamvideo.media.formats import output_format
from dreamvideo.media.metadata import write_signature
from dreamvideo.media.opening import PRESERVE_TAG_BYTES, as_fraction
from dreamvideo.media.write.encoder import Encoding
from dreamvideo.media.write.track_plan import TrackPlan
from dreamvideo.media.write.tracks import Tracks
from dreamvideo.types import VideoInfo


def join(
    path: Path,
    segments: Sequence[Path],
    packets: Sequence[Sequence[Sequence[int]]],
    encoding: Encoding,
    info: VideoInfo,
    plan: TrackPlan,
    settings_json: str,
) -> None:
    """Write one video with the packets of all segments, at their exact times.

    Args:
        path: of the video; its suffix decides the container.
        segments: files with one video stream each.
        packets: (time, duration) in ticks of each of their packets, as encoded.
        encoding: with which they were encoded.
        info: the length of a tick, and which part of the source the video shows.
        plan: the video whose audio, subtitles, chapters and metadata are carried over, and how.
        settings_json: the settings, to be written into the metadata.
    """
    row = output_format(path)
    with ExitStack() as opened:
        first = opened.enter_context(av.open(str(segments[0])))
        container = opened.enter_context(
            av.open(
                str(path.absolute()),
                "w",
                format=row.muxer,
                container_options=dict(row.muxer_options),
                **PRESERVE_TAG_BYTES,
            )
        )
        # Opaque: otherwise PyAV looks for an encoder of the decoder's name, and AV1 has none.
        stream = container.add_stream_from_template(first.streams.video[0], opaque=True)
        stream.time_base = info.time_base_seconds
        # Matroska rounds times, from which a reader would have to guess the frame rate.
        stream.codec_context.framerate = info.frame_rate
        if encoding.encoder.apple_codec_tag and row.needs_apple_codec_tags:
            stream.codec_context.codec_tag = encoding.encoder.apple_codec_tag
        tracks = opened.enter_context(closing(Tracks(plan, container, row, info, stream)))
        if row.holds_settings:
            write_signature(container, settings_json)
        container.start_encoding()  # from here on, the ticks of the container are known
        tick_seconds = as_fraction(cast(Fraction, stream.time_base))
        ticks_per_tick = info.time_base_seconds / tick_seconds
        shown_ticks = _increasing([pts for part in packets for pts, _ in part], ticks_per_tick)
        durations = [round(duration * ticks_per_tick) for part in packets for _, duration in part]
        last = shown_ticks.index(max(shown_ticks))
        if not durations[last]:  # some players skip a last frame without duration
            durations[last] = max(1, round(1 / (info.frame_rate * tick_seconds)))
        times = zip(shown_ticks, _decode_ticks(shown_ticks), durations, strict=True)
        for packet, (pts, dts, duration) in zip(_packets(segments), times, strict=True):
            packet.time_base = tick_seconds
            packet.pts, packet.dts, packet.duration = pts, dts, duration
            packet.stream = stream
            tracks.write_until(dts * tick_seconds)
            container.mux(packet)
        tracks.write_until(None)


def _packets(segments: Sequence[Path]) -> Iterator[av.Packet[VideoStream]]:
    """The packets of all segments."""
    for segment in segments:
        with av.open(str(segment)) as container:
            yield from (packet for packet in container.demux(video=0) if packet.size)


def _increasing(shown: Sequence[int], ticks_per_tick: Fraction) -> list[int]:
    """Times in ticks of the container, each its own, though these may be longer than a tick."""
    ticks: dict[int, int] = {}
    latest: int | None = None
    for time in sorted(shown):
        tick = round(time * ticks_per_tick)
        latest = tick if latest is None else max(tick, latest + 1)
        ticks[time] = latest
    return [ticks[time] for time in shown]


def _decode_ticks(pts: Sequence[int]) -> list[int]:
    """When each packet is to be decoded, given when it is shown, both in the order of the file.

    Encoders compute this within each segment, but in the joined file it has to increase
    throughout. Packets take the sorted display times in turn, delayed by the fewest frames for
    which no frame is shown before it is decoded.
    """
    shown = sorted(pts)
    rank = {time: index for index, time in enumerate(shown)}
    delay = max(index - rank[time] for index, time in enumerate(pts))
    # Before the first time, the clock continues backwards at the rate of the first frames.
    step = max(1, (shown[min(delay, len(shown) - 1)] - shown[0]) // max(1, delay))
    lead = [shown[0] - step * count for count in range(delay, 0, -1)]
    return [*lead, *shown][: len(shown)]
