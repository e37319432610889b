"""A folder beside the output that keeps segments of the result, and says which are whole.

    out.mp4.part/
        lock          held while a run works here
        run.json      what the run is (see `identity`)
        000050.json   frames 50 to 99 are whole: written last, after all that it speaks of
        000050.npy    what frame 100 needs of frame 99 (only the last one is kept)
        …             what the sink keeps, segments of a film
        result.mp4    the whole film while it is written; for a folder, result/ with its pictures
        finished      the result is whole and is being moved to its place

A reader that finds a `NNNNNN.json` can rely on everything that it names, whatever killed the
writer. Refuses to know what the sink keeps.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from dreamvideo.errors import OutputError
from dreamvideo.frames import FloatArray, Position
from dreamvideo.work.files import empty, move, synchronize
from dreamvideo.work.identity import Identity

SUFFIX = ".part"
WINDOWS = os.name == "nt"
LOCK, RUN, FINISHED = "lock", "run.json", "finished"


@dataclass(frozen=True)
class Segment:
    """A whole part of the result."""

    first: int
    """Index of its first frame."""
    frames: int
    last_time: str
    """Of its last frame, in seconds, as a fraction."""
    packets: list[list[int]] = field(default_factory=list)
    """Of a film: time and duration of each packet in ticks, in the order of the file."""

    @property
    def name(self) -> str:
        """What its files are called, less the suffix."""
        return f"{self.first:06d}"


class WorkFolder:
    """The work folder of one run, locked."""

    def __init__(self, path: Path, output: Path) -> None:
        """Read what is there. To be made by `open_work` only."""
        self.path = path
        self.output = output
        self.segments = _read_segments(path)

    @property
    def frames_done(self) -> int:
        """How many frames are whole."""
        return sum(segment.frames for segment in self.segments)

    @property
    def position(self) -> Position | None:
        """The last whole frame."""
        if not self.segments:
            return None
        last = self.segments[-1]
        return Position(self.frames_done - 1, Fraction(last.last_time))

    def load_residual(self) -> FloatArray | None:
        """(height, width, 3): what the last whole frame left to the next one, if anything."""
        file = self.path / f"{self.segments[-1].name}.npy" if self.segments else None
        if file is None or not file.exists():
            return None
        residual: FloatArray = np.load(file, allow_pickle=False)
        return residual

    def commit(self, segment: Segment, files: Sequence[Path], residual: FloatArray | None) -> None:
        """Write down that a segment is whole.

        Args:
            segment: follows the last one.
            files: all that it consists of, brought to the disk first.
            residual: (height, width, 3), kept in place of the one before.
        """
        for file in files:
            synchronize(file)
        if residual is not None:
            memory = self.path / f"{segment.name}.npy"
            np.save(memory, residual, allow_pickle=False)
            synchronize(memory)
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
        last = [self.path / name for name in (RUN, FINISHED)]
        for path in self.path.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path not in last and path.name != LOCK:
                path.unlink()
        for path in last:
            path.unlink(missing_ok=True)

    def identify(self, identity: Identity) -> None:
        """Write down what the run is; to go on with what is there, it has to be the same.

        Raises:
            ResumeError: it is not.
        """
        file = self.path / RUN
        if self.segments and file.exists():
            identity.check(json.loads(file.read_text()), self.path)
        else:
            empty(self.path, keep=LOCK)
            self._write(RUN, json.dumps(identity.entries(), indent=1))

    def is_of(self, identity: Identity) -> bool:
        """Whether this is the work of that run, as far as one can tell."""
        file = self.path / RUN
        return not file.exists() or json.loads(file.read_text()) == identity.entries()

    def _write(self, name: str, text: str) -> None:
        """A file that is there whole or not at all."""
        new = self.path / f"{name}.new"
        new.write_text(text)
        synchronize(new)
        new.replace(self.path / name)
        synchronize(self.path)


def work_path(output: Path) -> Path:
    """Where the work folder of an output is."""
    output = output.resolve()  # a link stays a link, to the new file
    return output.with_name(output.name + SUFFIX)


def partial_output(output: Path) -> Path:
    """What an unfinished result is called, when it is asked for."""
    return output.with_name(f"{output.stem}.partial{output.suffix}")


def resumable_frames(output: Path) -> int:
    """How many frames of an unfinished run the same command would not have to make again."""
    return sum(segment.frames for segment in _read_segments(work_path(output)))


def is_finished(output: Path) -> bool:
    """Whether the result of an earlier run only has to be moved to its place."""
    return (work_path(output) / FINISHED).exists()


@contextmanager
def open_work(output: Path, restart: bool) -> Iterator[WorkFolder]:
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
        raise OutputError(
            f"another run is writing {output}; wait for it, or choose another name"
        ) from error
    except OSError as error:
        raise OutputError(
            f"cannot write {output}: {error.strerror}; choose a place that you may write to"
        ) from error
    work = WorkFolder(path, output.resolve())
    try:
        if restart:
            empty(path, keep=LOCK)
            work.segments.clear()
        yield work
    finally:
        if not work.segments and not is_finished(output):
            work.remove()
        if WINDOWS:  # where nobody can remove an open file
            lock.release()
        if [entry.name for entry in path.iterdir()] == [LOCK]:
            (path / LOCK).unlink()
            path.rmdir()
        lock.release()


def _make(path: Path) -> None:
    path.mkdir(exist_ok=True)
    ours = {LOCK, RUN, FINISHED}
    names = {entry.name for entry in path.iterdir()}
    if names and not names & ours:
        raise OutputError(
            f"{path} is in the way: work is kept there until the output is whole, and it holds "
            "files of another origin; move it"
        )


def _read_segments(path: Path) -> list[Segment]:
    """The whole segments, from the first one on without a gap."""
    segments: list[Segment] = []
    done = 0
    while (file := path / f"{done:06d}.json").exists():
        segments.append(Segment(**json.loads(file.read_text())))
        done += segments[-1].frames
    return segments
