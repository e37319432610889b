"""Frames as pictures in a folder, whose work outlives a crash.

Refuses to know how they were made.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dreamvideo.errors import UsageError
from dreamvideo.frames import Dreamed, Footage, Memory
from dreamvideo.settings import Settings
from dreamvideo.sinks.encoding import writing_errors
from dreamvideo.sinks.segments import carried_by, segment_length
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
        check_space(work.path, footage, work.frames_done, BYTES_PER_PIXEL)
        work.result.mkdir(exist_ok=True)
        self._files: list[Path] = []

    def write(self, dreamed: Dreamed) -> None:
        """See `Sink`."""
        frame = dreamed.frame
        name = frame.facts.name if frame.facts else f"{frame.index + 1:0{self._digits}d}"
        file = self._work.result / self._renamed(name)
        new = self._work.path / "picture.new"  # so that every picture in the result is whole
        write_picture(frame, new, self._work.output / file.name, self._settings.quality)
        self._files.append(file)
        self._last_time = str(frame.time_seconds)
        with writing_errors(self._work.output):
            new.replace(file)
            if len(self._files) == self._segment_frames:
                self._commit(dreamed.memory)

    def finish(self) -> None:
        """Put the folder in its place."""
        with writing_errors(self._work.output):
            if self._files:
                self._commit(Memory())
            self._work.publish()

    def keep_partial(self, path: Path) -> None:
        """See `ResumableSink`; the pictures are copied, all of which are whole."""
        with writing_errors(path):
            path.mkdir(exist_ok=True)
            for file in self._work.result.iterdir():
                shutil.copyfile(file, path / file.name)

    def close(self) -> None:
        """Nothing is open between two pictures."""

    def _commit(self, memory: Memory) -> None:
        segment = Segment(self._work.frames_done, len(self._files), self._last_time)
        files = [*self._files, self._work.result]
        self._work.commit(segment, files, carried_by(memory), memory.hold)
        self._files = []

    def _renamed(self, name: str) -> str:
        if self._settings.picture_format is not None:
            return f"{Path(name).stem}.{self._settings.picture_format}"
        return name if Path(name).suffix else name + DEFAULT_SUFFIX

    def _check_names(self, names: Sequence[str]) -> None:
        # Some systems do not tell capital letters from small ones.
        counts = Counter(self._renamed(name).casefold() for name in names)
        for name in names:
            if counts[self._renamed(name).casefold()] > 1:
                raise UsageError(
                    f"{counts[self._renamed(name).casefold()]} pictures would be called "
                    f"{self._renamed(name)}, {name} among them; rename them, or leave "
                    "--picture-format out"
                )
