"""The tags of a video, and the line in which it says how it was dreamed."""

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
from dreamvideo.media.ffmpeg import as_fraction
from dreamvideo.media.opening import Location, check_location, open_video_container

# The tag that every container keeps, and that may hold something of the source's already.
SIGNATURE_TAG = "comment"
SIGNATURE = re.compile(r"^dreamvideo \S+ (\{.*\})$", re.MULTILINE)


def with_signature(comment: str, settings_json: str) -> str:
    """A film's comment with the line added, in place of an earlier one.

    Args:
        comment: what it says already, perhaps nothing.
        settings_line: JSON of the settings.
    """
    kept = SIGNATURE.sub("", comment).strip()
    line = f"dreamvideo {version('dreamvideo')} {settings_json}"
    return f"{kept}\n{line}" if kept else line


def read_signature(path: Path) -> str:
    """JSON of the settings that a film was dreamed with.

    Raises:
        InputError: it is no film that can be read.
        SettingsError: it does not say.
    """
    location = Location(str(path))
    check_location(location)
    with open_video_container(location) as video:
        comments = [
            value for name, value in video.metadata.items() if name.lower() == SIGNATURE_TAG
        ]
    found = SIGNATURE.search("\n".join(comments))
    if found is None:
        raise SettingsError(
            f"{path} does not say how it was dreamed; films that dreamvideo wrote as .mp4, .mov, "
            ".mkv or .webm do, and TOML files are read, too"
        )
    return found[1]


# Tags that say how the source was made, which is not how the film is.
SOURCE_TAGS = {
    *("encoder", "major_brand", "minor_version", "compatible_brands", "duration"),
    *("alpha_mode", "timecode"),
    *("handler_name", "vendor_id", "number_of_frames", "number_of_bytes", "bps"),
}


def copy_tags(
    source: InputContainer, target: OutputContainer, on_video_clock: Callable[[Fraction], Fraction]
) -> None:
    """Title, artist, date and so on, chapters, and in Matroska attached files such as fonts.

    Args:
        source: has them.
        target: gets them, before its first packet.
        on_film: brings a time of the source to the film's clock, and into the film.
    """
    target.metadata.update(_portable_tags(source.metadata))
    chapters = []
    for chapter in source.chapters():
        tick = as_fraction(cast(Any, chapter["time_base"]))
        begin, end = on_video_clock(chapter["start"] * tick), on_video_clock(chapter["end"] * tick)
        if begin < end:
            times = {"start": int(begin / tick), "end": int(end / tick)}
            chapters.append(cast(Any, {**chapter, **times}))
    if chapters:
        target.set_chapters(chapters)
    if target.format.name == "matroska":
        for stream in source.streams.attachments:
            data = cast(Any, stream).data
            if data:
                name = stream.metadata.get("filename", "attachment")
                kind = stream.metadata.get("mimetype", "application/octet-stream")
                target.add_attachment(name, kind, data)


def write_signature(target: OutputContainer, settings_json: str) -> None:
    """Let a film say how it was dreamed, beside what it says already."""
    # Matroska has it in capitals.
    said = [
        target.metadata.pop(name) for name in list(target.metadata) if name.lower() == SIGNATURE_TAG
    ]
    target.metadata[SIGNATURE_TAG] = with_signature("\n".join(said), settings_json)


def copy_stream_tags(copy: Stream, original: Stream) -> None:
    """Language, title, and whether players show the stream unasked."""
    copy.metadata.update(_portable_tags(original.metadata))
    # An integer is what PyAV 16 takes, and what its types do not know.
    copy.disposition = cast(Any, original.disposition.value)


def _portable_tags(metadata: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in metadata.items()
        if name.lower().split("-")[0] not in SOURCE_TAGS
    }
