"""Whether a disk has room for what is going to be written. Refuses to write it."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

from dreamvideo.errors import DreamVideoWarning, OutputError

# Films differ: one may need a quarter of what is expected.
HOPELESS_SHARE = 0.25
MEGABYTE = 1_000_000


def check_space(folder: Path, expected_bytes: float) -> None:
    """Warn where room may run out, refuse where it must.

    Raises:
        OutputError: less is free than a quarter of what is expected.
    """
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
