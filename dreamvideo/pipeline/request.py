"""What a run is asked to do: from which sources to which output. Refuses to do it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import cast

from dreamvideo.errors import OutputError, UsageError
from dreamvideo.media.kinds import (
    ANIMATED_SUFFIXES,
    FILM_SUFFIXES,
    STILL_SUFFIXES,
    STREAM_NAME,
    Kind,
    has_suffix,
    input_kind,
    is_address,
    output_kind,
)
from dreamvideo.media.opening import Location
from dreamvideo.media.spool import Spool
from dreamvideo.options import flags_given
from dreamvideo.settings import Settings
from dreamvideo.settings.camera import CameraSettings
from dreamvideo.sinks import check_output
from dreamvideo.sources import pictures_in, stills_in
from dreamvideo.work import resumable_frames

# The longest side of films made of stills, and of films that are files of pictures, which grow
# large: what a chat or a web page shows.
JOURNEY_MOST_PX = 1280
ANIMATED_MOST_PX = 480
# Frames per second of films made of stills. A GIF counts in hundredths of a second, so that 30 a
# second would stumble.
JOURNEY_RATE = 30
# Options that say nothing of a journey, which has no source that moves.
NOT_OF_JOURNEYS = (
    *("--start", "--end", "--every", "--flow", "--persistence", "--passes", "--cuts"),
    *("--mask", "--mix", "--keep-colour", "--evolve"),
)
GIF_RATE = 25


@dataclass(frozen=True)
class Request:
    """Sources and an output that a run can satisfy."""

    sources: tuple[Location, ...]
    """One, or the stills of a journey."""
    source_kind: Kind
    output: Path
    output_kind: Kind
    is_journey: bool
    """Whether a film is made of stills."""

    @property
    def source(self) -> Location:
        """The first, and mostly the only one."""
        return self.sources[0]

    @property
    def stills(self) -> tuple[Location, ...]:
        """Of a journey."""
        if self.source_kind is not Kind.FOLDER:
            return self.sources
        return tuple(Location(str(picture)) for picture in stills_in(Path(self.source.name)))

    @property
    def tracks_from(self) -> Location | None:
        """The film whose sound and so on is carried over."""
        return None if self.is_journey or self.source_kind is Kind.FOLDER else self.source

    @property
    def picture_names(self) -> list[str]:
        """Of a folder's pictures, where they are the frames."""
        if self.is_journey or self.source_kind is not Kind.FOLDER:
            return []
        return [picture.name for picture in pictures_in(Path(self.source.name))]

    @property
    def most_px(self) -> int | None:
        """The longest side, unless the settings say."""
        if self.output_kind is Kind.FILM and has_suffix(self.output, ANIMATED_SUFFIXES):
            return ANIMATED_MOST_PX
        return JOURNEY_MOST_PX if self.is_journey else None

    @property
    def rate(self) -> int:
        """Frames per second of a journey, unless the settings say."""
        return GIF_RATE if has_suffix(self.output, (".gif",)) else JOURNEY_RATE

    def check_partial(self, partial: Path, overwrite: bool) -> None:
        """Refuse to write an unfinished result where something else is.

        Raises:
            OutputError: it is the input.
            OutputExistsError: it is there, and is not to be overwritten.
        """
        # Where there is something to go on with, it is what an earlier run left.
        is_ours = overwrite or resumable_frames(self.output) > 0
        check_output(partial, is_ours, self.output_kind is Kind.FOLDER)
        for source in self.sources:
            check_is_not_input(source.name, str(partial), self.is_journey)


@contextmanager
def understood(inputs: Sequence[str], output: str, settings: Settings) -> Iterator[Request]:
    """The request that the names of inputs and an output make.

    Raises:
        UsageError: no run could satisfy them.
        OutputError: the output is the input itself.
    """
    if not inputs or not all(inputs) or not output:
        raise UsageError(
            "the name of the input or of the output is empty; give two names: INPUT OUTPUT"
        )
    source_kind, result_kind = _kinds(inputs, output, settings)
    is_journey = result_kind is not Kind.STILL and (
        source_kind is Kind.STILL or (source_kind is Kind.FOLDER and settings.zoom is not None)
    )
    for input in inputs:
        check_is_not_input(input, output, is_journey)
    _check_settings(inputs[0], source_kind, result_kind, is_journey, settings)
    if inputs[0] != STREAM_NAME:
        sources = tuple(Location(input, settings.allow_network) for input in inputs)
        yield Request(sources, source_kind, Path(output), result_kind, is_journey)
        return
    # Beside the output, where there is room, and without a name, so that nothing is left of it.
    folder = Path(output).absolute().parent if output != STREAM_NAME else None
    with tempfile.TemporaryFile(dir=folder if folder and folder.is_dir() else None) as store:
        spool = Spool(cast(BufferedIOBase, sys.stdin.buffer), store)
        source = Location("standard input", settings.allow_network, spool)
        yield Request((source,), source_kind, Path(output), result_kind, is_journey)


def _kinds(inputs: Sequence[str], output: str, settings: Settings) -> tuple[Kind, Kind]:
    """What the inputs are and what the output is to be, if the one can become the other."""
    source_kind, result_kind = input_kind(inputs[0]), output_kind(output)
    for input in inputs if len(inputs) > 1 else ():
        if input_kind(input) is not Kind.STILL:
            raise UsageError(
                f"{input} is taken for {input_kind(input).value}, by its name; several inputs are "
                "the stills of a journey, a film or a folder is given alone"
            )
    if result_kind is None:
        raise UsageError(
            f"cannot write {output}: the name has to end in one of {', '.join(FILM_SUFFIXES)} "
            f"for a film, {', '.join(STILL_SUFFIXES)} for a still, / for a folder of pictures"
        )
    is_one_still = source_kind is Kind.STILL and len(inputs) == 1
    moves = flags_given(settings, CameraSettings) or settings.fps is not None
    if has_suffix(output, ANIMATED_SUFFIXES) and not (is_one_still and not moves):
        result_kind = Kind.FILM
    # A film that is not there is told as such, and not by what it could not become.
    is_missing = source_kind is Kind.FILM and not Path(inputs[0]).exists()
    if result_kind is Kind.STILL and not is_one_still and not is_missing:
        raise UsageError(
            f"{' and '.join(inputs)} cannot become {output}, {result_kind.value}, by its name; "
            "a still gives a still, all else gives a film or a folder "
            f"(stills are {', '.join(STILL_SUFFIXES)})"
        )
    return source_kind, result_kind


def _check_settings(
    source_name: str, source_kind: Kind, result_kind: Kind, is_journey: bool, settings: Settings
) -> None:
    pair = f"{source_kind.value} that becomes {result_kind.value}"
    if settings.independent and (is_journey or {source_kind, result_kind} != {Kind.FOLDER}):
        raise UsageError(
            "--independent is for a folder of pictures that becomes a folder of pictures, not for "
            f"{pair}{' through a journey' if is_journey else ''}; leave it out"
        )
    is_read_once = Kind.STREAM in (source_kind, result_kind) or is_address(source_name)
    if settings.passes > 1 and is_read_once:
        raise UsageError(
            f"--passes {settings.passes} is for films and folders on a disk, which are read from "
            f"their end too, and for results that can wait, not for {pair}; leave it out"
        )
    camera = flags_given(settings, CameraSettings)
    if camera and not is_journey:
        hint = ", or add --zoom" if source_kind is Kind.FOLDER else ""
        raise UsageError(
            f"{camera[0]} is for films made of stills, not for {pair}; leave it out{hint}"
        )
    for flag in flags_given(settings, Settings) if is_journey else ():
        if flag in NOT_OF_JOURNEYS:
            raise UsageError(
                f"{flag} is for films and folders of frames, not for {pair} through a journey; "
                "leave it out (--duration says how long a journey is)"
            )


def check_is_not_input(source: str, output: str, is_journey: bool = False) -> None:
    """Refuse an output that is the input, or would replace it.

    Raises:
        OutputError: it would.
    """
    if not Path(source).exists() or not Path(output).exists():
        return
    if Path(source).samefile(output):
        raise OutputError(f"{output} is the input itself; choose another name for the output")
    if is_journey and Path(output).is_dir() and Path(source).absolute().parent.samefile(output):
        raise OutputError(
            f"{output} holds the input itself, {source}, which a frame might replace; choose "
            "another folder for the output"
        )
