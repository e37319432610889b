"""Frames out. One of the rooms that know file formats; refuses to know how frames were made."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol

from dreamvideo.frames import Dreamed, Footage
from dreamvideo.media.kinds import Kind
from dreamvideo.media.opening import Location
from dreamvideo.settings import Settings
from dreamvideo.sinks.beside import check_output, check_place, write_text, written_beside
from dreamvideo.sinks.choice import choose_encoding
from dreamvideo.sinks.folder import FolderSink
from dreamvideo.sinks.segments import SegmentedFilm
from dreamvideo.sinks.sheet import contact_sheet
from dreamvideo.sinks.space import check_space
from dreamvideo.sinks.still import StillSink
from dreamvideo.sinks.stream import StreamedFilm
from dreamvideo.work import WorkFolder

__all__ = [
    "ResumableSink",
    "Sink",
    "check_encoding",
    "check_output",
    "check_place",
    "check_space",
    "contact_sheet",
    "open_resumable",
    "open_still",
    "open_stream",
    "write_text",
]


class Sink(Protocol):
    """Takes frames in the order in which they are shown."""

    def write(self, dreamed: Dreamed) -> None:
        """Add one frame.

        Raises:
            OutputError: it cannot be written, for instance because the disk is full.
        """
        ...


class ResumableSink(Sink, Protocol):
    """Keeps its work in a folder, so that another run can go on with it."""

    def finish(self) -> None:
        """Put the result in its place."""
        ...

    def keep_partial(self, path: Path) -> None:
        """Put what there is under another name.

        Raises:
            OutputError: it cannot be written.
        """
        ...

    def close(self) -> None:
        """Give up what is open."""
        ...


def check_encoding(kind: Kind, output: Path, settings: Settings, footage: Footage) -> None:
    """Refuse settings that do not go with the output.

    Raises:
        SettingsError: the encoder does not go with the film, its quality or its colours.
    """
    if kind is Kind.FILM:
        choose_encoding(output.suffix.lower(), settings, footage)


@contextmanager
def open_resumable(
    work: WorkFolder,
    kind: Kind,
    footage: Footage,
    settings: Settings,
    tracks_from: Location | None,
    names: Sequence[str],
) -> Iterator[ResumableSink]:
    """A film or a folder of pictures, that goes on where the work folder ends.

    Args:
        work: where the work is kept, and what it is to become.
        kind: a film or a folder.
        footage: what is known of the frames.
        settings: how to encode.
        tracks_from: the film whose sound, subtitles and so on are carried over.
        names: of a folder's pictures; none to number them.

    Raises:
        UsageError: the settings do not go with the output.
        OutputError: nothing can be written there.
    """
    if kind is Kind.FOLDER:
        yield FolderSink(work, footage, settings, names)
        return
    with closing(SegmentedFilm(work, footage, settings, tracks_from)) as film:
        yield film


@contextmanager
def open_stream(
    footage: Footage, settings: Settings, tracks_from: Location | None
) -> Iterator[Sink]:
    """Matroska on standard output."""
    with closing(StreamedFilm(sys.stdout.buffer, footage, settings, tracks_from)) as stream:
        yield stream
        stream.finish()


@contextmanager
def open_still(path: Path, settings: Settings, overwrite: bool) -> Iterator[Sink]:
    """A still that appears under `path` only when it is whole.

    Raises:
        OutputExistsError: there is already a file and `overwrite` is false.
        OutputError: nothing can be written there.
    """
    with written_beside(path, overwrite) as part:
        yield StillSink(part, path, settings)
