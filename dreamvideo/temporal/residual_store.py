"""The residuals of a backward pass, on disk.

The pass goes from the last frame of the video to the first. `back.json` is written last: everything
that it refers to is complete, whenever the process was killed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dreamvideo.errors import OutputError
from dreamvideo.media.write.files import flush_to_disk
from dreamvideo.temporal.state_files import (
    STATE_SUFFIX,
    load_state,
    save_tensors,
    target_level_as_json,
)
from dreamvideo.types import FloatArray, TemporalState

PROGRESS_FILE = "back.json"


@dataclass(frozen=True)
class BackwardProgress:
    """How far a backward pass has come."""

    first_frame: int
    """Index of the earliest frame that it has dreamed; 0 when it is finished."""
    frame_count: int
    """Of the whole video."""
    target_level: dict[str, Any] | None = None
    """Of the shot of that frame, as JSON."""

    @property
    def frames_done(self) -> int:
        """How many frames the pass has dreamed."""
        return self.frame_count - self.first_frame


def read_backward_progress(work_folder: Path) -> BackwardProgress | None:
    """How far the backward pass in a work folder has come; None if nothing of it is complete."""
    try:
        return BackwardProgress(**json.loads((work_folder / PROGRESS_FILE).read_text()))
    except (OSError, ValueError, TypeError):  # no such file, or a damaged one
        return None


class ResidualStore:
    """The residual of each frame at reduced size, and the progress of the pass that writes them."""

    def __init__(self, path: Path, write_file: Callable[[str, str], None]) -> None:
        """Use the files of a work folder; nothing is written before `commit`.

        Args:
            path: the work folder.
            write_file: writes a text file of a name to that folder, atomically.
        """
        self.path = path
        self._write_file = write_file

    @property
    def progress(self) -> BackwardProgress | None:
        """How far the pass has come; None before its first commit."""
        return read_backward_progress(self.path)

    def load(self, frame_index: int) -> FloatArray:
        """The residual (rows, columns, 3) of a frame that the pass has dreamed."""
        residual = np.load(self._residual_file(frame_index), allow_pickle=False)
        full_precision: FloatArray = residual.astype(np.float32)
        return full_precision

    def load_state(self, device: torch.device) -> TemporalState:
        """What the dream of the earliest frame left for the one before it, on a device.

        Empty before the first commit and when the pass is finished.
        """
        progress = self.progress
        if progress is None or progress.first_frame == 0:
            return TemporalState()
        return load_state(self._state_file(progress.first_frame), progress.target_level, device)

    def commit(
        self,
        first_frame: int,
        frame_count: int,
        residuals: Mapping[int, npt.NDArray[np.float16]],
        state: TemporalState,
    ) -> None:
        """Record that the pass has dreamed all frames from the last one back to `first_frame`.

        Args:
            first_frame: the frame that the pass has reached.
            frame_count: of the whole video.
            residuals: (rows, columns, 3) of every frame since the previous commit, by frame index.
            state: what the dream of `first_frame` leaves for the frame before it.

        Raises:
            OutputError: the disk is full.
        """
        earlier = self.progress
        target_level = target_level_as_json(state.target_level)
        progress = BackwardProgress(first_frame, frame_count, target_level)
        try:
            for index, residual in residuals.items():
                file = self._residual_file(index)
                np.save(file, residual, allow_pickle=False)
                flush_to_disk(file)
            if first_frame > 0:
                save_tensors(self._state_file(first_frame), state)
            self._write_file(PROGRESS_FILE, json.dumps(asdict(progress)))
            if earlier is not None:
                self._state_file(earlier.first_frame).unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(
                f"cannot write the residuals of the backward pass to {self.path}: "
                f"{error.strerror}; --passes 2 needs disk space for every frame: free some, choose "
                "another disk, or leave --passes out"
            ) from error

    def _residual_file(self, frame_index: int) -> Path:
        return self.path / f"back-{frame_index:06d}.npy"

    def _state_file(self, frame_index: int) -> Path:
        return self.path / f"back-state-{frame_index:06d}{STATE_SUFFIX}"
