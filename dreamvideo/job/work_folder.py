"""The work folder of an output: what a run has finished, kept so that another run can resume it.

It lies beside the output, `out.mp4.part`, and holds the finished segments, what the next frame
needs of the last one, and the identity of the run. Every file in it is complete, whenever the
process was killed.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from dreamvideo.errors import OutputBusyError, OutputError
from dreamvideo.job.identity import RunIdentity
from dreamvideo.job.output_paths import cannot_write
from dreamvideo.media.write.files import (
    check_can_move,
    clear_folder,
    flush_to_disk,
    move_into_place,
)
from dreamvideo.temporal.residual_store import ResidualStore, read_backward_progress
from dreamvideo.temporal.state_files import (
    STATE_SUFFIX,
    load_state,
    save_tensors,
    target_level_as_json,
)
from dreamvideo.types import FramePosition, TemporalState

WORK_SUFFIX = ".part"
LOCK_FILE, IDENTITY_FILE, FINISHED_FILE = "lock", "run.json", "finished"
# All names that the folder may contain; with any other file in it, it belongs to someone else.
OWN_FILES = re.compile(
    r"(lock|run\.json|finished|image|result.*|\d{6,}\.(mkv|json|npz)"
    r"|back\.json|back-\d{6,}\.npy|back-state-\d{6,}\.npz)(\.new)?"
)


@dataclass(frozen=True)
class Segment:
    """A finished part of the result: consecutive frames."""

    first_frame: int
    """Index of its first frame."""
    frame_count: int
    last_time_seconds: str
    """Time of its last frame, as a fraction."""
    packets: list[list[int]] = field(default_factory=list)
    """Of a video: time and duration of each packet in ticks, in the order of the file."""
    target_level: dict[str, Any] | None = None
    """Of the shot of its last frame, as JSON."""

    @property
    def name(self) -> str:
        """The stem of its files' names."""
        return segment_name(self.first_frame)


def segment_name(first_frame: int) -> str:
    """The stem of the names of a segment's files."""
    return f"{first_frame:06d}"


@dataclass(frozen=True)
class ResumePoint:
    """Where a run starts: at the first frame, or after the frames that earlier runs finished."""

    frames_done: int = 0
    last_frame: FramePosition | None = None
    """The last finished frame."""
    state: TemporalState | None = None
    """What that frame's dream left for the next one."""
    residual_store: ResidualStore | None = None
    """Keeps the residuals of a backward pass; None where the run cannot be resumed."""


def work_path(output: Path) -> Path:
    """The work folder of an output."""
    output = output.resolve()  # a link stays a link, to the new file
    return output.with_name(output.name + WORK_SUFFIX)


def partial_output(output: Path) -> Path:
    """The file or folder to which `--keep-partial` writes an unfinished result."""
    output = output.resolve()
    return output.with_name(f"{output.stem}.partial{output.suffix}")


def resumable_frames(output: Path) -> int:
    """How many finished frames of an unfinished run the same command would reuse."""
    return sum(segment.frame_count for segment in read_segments(work_path(output)))


def resumable_backward_frames(output: Path) -> int:
    """How many frames of an unfinished backward pass the same command would reuse."""
    progress = read_backward_progress(work_path(output))
    return 0 if progress is None else progress.frames_done


def is_finished(output: Path) -> bool:
    """Whether a run finished the result, and was killed before everything was in its place."""
    return (work_path(output) / FINISHED_FILE).exists()


def read_segments(path: Path) -> list[Segment]:
    """The finished segments in a work folder, from the first frame on without a gap."""
    segments: list[Segment] = []
    frames_done = 0
    while (file := path / f"{segment_name(frames_done)}.json").exists():
        try:
            segments.append(Segment(**json.loads(file.read_text())))
        except (ValueError, TypeError):  # a damaged file, or one of another program
            break
        frames_done += segments[-1].frame_count
    return segments


class WorkFolder:
    """The work folder of one run, locked. `open_work` creates it."""

    def __init__(self, path: Path, output: Path) -> None:
        """Read the finished work.

        Args:
            path: the work folder.
            output: where the result goes.
        """
        self.path = path
        self.output = output
        self.segments = read_segments(path)
        self.residual_store = ResidualStore(path, self._write_file)

    @property
    def frames_done(self) -> int:
        """How many frames are finished."""
        return sum(segment.frame_count for segment in self.segments)

    @property
    def has_progress(self) -> bool:
        """Whether another run could resume anything."""
        return bool(self.segments) or self.residual_store.progress is not None

    @property
    def result(self) -> Path:
        """Where the finished result is, before it is moved to the output's place."""
        return self.path / f"result{self.output.suffix}"

    def resume_point(self, device: torch.device) -> ResumePoint:
        """Where the next frame continues, with the temporal state on a device."""
        if not self.segments:
            return ResumePoint(residual_store=self.residual_store)
        last = self.segments[-1]
        return ResumePoint(
            self.frames_done,
            FramePosition(self.frames_done - 1, Fraction(last.last_time_seconds)),
            load_state(self._state_file(last), last.target_level, device),
            self.residual_store,
        )

    def commit(
        self, segment: Segment, files: Sequence[Path], state: TemporalState | None = None
    ) -> None:
        """Record that a segment is finished.

        Args:
            segment: the one after the last finished one.
            files: its files; they are flushed to the disk first.
            state: what its last frame leaves for the next one; it replaces the earlier one. None
                after the last frame of all.
        """
        state = state or TemporalState()
        for file in files:
            flush_to_disk(file)
        if state.carried is not None:
            save_tensors(self._state_file(segment), state)
        segment = replace(segment, target_level=target_level_as_json(state.target_level))
        self._write_file(f"{segment.name}.json", json.dumps(asdict(segment)))
        for earlier in self.segments[-1:]:
            self._state_file(earlier).unlink(missing_ok=True)
        self.segments.append(segment)

    def publish(self) -> int:
        """Move the result to the output's place and empty the folder; return the frame count.

        If an earlier call was killed, this one completes it. A folder that already is in the
        output's place keeps its files of other names.

        Raises:
            OutputError: a folder has the name of a file to be moved.
        """
        if not is_finished(self.output):
            check_can_move(self.result, self.output)
            flush_to_disk(self.result)
            self._write_file(FINISHED_FILE, str(self.frames_done))
        frame_count = int((self.path / FINISHED_FILE).read_text())
        if self.result.exists():
            move_into_place(self.result, self.output)
            flush_to_disk(self.output.parent)
        self.remove_files()
        return frame_count

    def remove_files(self) -> None:
        """Empty the folder; the mark of a finished run goes last, and the lock stays."""
        clear_folder(self.path, IDENTITY_FILE, FINISHED_FILE, LOCK_FILE)
        for name in (IDENTITY_FILE, FINISHED_FILE):
            (self.path / name).unlink(missing_ok=True)
        self.segments.clear()

    def clear(self) -> None:
        """Discard an unfinished run."""
        clear_folder(self.path, LOCK_FILE)
        self.segments.clear()

    def start_or_resume(self, identity: RunIdentity) -> None:
        """Start a run in an empty folder, or check that the unfinished run in it is the same.

        Raises:
            ResumeError: it is another run.
        """
        if self.has_progress and self._identity_file.exists():
            identity.check(json.loads(self._identity_file.read_text()), self.path)
        else:
            clear_folder(self.path, LOCK_FILE)
            self._write_file(IDENTITY_FILE, json.dumps(identity.entries(), indent=1))

    def check_belongs_to(self, identity: RunIdentity) -> None:
        """Refuse the finished result of another run.

        Raises:
            ResumeError: it belongs to another run.
        """
        if not self.belongs_to(identity):
            identity.check(json.loads(self._identity_file.read_text()), self.path)

    def belongs_to(self, identity: RunIdentity) -> bool:
        """Whether the finished result is that of a run; also if its identity is removed already."""
        file = self._identity_file  # removed as one of the last
        return not file.exists() or json.loads(file.read_text()) == identity.entries()

    @property
    def _identity_file(self) -> Path:
        return self.path / IDENTITY_FILE

    def _state_file(self, segment: Segment) -> Path:
        return self.path / f"{segment.name}{STATE_SUFFIX}"

    def _write_file(self, name: str, text: str) -> None:
        """Write a file that exists completely or not at all."""
        new = self.path / f"{name}.new"
        new.write_text(text)
        flush_to_disk(new)
        new.replace(self.path / name)
        flush_to_disk(self.path)


@contextmanager
def open_work(output: Path) -> Iterator[WorkFolder]:
    """Create or open the work folder of an output, and lock it.

    At the end an empty folder is removed; one with finished frames stays.

    Raises:
        OutputBusyError: another run has locked it.
        OutputError: it cannot be created, or holds files of other programs.
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
        if error.errno == errno.ENAMETOOLONG:
            raise OutputError(
                f"the name {output.name} is too long for its work folder, which adds {WORK_SUFFIX} "
                f"to its {len(os.fsencode(output.name))} bytes; choose a shorter name"
            ) from error
        raise cannot_write(output, error) from error
    work = WorkFolder(path, output.resolve())
    try:
        yield work
    finally:
        if not work.has_progress and not is_finished(output):
            work.remove_files()
        if os.name == "nt":  # Windows cannot remove an open file
            lock.release()
        if [entry.name for entry in path.iterdir()] == [LOCK_FILE]:
            (path / LOCK_FILE).unlink()
            path.rmdir()
        lock.release()


def _create_folder(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise OutputError(
            f"{path} is a file, and unfinished work is kept in a folder of that name; move it"
        )
    path.mkdir(exist_ok=True)
    for entry in path.iterdir():
        if not OWN_FILES.fullmatch(entry.name):
            raise OutputError(
                f"{path} is needed for unfinished work, but contains {entry.name}, which "
                "dreamvideo did not write; move it"
            )
