"""Frames as pictures in a folder, whose work outlives a crash.

Refuses to know how they were made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dreamvideo.errors import UsageError
from dreamvideo.frames import Dreamed, Footage, Memory
from dreamvideo.settings import Settings
from dreamvideo.sinks.segments import residual_of, segment_length
from dreamvideo.sinks.space import check_space
from dreamvideo.sinks.still import write_picture
from dreamvideo.work import Segment, WorkFolder

DEFAULT_SUFFIX = ".png"
FEWEST_DIGITS = 6
# Of a dream in PNG, measured on the sample; other formats need less.
BYTES_PER_PIXEL = 2.0


class FolderSink:
    """Writes each frame as a picture, under the name that its source had, or numbered."""

    def __init__(
        self, work: WorkFolder, footage: Footage, settings: Settings, names: Sequence[str]
    ) -> None:
        """Go on where the work folder ends.

        Args:
            work: keeps the pictures until all are there.
            footage: what is known of the frames.
            settings: the pictures' format and quality.
            names: of the source's pictures; none to number them.

        Raises:
            UsageError: two pictures would have the same name.
            OutputError: there is no room.
        """
        self._work = work
        self._settings = settings
        self._segment_frames = segment_length(footage, settings)
        self._digits = max(FEWEST_DIGITS, len(str(footage.frame_count or 0)))
        self._check_names(names)
        frames = max(0, (footage.frame_count or 0) - work.frames_done)
        check_space(work.path, frames * footage.width_px * footage.height_px * BYTES_PER_PIXEL)
        work.result.mkdir(exist_ok=True)
        self._files: list[Path] = []

    def write(self, dreamed: Dreamed) -> None:
        """See `Sink`."""
        frame = dreamed.frame
        name = frame.facts.name if frame.facts else f"{frame.index + 1:0{self._digits}d}"
        file = self._work.result / self._renamed(name)
        new = self._work.path / "picture.new"  # so that every picture in the result is whole
        write_picture(frame, new, self._work.output / file.name, self._settings.quality)
        new.replace(file)
        self._files.append(file)
        self._last_time = str(frame.time_seconds)
        if len(self._files) == self._segment_frames:
            self._commit(dreamed.memory)

    def finish(self) -> None:
        """Put the folder in its place."""
        if self._files:
            self._commit(Memory())
        self._work.publish()

    def keep_partial(self, path: Path) -> int:
        """Copy the whole pictures to a folder of their own; returns their number."""
        path.mkdir(exist_ok=True)
        pictures = sorted(self._work.result.iterdir())
        for file in pictures:
            (path / file.name).write_bytes(file.read_bytes())
        return len(pictures)

    def close(self) -> None:
        """Nothing is open between two pictures."""

    def _commit(self, memory: Memory) -> None:
        segment = Segment(self._work.frames_done, len(self._files), self._last_time)
        self._work.commit(segment, [*self._files, self._work.result], residual_of(memory))
        self._files = []

    def _renamed(self, name: str) -> str:
        if self._settings.picture_format is not None:
            return f"{Path(name).stem}.{self._settings.picture_format}"
        return name if Path(name).suffix else name + DEFAULT_SUFFIX

    def _check_names(self, names: Sequence[str]) -> None:
        counts = Counter(self._renamed(name) for name in names)
        for name in names:
            if counts[self._renamed(name)] > 1:
                raise UsageError(
                    f"{counts[self._renamed(name)]} pictures would be called "
                    f"{self._renamed(name)}, {name} among them; rename them, or leave "
                    "--picture-format out"
                )
