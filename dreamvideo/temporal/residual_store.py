"""The residuals of a backward pass, on disk.

The pass goes from the end of the video to its beginning. `back.json` is written last: all that it
names is complete, whatever killed the writer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dreamvideo.errors import OutputError
from dreamvideo.media.write.files import flush_to_disk
from dreamvideo.types import FloatArray, TargetLevel

LOCK_FILE, RUN_FILE, FINISHED_FILE, BACKWARD_FILE = "lock", "run.json", "finished", "back.json"


@dataclass(frozen=True)
class BackwardProgress:
    """How far a pass from the end of the film to its beginning has come."""

    first: int
    """Index of the last frame that it reached."""
    frames: int
    """How many frames the film has."""
    target_level: dict[str, Any] | None = None
    """How the shot is held in which it is."""


def read_backward_progress(path: Path) -> BackwardProgress | None:
    """How far the backward pass has come, if it has."""
    try:
        return BackwardProgress(**json.loads((path / BACKWARD_FILE).read_text()))
    except (OSError, ValueError, TypeError):  # not there; or of a disk that fails
        return None


class ResidualStore:
    """Pictures of frames, and how far the pass has come."""

    def __init__(self, path: Path, write: Callable[[str, str], None]) -> None:
        """Args:
        path: the work folder.
        write: makes a file of a name and a text, whole or not at all.
        """
        self.path = path
        self._write = write

    @property
    def state(self) -> BackwardProgress | None:
        """How far the pass has come; None before its first frames are there."""
        return read_backward_progress(self.path)

    def load(self, index: int) -> FloatArray:
        """(rows, columns, 3): the picture of a frame that the pass has reached."""
        picture: FloatArray = np.load(self._picture(index), allow_pickle=False).astype(np.float32)
        return picture

    def load_carried(self) -> FloatArray | None:
        """(height, width, 3): what the last frame that was reached left, if anything is to come."""
        state = self.state
        if state is None or state.first == 0:
            return None
        carried: FloatArray = np.load(self._carried(state.first), allow_pickle=False)
        return carried

    def load_hold(self) -> TargetLevel | None:
        """How the shot is held that the pass is in, if it is."""
        state = self.state
        values = None if state is None else state.target_level
        return (
            None if values is None else TargetLevel(**{**values, "gains": tuple(values["gains"])})
        )

    def commit(
        self,
        first: int,
        frames: int,
        pictures: Mapping[int, npt.NDArray[np.float16]],
        carried: FloatArray,
        target_level: TargetLevel | None,
    ) -> None:
        """Write down that the pass has come to a frame.

        Args:
            first: the frame.
            frames: how many the film has.
            pictures: (rows, columns, 3) of the frames from there to where it was before.
            carried: (height, width, 3), what the frame leaves to the one before it.
            hold: how its shot is held.

        Raises:
            OutputError: there is no room.
        """
        earlier = self.state
        try:
            for index, picture in pictures.items():
                self._save(self._picture(index), picture)
            if first > 0:
                self._save(self._carried(first), carried)
            held = None if target_level is None else asdict(target_level)
            self._write(BACKWARD_FILE, json.dumps(asdict(BackwardProgress(first, frames, held))))
            if earlier is not None:
                self._carried(earlier.first).unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(
                f"cannot write {self.path}: {error.strerror}; a second pass needs room for every "
                "frame: make some, choose another disk, or leave --passes out"
            ) from error

    def _save(self, file: Path, values: npt.NDArray[np.floating]) -> None:
        np.save(file, values, allow_pickle=False)
        flush_to_disk(file)

    def _picture(self, index: int) -> Path:
        return self.path / f"back-{index:06d}.npy"

    def _carried(self, index: int) -> Path:
        return self.path / f"carried-{index:06d}.npy"
