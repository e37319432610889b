"""What a pass over the film leaves to the next one, on the disk. Refuses to know what it is for.

The pass goes from the film's end to its beginning. `back.json` is written last: all that it speaks
of is whole, whatever killed the writer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dreamvideo.errors import OutputError
from dreamvideo.frames import FloatArray, Hold
from dreamvideo.work.files import synchronize
from dreamvideo.work.state import BACK, Spilled, read_spilled


class Spill:
    """Pictures of frames, and how far the pass has come."""

    def __init__(self, path: Path, write: Callable[[str, str], None]) -> None:
        """Args:
        path: the work folder.
        write: makes a file of a name and a text, whole or not at all.
        """
        self.path = path
        self._write = write

    @property
    def state(self) -> Spilled | None:
        """How far the pass has come; None before its first frames are there."""
        return read_spilled(self.path)

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

    def load_hold(self) -> Hold | None:
        """How the shot is held that the pass is in, if it is."""
        state = self.state
        values = None if state is None else state.hold
        return None if values is None else Hold(**{**values, "gains": tuple(values["gains"])})

    def commit(
        self,
        first: int,
        frames: int,
        pictures: Mapping[int, npt.NDArray[np.float16]],
        carried: FloatArray,
        hold: Hold | None,
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
            held = None if hold is None else asdict(hold)
            self._write(BACK, json.dumps(asdict(Spilled(first, frames, held))))
            if earlier is not None:
                self._carried(earlier.first).unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(
                f"cannot write {self.path}: {error.strerror}; a second pass needs room for every "
                "frame: make some, choose another disk, or leave --passes out"
            ) from error

    def _save(self, file: Path, values: npt.NDArray[np.floating]) -> None:
        np.save(file, values, allow_pickle=False)
        synchronize(file)

    def _picture(self, index: int) -> Path:
        return self.path / f"back-{index:06d}.npy"

    def _carried(self, index: int) -> Path:
        return self.path / f"carried-{index:06d}.npy"
