"""What can be read off a work folder without holding it. Refuses to change anything."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from dreamvideo.errors import OutputBusyError, OutputError
from dreamvideo.job.identity import RunIdentity
from dreamvideo.media.write.files import (
    check_can_move,
    clear_folder,
    flush_to_disk,
    move_into_place,
)
from dreamvideo.temporal.residual_store import (
    FINISHED_FILE,
    LOCK_FILE,
    RUN_FILE,
    ResidualStore,
    read_backward_progress,
)
from dreamvideo.types import FloatArray, FramePosition, TargetLevel

WORK_SUFFIX = ".part"


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
    target_level: dict[str, Any] | None = None
    """How the shot is held in which it ends."""

    @property
    def name(self) -> str:
        """What its files are called, less the suffix."""
        return f"{self.first:06d}"


def work_path(output: Path) -> Path:
    """Where the work folder of an output is."""
    output = output.resolve()  # a link stays a link, to the new file
    return output.with_name(output.name + WORK_SUFFIX)


def partial_output(output: Path) -> Path:
    """What an unfinished result is called, when it is asked for."""
    output = output.resolve()
    return output.with_name(f"{output.stem}.partial{output.suffix}")


def resumable_frames(output: Path) -> int:
    """How many frames of an unfinished run the same command would not have to make again."""
    return sum(segment.frames for segment in read_segments(work_path(output)))


def resumable_backward_frames(output: Path) -> int:
    """How many frames the same command would not have to dream backward again."""
    spilled = read_backward_progress(work_path(output))
    return spilled.frames - spilled.first if spilled else 0


def is_finished(output: Path) -> bool:
    """Whether the result of an earlier run only has to be moved to its place."""
    return (work_path(output) / FINISHED_FILE).exists()


def read_segments(path: Path) -> list[Segment]:
    """The whole segments, from the first one on without a gap."""
    segments: list[Segment] = []
    done = 0
    while (file := path / f"{done:06d}.json").exists():
        try:
            segments.append(Segment(**json.loads(file.read_text())))
        except (ValueError, TypeError):  # not written by us, or by a disk that fails
            break
        done += segments[-1].frames
    return segments


WINDOWS = os.name == "nt"
# All that is ever in the folder; with anything else in it, it is somebody else's.
OWN_FILES = re.compile(
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
        self.residual_store = ResidualStore(path, self._write)

    @property
    def frames_done(self) -> int:
        """How many frames are whole."""
        return sum(segment.frames for segment in self.segments)

    @property
    def has_work(self) -> bool:
        """Whether there is something to go on with."""
        return bool(self.segments) or self.residual_store.state is not None

    @property
    def position(self) -> FramePosition | None:
        """The last whole frame."""
        if not self.segments:
            return None
        last = self.segments[-1]
        return FramePosition(self.frames_done - 1, Fraction(last.last_time))

    def load_carried(self) -> FloatArray | None:
        """(height, width, 3): what the last whole frame left to the next one, if anything."""
        file = self.path / f"{self.segments[-1].name}.npy" if self.segments else None
        if file is None or not file.exists():
            return None
        carried: FloatArray = np.load(file, allow_pickle=False)
        return carried

    def load_hold(self) -> TargetLevel | None:
        """How the shot is held in which the last whole frame is, if it is."""
        values = self.segments[-1].target_level if self.segments else None
        return (
            None if values is None else TargetLevel(**{**values, "gains": tuple(values["gains"])})
        )

    def commit(
        self,
        segment: Segment,
        files: Sequence[Path],
        carried: FloatArray | None,
        target_level: TargetLevel | None = None,
    ) -> None:
        """Write down that a segment is whole.

        Args:
            segment: follows the last one.
            files: all that it consists of, brought to the disk first.
            carried: (height, width, 3), kept in place of the one before.
            hold: how the shot is held in which the segment ends.
        """
        for file in files:
            flush_to_disk(file)
        if carried is not None:
            state = self.path / f"{segment.name}.npy"
            np.save(state, carried, allow_pickle=False)
            flush_to_disk(state)
        segment = replace(
            segment, target_level=None if target_level is None else asdict(target_level)
        )
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
            check_can_move(self.result, self.output)
            flush_to_disk(self.result)
            self._write(FINISHED_FILE, str(self.frames_done))
        frames = int((self.path / FINISHED_FILE).read_text())
        if self.result.exists():
            move_into_place(self.result, self.output)
            flush_to_disk(self.output.parent)
        self.remove()
        return frames

    def remove(self) -> None:
        """Empty the folder; what marks it as finished goes last, but for the lock."""
        clear_folder(self.path, RUN_FILE, FINISHED_FILE, LOCK_FILE)
        for name in (RUN_FILE, FINISHED_FILE):
            (self.path / name).unlink(missing_ok=True)
        self.segments.clear()

    def clear(self) -> None:
        """Throw away what there is."""
        clear_folder(self.path, LOCK_FILE)
        self.segments.clear()

    def identify(self, identity: RunIdentity) -> None:
        """Write down what the run is; to go on with what is there, it has to be the same.

        Raises:
            ResumeError: it is not.
        """
        file = self.path / RUN_FILE
        if self.has_work and file.exists():
            identity.check(json.loads(file.read_text()), self.path)
        else:
            clear_folder(self.path, LOCK_FILE)
            self._write(RUN_FILE, json.dumps(identity.entries(), indent=1))

    def check_finished(self, identity: RunIdentity) -> None:
        """Refuse a finished result that is another run's.

        Raises:
            ResumeError: it is.
        """
        if not self.is_of(identity):
            identity.check(json.loads((self.path / RUN_FILE).read_text()), self.path)

    def is_of(self, identity: RunIdentity) -> bool:
        """Whether this is the work of that run, as far as one can tell."""
        file = self.path / RUN_FILE  # one of the last things that are removed
        return not file.exists() or json.loads(file.read_text()) == identity.entries()

    def _write(self, name: str, text: str) -> None:
        """A file that is there whole or not at all."""
        new = self.path / f"{name}.new"
        new.write_text(text)
        flush_to_disk(new)
        new.replace(self.path / name)
        flush_to_disk(self.path)


@contextmanager
def open_work(output: Path) -> Iterator[WorkFolder]:
    """The work folder of an output, made or found, and locked.

    When the body fails the folder stays if there is something in it to go on with.

    Raises:
        OutputError: it cannot be made, or another run has it.
    """
    path = work_path(output)
    try:
        _create_folder(path)
        lock = FileLock(path / LOCK_FILE)
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
        if [entry.name for entry in path.iterdir()] == [LOCK_FILE]:
            (path / LOCK_FILE).unlink()
            path.rmdir()
        lock.release()


def _create_folder(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path} is in the way: work is kept in a folder of that name; move it")
    path.mkdir(exist_ok=True)
    for entry in path.iterdir():
        if not OWN_FILES.fullmatch(entry.name):
            raise OutputError(
                f"{path} is in the way: work is kept there until the output is whole, and it "
                f"holds something of another origin, {entry.name}; move it"
            )
