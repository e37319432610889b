"""A folder of pictures as a film, in the order that people number them.

Refuses to know what becomes of it.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from copy import copy
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from dreamvideo.errors import DreamVideoWarning, InputError
from dreamvideo.media.formats import STILL_SUFFIXES, has_suffix
from dreamvideo.media.read.conversion import Size, scaled_size
from dreamvideo.media.read.image import bits_in_file, read_header, read_image, upright_size
from dreamvideo.media.read.timeline import exact_rate, exact_seconds
from dreamvideo.settings import Settings
from dreamvideo.types import Frame, FramePosition, VideoInfo

# What FFmpeg, too, takes pictures without a clock for.
DEFAULT_RATE = Fraction(25)
# Files that systems leave in folders, of which nobody wants to hear.
SYSTEM_FILES = ("thumbs.db", "desktop.ini")
# Of what is not as expected, so many are named.
MAX_LISTED_NAMES = 3
NUMBERS = re.compile(r"(\d+)")


class FrameFolderSource:
    """The pictures of a folder, each a frame."""

    frames_lost = 0

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        resume_at: FramePosition | None,
        max_px: int | None = None,
    ) -> None:
        """Look at the folder and at the head of each picture.

        Raises:
            InputError: there is no picture, or they are not all of one size.
        """
        self._settings = settings
        self._first_index = resume_at.index if resume_at else 0
        self._rate = exact_rate(settings.fps) if settings.fps else DEFAULT_RATE
        pictures = images_in(folder)
        start, end = exact_seconds(settings.start) or 0, exact_seconds(settings.end)
        self._pictures = [
            picture
            for index, picture in enumerate(pictures)
            if index / self._rate >= start and (end is None or index / self._rate < end)
        ][:: settings.every]
        if not self._pictures:
            raise InputError(
                f"{folder} has no picture between --start and --end: its {len(pictures)} pictures "
                f"last {float(len(pictures) / self._rate):.2f} s at {float(self._rate):g} a second"
            )
        self._sizes = self._sizes_of_all(max_px)
        _report(folder, pictures)
        first = self._pictures[0]
        self.info = VideoInfo(
            *self._sizes[0],
            frame_count=len(self._pictures),
            frame_rate=self._rate / settings.every,
            time_base_seconds=1 / self._rate,
            bits=bits_in_file(first, read_header(first, settings.max_pixels)),
        )

    def stop(self) -> None:
        """See `Source`; reading a file waits for nobody."""

    def again_from(self, resume_at: FramePosition | None) -> FrameFolderSource:
        """The same pictures from another one on, without another look at all of them."""
        again = copy(self)
        again._first_index = resume_at.index if resume_at else 0
        return again

    def __iter__(self) -> Iterator[Frame]:
        """See `Source`."""
        settings = self._settings
        duration_seconds = settings.every / self._rate
        for index in range(self._first_index, len(self._pictures)):
            image, alpha, metadata = read_image(
                self._pictures[index], self._sizes[index], settings.max_pixels
            )
            time_seconds = index * duration_seconds
            yield Frame(index, time_seconds, image, alpha, duration_seconds, metadata)

    def _sizes_of_all(self, max_px: int | None) -> list[Size]:
        """(width, height) of each picture as it will be."""
        sizes = [
            upright_size(read_header(picture, self._settings.max_pixels))
            for picture in self._pictures
        ]
        for picture, size in zip(self._pictures, sizes, strict=True):
            if size != sizes[0] and not self._settings.independent:
                raise InputError(
                    f"{picture} has {size[0]}x{size[1]} pixels and {self._pictures[0].name} has "
                    f"{sizes[0][0]}x{sizes[0][1]}; the frames of a film have one size: mend the "
                    "folder, or add --independent for pictures that are no film"
                )
        return [scaled_size(*size, self._settings.size, max_px) for size in sizes]


def images_in(folder: Path) -> list[Path]:
    """The pictures of a folder in natural order: frame2 before frame10.

    Raises:
        InputError: there are none.
    """
    pictures = [path for path in folder.iterdir() if _is_image(path)]
    if not pictures:
        raise InputError(
            f"{folder} holds no pictures; give a folder of {', '.join(STILL_SUFFIXES)} files"
        )
    return sorted(pictures, key=_natural_key)


def stills_in(folder: Path) -> list[Path]:
    """The pictures of a folder, with a note of what else is in it.

    Raises:
        InputError: there are none.
    """
    pictures = images_in(folder)
    _report(folder, pictures)
    return pictures


def _is_image(path: Path) -> bool:
    return has_suffix(path, STILL_SUFFIXES) and path.is_file() and not path.name.startswith(".")


def _natural_key(path: Path) -> tuple[list[str | int], str]:
    """Numbers by their value, the rest by letters whatever their case."""
    parts = NUMBERS.split(path.name.lower())
    return [int(part) if part.isdecimal() else part for part in parts], path.name


def _report(folder: Path, pictures: Sequence[Path]) -> None:
    """One line about what is not as expected."""
    strangers = sorted(
        path.name
        for path in folder.iterdir()
        if not _is_image(path)
        and not path.name.startswith(".")
        and path.name.lower() not in SYSTEM_FILES
    )
    remarks = []
    if strangers:
        remarks.append(f"left out, since not a picture: {_list_names(strangers)}")
    if gaps := _gaps(pictures):
        remarks.append(f"missing in the numbering: {_list_names(gaps)}")
    if remarks:
        warnings.warn(f"{folder}: {'; '.join(remarks)}", DreamVideoWarning, stacklevel=2)


def _list_names(names: Sequence[str]) -> str:
    some = ", ".join(names[:MAX_LISTED_NAMES])
    return some if len(names) <= MAX_LISTED_NAMES else f"{some} … ({len(names)} in all)"


def _gaps(pictures: Sequence[Path]) -> list[str]:
    """Names of the numbers that are left out between two neighbours of one numbering."""
    gaps: list[str] = []
    for one, other in pairwise(pictures):
        before, after = NUMBERS.split(one.name), NUMBERS.split(other.name)
        if len(before) != len(after) or len(before) < 3 or before[:-2] != after[:-2]:
            continue
        if before[-1] == after[-1]:
            width = len(before[-2]) if before[-2].startswith("0") else 0
            for number in range(int(before[-2]) + 1, min(int(after[-2]), int(before[-2]) + 10_000)):
                gaps.append("".join([*before[:-2], f"{number:0{width}d}", before[-1]]))
    return gaps
