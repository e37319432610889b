"""What can be read off a work folder without holding it. Refuses to change anything."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SUFFIX = ".part"
LOCK, RUN, FINISHED, BACK = "lock", "run.json", "finished", "back.json"


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
    hold: dict[str, Any] | None = None
    """How the shot is held in which it ends."""

    @property
    def name(self) -> str:
        """What its files are called, less the suffix."""
        return f"{self.first:06d}"


@dataclass(frozen=True)
class Spilled:
    """How far a pass from the end of the film to its beginning has come."""

    first: int
    """Index of the last frame that it reached."""
    frames: int
    """How many frames the film has."""
    hold: dict[str, Any] | None = None
    """How the shot is held in which it is."""


def work_path(output: Path) -> Path:
    """Where the work folder of an output is."""
    output = output.resolve()  # a link stays a link, to the new file
    return output.with_name(output.name + SUFFIX)


def partial_output(output: Path) -> Path:
    """What an unfinished result is called, when it is asked for."""
    output = output.resolve()
    return output.with_name(f"{output.stem}.partial{output.suffix}")


def resumable_frames(output: Path) -> int:
    """How many frames of an unfinished run the same command would not have to make again."""
    return sum(segment.frames for segment in read_segments(work_path(output)))


def resumable_back_frames(output: Path) -> int:
    """How many frames the same command would not have to dream backward again."""
    spilled = read_spilled(work_path(output))
    return spilled.frames - spilled.first if spilled else 0


def is_finished(output: Path) -> bool:
    """Whether the result of an earlier run only has to be moved to its place."""
    return (work_path(output) / FINISHED).exists()


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


def read_spilled(path: Path) -> Spilled | None:
    """How far the backward pass has come, if it has."""
    try:
        return Spilled(**json.loads((path / BACK).read_text()))
    except (OSError, ValueError, TypeError):  # not there; or of a disk that fails
        return None
