"""What a name on the command line stands for. Refuses to open anything."""

from __future__ import annotations

import enum
import os
import re
from pathlib import Path

from dreamvideo.errors import UsageError

# Formats that imageio's Pillow plugin both reads and writes.
STILL_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
FILM_SUFFIXES = (".mp4", ".mkv", ".mov", ".webm", ".gif", ".apng")
# Films that are files of pictures; a .webp is one where a still cannot be meant.
ANIMATED_SUFFIXES = (".gif", ".webp", ".apng")
# The name of standard input and output.
STREAM_NAME = "-"
NOISE_PREFIX = "noise:"


class Kind(enum.Enum):
    """What can be read or written; the value is how it is called in messages."""

    STILL = "a still"
    FILM = "a film"
    FOLDER = "a folder of pictures"
    STREAM = "a stream"


def input_kind(name: str) -> Kind:
    """What an input is: a folder if it is one, a still by its suffix or noise, a film otherwise."""
    if name == STREAM_NAME:
        return Kind.STREAM
    if is_address(name):
        return Kind.FILM
    if Path(name).is_dir():
        return Kind.FOLDER
    if is_noise(name) or has_suffix(name, STILL_SUFFIXES):
        return Kind.STILL
    return Kind.FILM


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


def is_noise(name: str) -> bool:
    """Whether a name asks for noise, `noise:WIDTHxHEIGHT`, and is not that of a file."""
    return name.startswith(NOISE_PREFIX) and not Path(name).exists()


def noise_size(name: str) -> tuple[int, int]:
    """(width, height) of the noise that a name asks for.

    Raises:
        UsageError: it does not say.
    """
    size = re.fullmatch(rf"{NOISE_PREFIX}([1-9]\d{{0,6}})x([1-9]\d{{0,6}})", name)
    if size is None:
        raise UsageError(
            f"cannot read {name}; noise is written {NOISE_PREFIX}WIDTHxHEIGHT, such as "
            f"{NOISE_PREFIX}1280x720"
        )
    return int(size[1]), int(size[2])
