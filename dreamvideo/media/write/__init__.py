"""Writes frames as videos, images and streams."""

from __future__ import annotations

from typing import Protocol

from dreamvideo.types import DreamedFrame


class FrameWriter(Protocol):
    """Takes frames in the order in which they are shown."""

    def write(self, dreamed: DreamedFrame) -> None:
        """Add one frame.

        Raises:
            OutputError: it cannot be written, for instance because the disk is full.
        """
        ...
