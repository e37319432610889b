"""Carries over what a film says of itself: tags, chapters, languages, fonts.

Refuses to know of pictures and sound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, cast

from av.container import InputContainer, OutputContainer
from av.stream import Stream

from dreamvideo.media.ratios import as_fraction
from dreamvideo.media.signature import TAG, signed

# Tags that say how the source was made, which is not how the film is.
SOURCE_TAGS = {
    *("encoder", "major_brand", "minor_version", "compatible_brands", "duration"),
    *("alpha_mode", "timecode"),
    *("handler_name", "vendor_id", "number_of_frames", "number_of_bytes", "bps"),
}


def copy_tags(
    source: InputContainer, target: OutputContainer, on_film: Callable[[Fraction], Fraction]
) -> None:
    """Title, artist, date and so on, chapters, and in Matroska attached files such as fonts.

    Args:
        source: has them.
        target: gets them, before its first packet.
        on_film: brings a time of the source to the film's clock, and into the film.
    """
    target.metadata.update(_lasting(source.metadata))
    chapters = []
    for chapter in source.chapters():
        tick = as_fraction(cast(Any, chapter["time_base"]))
        begin, end = on_film(chapter["start"] * tick), on_film(chapter["end"] * tick)
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


def sign(target: OutputContainer, settings_line: str) -> None:
    """Let a film say how it was dreamed, beside what it says already."""
    # Matroska has it in capitals.
    said = [target.metadata.pop(name) for name in list(target.metadata) if name.lower() == TAG]
    target.metadata[TAG] = signed("\n".join(said), settings_line)


def mark(copy: Stream, original: Stream) -> None:
    """Language, title, and whether players show the stream unasked."""
    copy.metadata.update(_lasting(original.metadata))
    # An integer is what PyAV 16 takes, and what its types do not know.
    copy.disposition = cast(Any, original.disposition.value)


def _lasting(metadata: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in metadata.items()
        if name.lower().split("-")[0] not in SOURCE_TAGS
    }
