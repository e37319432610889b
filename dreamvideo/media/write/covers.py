"""Carries over the cover images of a source video, and says what else of it is not carried over."""

from __future__ import annotations

import warnings
from typing import Any

import av
from av.container import InputContainer, OutputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from dreamvideo.errors import DreamVideoWarning
from dreamvideo.media.formats import COVER_MIME_TYPES, OutputFormat
from dreamvideo.media.metadata import copy_stream_metadata
from dreamvideo.media.opening import Location, open_video_container
from dreamvideo.media.write.packets import codec_of

# FFmpeg's name of the stream with an MP4's chapters, which are carried over as chapters.
CHAPTERS_STREAM = "bin_data"


def add_covers(
    source: Location,
    container: InputContainer,
    target: OutputContainer,
    target_format: OutputFormat,
) -> list[av.Packet[Any]]:
    """Add the covers of a video to a file; return the packets that are to be written first.

    A warning names the covers, attached files and data that the file is without.

    Args:
        source: the video that has the covers.
        container: the same, opened.
        target: the container to write to, before its first packet.
        target_format: its row in the table of formats.
    """
    covers = [
        stream
        for stream in container.streams.video
        if stream.disposition & Disposition.attached_pic
    ]
    held = [cover for cover in covers if codec_of(cover) in target_format.cover_codecs]
    packets = []
    for cover in held:
        packet = _cover_packet(source, cover)
        if packet is None:
            continue
        if target_format.holds_attachments:
            suffix, mime_type = COVER_MIME_TYPES[codec_of(cover)]
            name = cover.metadata.get("filename", f"cover{suffix}")
            target.add_attachment(name, mime_type, bytes(packet))
            continue
        copy = target.add_stream_from_template(cover)
        copy_stream_metadata(copy, cover)
        packet.pts = packet.dts = 0
        packet.stream = copy
        packets.append(packet)
    _warn_left_out(container, target_format, [cover for cover in covers if cover not in held])
    return packets


def _cover_packet(source: Location, cover: VideoStream) -> av.Packet[Any] | None:
    """The packet that holds the image of a cover."""
    # Opened again, since reading packets moves a container on.
    with open_video_container(source) as container:
        packets = container.demux(container.streams[cover.index])
        return next((packet for packet in packets if packet.size), None)


def _warn_left_out(
    container: InputContainer, target_format: OutputFormat, covers: list[VideoStream]
) -> None:
    left_out = [f"stream {cover.index} (a cover)" for cover in covers]
    for stream in container.streams:
        if stream.type == "attachment" and not target_format.holds_attachments:
            name = stream.metadata.get("filename", "an attached file")
            left_out.append(f"stream {stream.index} ({name})")
        elif stream.type == "data" and not (
            stream.name == CHAPTERS_STREAM and container.chapters()
        ):
            left_out.append(f"stream {stream.index} (data)")
    if left_out:
        warnings.warn(
            f"the {target_format.suffix} file is without {', '.join(left_out)} of the source",
            DreamVideoWarning,
            stacklevel=2,
        )
