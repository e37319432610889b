"""One frame as a still picture. Refuses to know how it was made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np

from dreamvideo.errors import OutputError
from dreamvideo.frames import Frame
from dreamvideo.sinks.pixels import to_eight_bits

JPEG_SUFFIXES = (".jpg", ".jpeg")
ALPHA_SUFFIXES = (".png", ".webp", ".tif", ".tiff")
# Dreams are all fine detail: Pillow's default of 75 with halved chroma blurs it.
LOSSY_OPTIONS: dict[str, dict[str, Any]] = {
    ".jpg": {"quality": 95, "subsampling": 0},
    ".jpeg": {"quality": 95, "subsampling": 0},
    ".webp": {"quality": 95},
}


class StillSink:
    """Writes the frame it is given in the format that its name asks for."""

    def __init__(self, part: Path, path: Path) -> None:
        """Write to the file `part` a picture that will be called `path`."""
        self._part = part
        self._path = path
        self._suffix = path.suffix.lower()

    def write(self, frame: Frame) -> None:
        """See `Sink`."""
        pixels = to_eight_bits(frame.image)
        if frame.alpha is not None and self._suffix in ALPHA_SUFFIXES:
            pixels = np.dstack([pixels, to_eight_bits(frame.alpha)])
        options = LOSSY_OPTIONS.get(self._suffix, {})
        try:
            encoded = iio.imwrite(
                "<bytes>", pixels, extension=self._suffix, plugin="pillow", **options
            )
            self._part.write_bytes(encoded)
        except (OSError, ValueError) as error:
            raise OutputError(
                f"cannot write {self._path}: {error}; make room, or choose another place or format"
            ) from error
