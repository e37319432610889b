"""Durable moves, free space, and opaque frames."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path

from dreamvideo.errors import DreamVideoWarning, OutputError
from dreamvideo.types import VideoInfo


def clear_folder(path: Path, *keep: str) -> None:
    """Remove what is in a folder, but some files."""
    for entry in path.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name not in keep:
            entry.unlink()


def check_can_move(made: Path, output: Path) -> None:
    """Refuse a move that would stop half way.

    Raises:
        OutputError: a folder has the name that one of the files is to have.
    """
    for file in made.iterdir() if made.is_dir() else ():
        if (output / file.name).is_dir():
            raise OutputError(f"{output / file.name} is a folder and in the way; move it")


def move_into_place(made: Path, output: Path) -> None:
    """Put a file or folder in its place; a folder that is there keeps what has other names."""
    if not made.is_dir() or not output.exists():
        made.replace(output)
        return
    for file in made.iterdir():
        file.replace(output / file.name)
    made.rmdir()


def flush_to_disk(path: Path) -> None:
    """Bring a file or folder to the disk, so that it outlives a power cut."""
    if path.is_dir() and os.name == "nt":
        return  # Windows has no such thing for folders
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# Films differ: one may need a quarter of what is expected.
REFUSED_SHARE = 0.25
MEGABYTE = 1_000_000


def check_free_space(
    folder: Path, info: VideoInfo, frames_done: int, bytes_per_pixel: float
) -> None:
    """Warn where room may run out, refuse where it must.

    Args:
        folder: where is written.
        footage: how many frames there are, and how large.
        frames_done: how many of them are there already.
        bytes_per_pixel: what one needs, roughly.

    Raises:
        OutputError: less is free than a quarter of what is expected.
    """
    frames = max(0, (info.frame_count or 0) - frames_done)
    expected_bytes = frames * info.width_px * info.height_px * bytes_per_pixel
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes >= expected_bytes:
        return
    message = (
        f"{folder.parent} has {free_bytes / MEGABYTE:,.0f} MB free, and this will need some "
        f"{expected_bytes / MEGABYTE:,.0f} MB; make room, choose another disk or a smaller --size"
    )
    if free_bytes < REFUSED_SHARE * expected_bytes:
        raise OutputError(message)
    warnings.warn(message, DreamVideoWarning, stacklevel=2)
