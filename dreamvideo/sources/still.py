"""A still picture as a film of one frame. Refuses to know what becomes of it."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from dreamvideo.frames import Footage, Frame
from dreamvideo.settings import Settings
from dreamvideo.sources.picture_file import read_picture


class StillSource:
    """One picture, upright, in RGB and, where it has it, alpha."""

    frames_lost = 0

    def __init__(self, path: Path, settings: Settings) -> None:
        """Read the picture.

        Raises:
            InputError: the file is not a picture that can be read.
        """
        image, alpha, facts = read_picture(path, settings.size, settings.max_pixels)
        self._frame = Frame(0, Fraction(0), image, alpha=alpha, facts=facts)
        self.footage = Footage(width_px=image.shape[1], height_px=image.shape[0], bits=facts.bits)

    def stop(self) -> None:
        """See `Source`; reading a file waits for nobody."""

    def __iter__(self) -> Iterator[Frame]:
        """The one frame."""
        yield self._frame
