"""The metadata of a video, and the line in it that holds the settings it was dreamed with."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from av.container import InputContainer, OutputContainer
from av.stream import Stream

from dreamvideo.errors import SettingsError
from dreamvideo.media.formats import OUTPUT_FORMATS, OutputFormat
from dreamvideo.media.opening import (
    Location,
    as_fraction,
    check_location,
    open_video_container,
)

# The tag that every container keeps. The source may have a comment already, which is kept too.
SIGNATURE_TAG = "comment"
SIGNATURE = re.compile(r"^dreamvideo \S+ (\{.*\})$", re.MULTILINE)


def with_signature(comment: str, settings_json: str) -> str:
    """A comment with the line of settings added, in place of an earlier one.

    Args:
        comment: the comment so far, which may be empty.
        settings_json: JSON of the settings.
    """
    kept = SIGNATURE.sub("", comment).strip()
    line = f"dreamvideo {version('dreamvideo')} {settings_json}"
    return f"{kept}\n{line}" if kept else line


def read_signature(path: Path) -> str:
    """JSON of the settings that a video was dreamed with.

    Raises:
        InputError: the file cannot be read as a video.
        SettingsError: its metadata has no settings.
    """
    location = Location(str(path))
    check_location(location)
    with open_video_container(location) as video:
        comments = [
            value for name, value in video.metadata.items() if name.lower() == SIGNATURE_TAG
        ]
    match = SIGNATURE.search("\n".join(comments))
    if match is None:
        suffixes = [suffix for suffix, row in OUTPUT_FORMATS.items() if row.holds_settings]
        raise SettingsError(
            f"{path} has no settings in its metadata; give a TOML file, or a video that dreamvideo "
            f"wrote as {', '.join(suffixes[:-1])} or {suffixes[-1]}"
        )
    return match[1]


# Tags about how the source file was made, which do not hold for the new file.
SOURCE_TAGS = {
    *("encoder", "major_brand", "minor_version", "compatible_brands", "duration"),
    *("alpha_mode", "timecode"),
    *("handler_name", "vendor_id", "number_of_frames", "number_of_bytes", "bps"),
}


def copy_metadata(
    source: InputContainer,
    target: OutputContainer,
    target_format: OutputFormat,
    to_target_time: Callable[[Fraction], Fraction],
) -> None:
    """Copy tags (title, artist, date …), chapters and, where the format holds them, attachments.

    Args:
        source: the container to copy from.
        target: the container to copy to, before its first packet.
        target_format: its row in the table of formats.
        to_target_time: converts a time of the source, in seconds, to the target's clock and
            clamps it to the target's duration.
    """
    target.metadata.update(_portable_tags(source.metadata))
    chapters = []
    for chapter in source.chapters():
        tick_seconds = as_fraction(cast(Any, chapter["time_base"]))
        start, end = (
            to_target_time(chapter["start"] * tick_seconds),
            to_target_time(chapter["end"] * tick_seconds),
        )
        if start < end:
            ticks = {"start": int(start / tick_seconds), "end": int(end / tick_seconds)}
            chapters.append(cast(Any, {**chapter, **ticks}))
    if chapters:
        target.set_chapters(chapters)
    for attachment in source.streams.attachments if target_format.holds_attachments else ():
        data = cast(Any, attachment).data
        if data:
            name = attachment.metadata.get("filename", "attachment")
            mime_type = attachment.metadata.get("mimetype", "application/octet-stream")
            target.add_attachment(name, mime_type, data)


def write_signature(target: OutputContainer, settings_json: str) -> None:
    """Add the line of settings to the comment that the target has so far."""
    # Matroska spells the tag in capitals.
    comments = [
        target.metadata.pop(name) for name in list(target.metadata) if name.lower() == SIGNATURE_TAG
    ]
    target.metadata[SIGNATURE_TAG] = with_signature("\n".join(comments), settings_json)


def copy_stream_metadata(copy: Stream, original: Stream) -> None:
    """Copy a stream's language, title, and whether players select it by default."""
    copy.metadata.update(_portable_tags(original.metadata))
    # PyAV 16 takes an integer, though its types do not allow one.
    copy.disposition = cast(Any, original.disposition.value)


def _portable_tags(metadata: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in metadata.items()
        if name.lower().split("-")[0] not in SOURCE_TAGS
    }
