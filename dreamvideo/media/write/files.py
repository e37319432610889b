"""Moves finished files into place, flushes them to the disk, and checks the free space."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path

from dreamvideo.errors import DreamVideoWarning, OutputError
from dreamvideo.types import VideoInfo


def clear_folder(path: Path, *keep: str) -> None:
    """Remove everything in a folder except the files of some names."""
    for entry in path.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name not in keep:
            entry.unlink()


def check_can_move(made: Path, output: Path) -> None:
    """Refuse a move that would stop half way.

    Raises:
        OutputError: a folder has the name of one of the files to be moved.
    """
    for file in made.iterdir() if made.is_dir() else ():
        if (output / file.name).is_dir():
            raise OutputError(
                f"{output / file.name} is a folder and in the way of a file of that name; move it"
            )


def move_into_place(made: Path, output: Path) -> None:
    """Move a file or folder to its name; an existing folder keeps its files of other names."""
    if not made.is_dir() or not output.exists():
        made.replace(output)
        return
    for file in made.iterdir():
        file.replace(output / file.name)
    made.rmdir()


def flush_to_disk(path: Path) -> None:
    """Write a file or folder to the disk, so that it survives a power failure."""
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot flush folders
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# Sizes vary with the content: a video may need as little as a quarter of the estimate.
MIN_SHARE_OF_ESTIMATE = 0.25
MEGABYTE = 1_000_000


def check_free_space(
    folder: Path, info: VideoInfo, frames_done: int, bytes_per_pixel: float
) -> None:
    """Warn if the disk may become full; refuse if it certainly would.

    Args:
        folder: where the files are written.
        info: size and number of the frames.
        frames_done: how many of the frames are written already.
        bytes_per_pixel: a rough estimate of what one pixel needs on the disk.

    Raises:
        OutputError: less than a quarter of the estimate is free.
    """
    frames_left = max(0, (info.frame_count or 0) - frames_done)
    estimated_bytes = frames_left * info.width_px * info.height_px * bytes_per_pixel
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes >= estimated_bytes:
        return
    message = (
        f"{folder.parent} has {free_bytes / MEGABYTE:,.0f} MB free, and this will need about "
        f"{estimated_bytes / MEGABYTE:,.0f} MB; make room, choose another disk or a smaller --size"
    )
    if free_bytes < MIN_SHARE_OF_ESTIMATE * estimated_bytes:
        raise OutputError(message)
    warnings.warn(message, DreamVideoWarning, stacklevel=2)
