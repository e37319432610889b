"""Whether a disk has room for what is going to be written. Refuses to write it."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

from dreamvideo.errors import DreamVideoWarning, OutputError
from dreamvideo.frames import Footage

# Films differ: one may need a quarter of what is expected.
HOPELESS_SHARE = 0.25
MEGABYTE = 1_000_000


def check_space(folder: Path, footage: Footage, frames_done: int, bytes_per_pixel: float) -> None:
    """Warn where room may run out, refuse where it must.

    Args:
        folder: where is written.
        footage: how many frames there are, and how large.
        frames_done: how many of them are there already.
        bytes_per_pixel: what one needs, roughly.

    Raises:
        OutputError: less is free than a quarter of what is expected.
    """
    frames = max(0, (footage.frame_count or 0) - frames_done)
    expected_bytes = frames * footage.width_px * footage.height_px * bytes_per_pixel
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes >= expected_bytes:
        return
    message = (
        f"{folder.parent} has {free_bytes / MEGABYTE:,.0f} MB free, and this will need some "
        f"{expected_bytes / MEGABYTE:,.0f} MB; make room, choose another disk or a smaller --size"
    )
    if free_bytes < HOPELESS_SHARE * expected_bytes:
        raise OutputError(message)
    warnings.warn(message, DreamVideoWarning, stacklevel=2)
