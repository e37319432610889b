"""What a run is asked to do: from which source to which output. Refuses to do it."""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from io import BufferedIOBase
from pathlib import Path
from typing import cast

from dreamvideo.errors import OutputError, UsageError
from dreamvideo.media.kinds import (
    FILM_SUFFIXES,
    STILL_SUFFIXES,
    STREAM_NAME,
    Kind,
    input_kind,
    output_kind,
)
from dreamvideo.media.opening import Location, check_location
from dreamvideo.media.spool import Spool
from dreamvideo.settings import Settings
from dreamvideo.sinks import check_output
from dreamvideo.sources import pictures_in
from dreamvideo.work import Identity, fingerprint, resumable_frames

# The libraries that decide about the frames.
LIBRARIES = ("dreamvideo", "torch", "av", "opencv-python-headless")
# What tells one stream from another, since it cannot be read in advance; not so much that a slow
# one would have to be waited for.
STREAM_SAMPLE_BYTES = 1 << 16


@dataclass(frozen=True)
class Request:
    """A pair of source and output that a run can satisfy."""

    source: Location
    source_kind: Kind
    output: Path
    output_kind: Kind

    @property
    def tracks_from(self) -> Location | None:
        """The film whose sound and so on is carried over."""
        return None if self.source_kind is Kind.FOLDER else self.source

    @property
    def picture_names(self) -> list[str]:
        """Of a folder's pictures."""
        if self.source_kind is not Kind.FOLDER:
            return []
        return [picture.name for picture in pictures_in(Path(self.source.name))]

    def check_partial(self, partial: Path, overwrite: bool) -> None:
        """Refuse to write an unfinished result where something else is.

        Raises:
            OutputError: it is the input.
            OutputExistsError: it is there, and is not to be overwritten.
        """
        # Where there is something to go on with, it is what an earlier run left.
        is_ours = overwrite or resumable_frames(self.output) > 0
        check_output(partial, is_ours, self.output_kind is Kind.FOLDER)
        _check_is_not_input(self.source.name, str(partial))

    def identity(self, settings: Settings, device: str) -> Identity:
        """What has to be the same for another run to go on with this one."""
        return Identity(
            ", ".join(f"{name} {version(name)}" for name in LIBRARIES),
            device,
            self._fingerprint(),
            settings,
        )

    def _fingerprint(self) -> str:
        if self.source_kind is Kind.FOLDER:
            return fingerprint(pictures_in(Path(self.source.name)))
        if self.source.spool is not None:
            sample = self.source.spool.beginning(STREAM_SAMPLE_BYTES)
            return f"a stream ({hashlib.blake2b(sample, digest_size=12).hexdigest()})"
        check_location(self.source)
        return fingerprint([Path(self.source.name)]) if self.source.is_file else self.source.name


@contextmanager
def understood(input: str, output: str, settings: Settings) -> Iterator[Request]:
    """The request that two names make.

    Raises:
        UsageError: no run could satisfy the pair.
        OutputError: the output is the input itself.
    """
    if not input or not output:
        raise UsageError(
            "the name of the input or of the output is empty; give two names: INPUT OUTPUT"
        )
    source_kind, result_kind = input_kind(input), output_kind(output)
    if result_kind is None:
        raise UsageError(
            f"cannot write {output}: the name has to end in one of {', '.join(FILM_SUFFIXES)} "
            f"for a film, {', '.join(STILL_SUFFIXES)} for a still, / for a folder of pictures"
        )
    _check_pair(input, source_kind, output, result_kind, settings)
    if input != STREAM_NAME:
        source = Location(input, settings.allow_network)
        yield Request(source, source_kind, Path(output), result_kind)
        return
    # Beside the output, where there is room, and without a name, so that nothing is left of it.
    folder = Path(output).absolute().parent if output != STREAM_NAME else None
    with tempfile.TemporaryFile(dir=folder if folder and folder.is_dir() else None) as store:
        spool = Spool(cast(BufferedIOBase, sys.stdin.buffer), store)
        source = Location("standard input", settings.allow_network, spool)
        yield Request(source, source_kind, Path(output), result_kind)


def _check_pair(
    input: str, source_kind: Kind, output: str, result_kind: Kind, settings: Settings
) -> None:
    _check_is_not_input(input, output)
    if (source_kind is Kind.STILL) != (result_kind is Kind.STILL) and (
        source_kind is not Kind.FILM or Path(input).exists()
    ):
        raise UsageError(
            f"{input} is taken for {source_kind.value} and {output} for {result_kind.value}, by "
            "their names; a still gives a still, and a film or a folder of pictures a film or a "
            f"folder (stills are {', '.join(STILL_SUFFIXES)})"
        )
    if settings.independent and {source_kind, result_kind} != {Kind.FOLDER}:
        raise UsageError(
            "--independent is for a folder of pictures that becomes a folder of pictures, not for "
            f"{source_kind.value} that becomes {result_kind.value}; leave it out"
        )


def _check_is_not_input(source: str, output: str) -> None:
    if Path(source).exists() and Path(output).exists() and Path(source).samefile(output):
        raise OutputError(f"{output} is the input itself; choose another name for the output")
