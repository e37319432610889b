"""One frame as a still picture. Refuses to know how it was made."""

from __future__ import annotations

from pathlib import Path

from dreamvideo.errors import OutputError
from dreamvideo.frames import Dreamed, Frame
from dreamvideo.settings import Settings
from dreamvideo.sinks.picture_file import encode_picture


class StillSink:
    """Writes the frame it is given in the format that its name asks for."""

    def __init__(self, part: Path, path: Path, settings: Settings) -> None:
        """Write to the file `part` a picture that will be called `path`."""
        self._part = part
        self._path = path
        self._quality = settings.quality

    def write(self, dreamed: Dreamed) -> None:
        """See `Sink`."""
        write_picture(dreamed.frame, self._part, self._path, self._quality)


def write_picture(frame: Frame, file: Path, path: Path, quality: int | None) -> None:
    """Write the picture that will be called `path` to a file.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        file.write_bytes(encode_picture(frame, path.suffix.lower(), quality))
    except (OSError, ValueError) as error:
        raise OutputError(
            f"cannot write {path}: {error}; make room, or choose another place or format"
        ) from error
