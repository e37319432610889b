"""A folder beside the output that keeps segments of the result, and says which are whole.

    out.mp4.part/
        lock          held while a run works here
        run.json      what the run is (see `identity`)
        000050.json   frames 50 to 99 are whole: written last, after all that it speaks of
        000050.npy    what frame 100 needs of frame 99 (only the last one is kept)
        back.json     of a second pass: it has come to this frame, from the end
        back-000050.npy     what it dreamed of frame 50, see `spill`
        carried-000032.npy  what frame 31 needs of frame 32 (only the last one is kept)
        …             what the sink keeps, segments of a film
        result.mp4    the whole film while it is written; for a folder, result/ with its pictures
        finished      the result is whole and is being moved to its place

A reader that finds a `NNNNNN.json` can rely on everything that it names, whatever killed the
writer. Refuses to know what the sink keeps.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from dreamvideo.errors import OutputBusyError, OutputError
from dreamvideo.frames import FloatArray, Hold, Position
from dreamvideo.work.files import check_move, empty, move, synchronize
from dreamvideo.work.identity import Identity
from dreamvideo.work.spill import Spill
from dreamvideo.work.state import (
    FINISHED,
    LOCK,
    RUN,
    Segment,
    is_finished,
    read_segments,
    work_path,
)

WINDOWS = os.name == "nt"
# All that is ever in the folder; with anything else in it, it is somebody else's.
OURS = re.compile(
    r"(lock|run\.json|finished|picture|result.*|\d{6,}\.(mkv|json|npy)"
    r"|back\.json|(back|carried)-\d{6,}\.npy)(\.new)?"
)


class WorkFolder:
    """The work folder of one run, locked."""

    def __init__(self, path: Path, output: Path) -> None:
        """Read what is there. To be made by `open_work` only."""
        self.path = path
        self.output = output
        self.segments = read_segments(path)
        self.spill = Spill(path, self._write)

    @property
    def frames_done(self) -> int:
        """How many frames are whole."""
        return sum(segment.frames for segment in self.segments)

    @property
    def has_work(self) -> bool:
        """Whether there is something to go on with."""
        return bool(self.segments) or self.spill.state is not None

    @property
    def position(self) -> Position | None:
        """The last whole frame."""
        if not self.segments:
            return None
        last = self.segments[-1]
        return Position(self.frames_done - 1, Fraction(last.last_time))

    def load_carried(self) -> FloatArray | None:
        """(height, width, 3): what the last whole frame left to the next one, if anything."""
        file = self.path / f"{self.segments[-1].name}.npy" if self.segments else None
        if file is None or not file.exists():
            return None
        carried: FloatArray = np.load(file, allow_pickle=False)
        return carried

    def load_hold(self) -> Hold | None:
        """How the shot is held in which the last whole frame is, if it is."""
        values = self.segments[-1].hold if self.segments else None
        return None if values is None else Hold(**{**values, "gains": tuple(values["gains"])})

    def commit(
        self,
        segment: Segment,
        files: Sequence[Path],
        carried: FloatArray | None,
        hold: Hold | None = None,
    ) -> None:
        """Write down that a segment is whole.

        Args:
            segment: follows the last one.
            files: all that it consists of, brought to the disk first.
            carried: (height, width, 3), kept in place of the one before.
            hold: how the shot is held in which the segment ends.
        """
        for file in files:
            synchronize(file)
        if carried is not None:
            memory = self.path / f"{segment.name}.npy"
            np.save(memory, carried, allow_pickle=False)
            synchronize(memory)
        segment = replace(segment, hold=None if hold is None else asdict(hold))
        self._write(f"{segment.name}.json", json.dumps(asdict(segment)))
        for earlier in self.segments[-1:]:
            (self.path / f"{earlier.name}.npy").unlink(missing_ok=True)
        self.segments.append(segment)

    @property
    def result(self) -> Path:
        """Where the sink puts what is to be moved to the output's place."""
        return self.path / f"result{self.output.suffix}"

    def publish(self) -> int:
        """Move the result to its place and empty the folder; goes on where it was killed.

        A folder that is there already keeps what has other names. Returns the number of frames.
        """
        if not is_finished(self.output):
            check_move(self.result, self.output)
            synchronize(self.result)
            self._write(FINISHED, str(self.frames_done))
        frames = int((self.path / FINISHED).read_text())
        if self.result.exists():
            move(self.result, self.output)
            synchronize(self.output.parent)
        self.remove()
        return frames

    def remove(self) -> None:
        """Empty the folder; what marks it as finished goes last, but for the lock."""
        empty(self.path, RUN, FINISHED, LOCK)
        for name in (RUN, FINISHED):
            (self.path / name).unlink(missing_ok=True)
        self.segments.clear()

    def clear(self) -> None:
        """Throw away what there is."""
        empty(self.path, LOCK)
        self.segments.clear()

    def identify(self, identity: Identity) -> None:
        """Write down what the run is; to go on with what is there, it has to be the same.

        Raises:
            ResumeError: it is not.
        """
        file = self.path / RUN
        if self.has_work and file.exists():
            identity.check(json.loads(file.read_text()), self.path)
        else:
            empty(self.path, LOCK)
            self._write(RUN, json.dumps(identity.entries(), indent=1))

    def check_finished(self, identity: Identity) -> None:
        """Refuse a finished result that is another run's.

        Raises:
            ResumeError: it is.
        """
        if not self.is_of(identity):
            identity.check(json.loads((self.path / RUN).read_text()), self.path)

    def is_of(self, identity: Identity) -> bool:
        """Whether this is the work of that run, as far as one can tell."""
        file = self.path / RUN  # one of the last things that are removed
        return not file.exists() or json.loads(file.read_text()) == identity.entries()

    def _write(self, name: str, text: str) -> None:
        """A file that is there whole or not at all."""
        new = self.path / f"{name}.new"
        new.write_text(text)
        synchronize(new)
        new.replace(self.path / name)
        synchronize(self.path)


@contextmanager
def open_work(output: Path) -> Iterator[WorkFolder]:
    """The work folder of an output, made or found, and locked.

    When the body fails the folder stays if there is something in it to go on with.

    Raises:
        OutputError: it cannot be made, or another run has it.
    """
    path = work_path(output)
    try:
        _make(path)
        lock = FileLock(path / LOCK)
        lock.acquire(blocking=False)
    except Timeout as error:
        raise OutputBusyError(
            f"another run is writing {output}; wait for it, or choose another name"
        ) from error
    except OSError as error:
        raise OutputError(
            f"cannot write {output}: {error.strerror}; choose a place that you may write to"
        ) from error
    work = WorkFolder(path, output.resolve())
    try:
        yield work
    finally:
        if not work.has_work and not is_finished(output):
            work.remove()
        if WINDOWS:  # where nobody can remove an open file
            lock.release()
        if [entry.name for entry in path.iterdir()] == [LOCK]:
            (path / LOCK).unlink()
            path.rmdir()
        lock.release()


def _make(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path} is in the way: work is kept in a folder of that name; move it")
    path.mkdir(exist_ok=True)
    for entry in path.iterdir():
        if not OURS.fullmatch(entry.name):
            raise OutputError(
                f"{path} is in the way: work is kept there until the output is whole, and it "
                f"holds something of another origin, {entry.name}; move it"
            )
