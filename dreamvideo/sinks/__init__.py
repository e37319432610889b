"""Frames out. One of the two rooms that know file formats; refuses to know how frames were made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol

from dreamvideo.frames import Footage, Frame
from dreamvideo.media import is_still
from dreamvideo.settings import Settings
from dreamvideo.sinks.beside import check_output, written_beside
from dreamvideo.sinks.still import StillSink
from dreamvideo.sinks.video import VideoSink

__all__ = ["Sink", "check_output", "open_sink"]


class Sink(Protocol):
    """Takes frames in the order in which they are shown."""

    def write(self, frame: Frame) -> None:
        """Add one frame.

        Raises:
            OutputError: it cannot be written, for instance because the disk is full.
        """
        ...


@contextmanager
def open_sink(path: Path, footage: Footage, settings: Settings, overwrite: bool) -> Iterator[Sink]:
    """A still or a film, by its name, that appears under `path` only when it is whole.

    Raises:
        OutputExistsError: there is already a file and `overwrite` is false.
        OutputError: nothing can be written there.
    """
    with written_beside(path, overwrite) as part:
        if is_still(path):
            yield StillSink(part, path)
        else:
            with closing(VideoSink(part, path, footage, settings)) as sink:
                yield sink
                sink.finish()
