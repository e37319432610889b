"""Moves and removals on a disk that may lose power at any time. Refuses to know what they mean."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from dreamvideo.errors import OutputError


def empty(path: Path, *keep: str) -> None:
    """Remove what is in a folder, but some files."""
    for entry in path.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name not in keep:
            entry.unlink()


def check_move(made: Path, output: Path) -> None:
    """Refuse a move that would stop half way.

    Raises:
        OutputError: a folder has the name that one of the files is to have.
    """
    for file in made.iterdir() if made.is_dir() else ():
        if (output / file.name).is_dir():
            raise OutputError(f"{output / file.name} is a folder and in the way; move it")


def move(made: Path, output: Path) -> None:
    """Put a file or folder in its place; a folder that is there keeps what has other names."""
    if not made.is_dir() or not output.exists():
        made.replace(output)
        return
    for file in made.iterdir():
        file.replace(output / file.name)
    made.rmdir()


def synchronize(path: Path) -> None:
    """Bring a file or folder to the disk, so that it outlives a power cut."""
    if path.is_dir() and os.name == "nt":
        return  # Windows has no such thing for folders
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
