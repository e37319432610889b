"""Frames in. One of the two rooms that know file formats; refuses to know what frames are for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol

from dreamvideo.errors import InputError
from dreamvideo.frames import Footage, Frame
from dreamvideo.media import is_still
from dreamvideo.sources.still import StillSource
from dreamvideo.sources.video import VideoSource

__all__ = ["Source", "open_source"]


class Source(Protocol):
    """Frames in the order in which they are shown, read as they are asked for."""

    @property
    def footage(self) -> Footage:
        """What is known before the first frame."""
        ...

    def __iter__(self) -> Iterator[Frame]:
        """The frames, each of the size that `footage` says.

        Raises:
            InputError: the file is damaged.
        """
        ...


@contextmanager
def open_source(path: Path, size_px: int | None) -> Iterator[Source]:
    """A still or a film, by its name, scaled to `size_px` on its longest side.

    Raises:
        InputError: the file is missing, not a picture or film, or not whole.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; give one picture or film file")
    if not path.exists():
        raise InputError(f"{path} does not exist; give an existing picture or film file")
    if not path.is_file():
        raise InputError(f"{path} is a pipe or a device; give a file, since it is read twice")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes); give a picture or film file")
    if is_still(path):
        yield StillSource(path, size_px)
        return
    with closing(VideoSource(path, size_px)) as source:
        yield source
