"""What a name on the command line stands for. Refuses to open anything."""

from __future__ import annotations

import enum
import os
from pathlib import Path

# Formats that imageio's Pillow plugin both reads and writes.
STILL_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
FILM_SUFFIXES = (".mp4", ".mkv", ".mov", ".webm", ".gif")
# The name of standard input and output.
STREAM_NAME = "-"


class Kind(enum.Enum):
    """What can be read or written; the value is how it is called in messages."""

    STILL = "a still"
    FILM = "a film"
    FOLDER = "a folder of pictures"
    STREAM = "a stream"


def input_kind(name: str) -> Kind:
    """What an input is: a folder if it is one, a still by its suffix, a film otherwise."""
    if name == STREAM_NAME:
        return Kind.STREAM
    if is_address(name):
        return Kind.FILM
    if Path(name).is_dir():
        return Kind.FOLDER
    return Kind.STILL if has_suffix(name, STILL_SUFFIXES) else Kind.FILM


def output_kind(name: str) -> Kind | None:
    """What an output is to be, by its suffix; without one a folder. None if that says nothing."""
    if name == STREAM_NAME:
        return Kind.STREAM
    if has_suffix(name, STILL_SUFFIXES):
        return Kind.STILL
    if has_suffix(name, FILM_SUFFIXES):
        return Kind.FILM
    separators = tuple(filter(None, (os.sep, os.altsep)))
    if not Path(name).suffix or name.endswith(separators) or Path(name).is_dir():
        return Kind.FOLDER
    return None


def has_suffix(name: str | Path, suffixes: tuple[str, ...]) -> bool:
    """Whether a name ends in one of the suffixes, in small or capital letters."""
    return Path(name).suffix.lower() in suffixes


def is_address(name: str) -> bool:
    """Whether a name is an address such as https://…, and not that of a file."""
    return "://" in name and not Path(name).exists()
