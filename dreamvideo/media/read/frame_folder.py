"""A folder of images as a video, in natural order of their names."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Sequence
from copy import copy
from itertools import pairwise
from pathlib import Path

from dreamvideo.errors import DreamVideoWarning, InputError
from dreamvideo.media.formats import IMAGE_SUFFIXES, has_suffix
from dreamvideo.media.read.conversion import Size, scaled_size
from dreamvideo.media.read.image import read_header, read_image
from dreamvideo.media.read.picture_formats import PICTURE_FORMATS, picture_format
from dreamvideo.media.read.timeline import DEFAULT_RATE, exact_rate, exact_seconds
from dreamvideo.settings import Settings
from dreamvideo.types import Frame, FramePosition, VideoInfo

# Files that operating systems leave in folders; they are not reported.
SYSTEM_FILES = ("thumbs.db", "desktop.ini")
# How many names a warning lists.
MAX_LISTED_NAMES = 3
# How many names one gap in the numbering can have.
MAX_GAP = 10_000
NUMBERS = re.compile(r"(\d+)")


class FrameFolderSource:
    """The images of a folder, each a frame."""

    frames_lost = 0

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        resume_at: FramePosition | None,
        max_px: int | None = None,
    ) -> None:
        """List the folder and read the header of each image.

        Raises:
            InputError: there is no image, or they are not all of one size.
        """
        self._settings = settings
        self._first_index = resume_at.index if resume_at else 0
        self._rate = exact_rate(settings.fps) if settings.fps else DEFAULT_RATE
        paths = images_in(folder)
        start, end = exact_seconds(settings.start) or 0, exact_seconds(settings.end)
        self._paths = [
            path
            for index, path in enumerate(paths)
            if index / self._rate >= start and (end is None or index / self._rate < end)
        ][:: settings.every]
        if not self._paths:
            raise InputError(
                f"{folder} has no image between --start and --end: its {len(paths)} images last "
                f"{float(len(paths) / self._rate):.2f} s at {float(self._rate):g} per second"
            )
        self._sizes = self._read_sizes(max_px)
        _report_oddities(folder, paths)
        first = self._paths[0]
        self.info = VideoInfo(
            *self._sizes[0],
            frame_count=len(self._paths),
            frame_rate=self._rate / settings.every,
            time_base_seconds=1 / self._rate,
            bits=read_header(first, settings.max_pixels).bits,
        )

    def stop(self) -> None:
        """See `Source`; files are read without waiting."""

    def resumed_at(self, resume_at: FramePosition | None) -> FrameFolderSource:
        """The same images from another one on, without reading all headers again."""
        other = copy(self)
        other._first_index = resume_at.index if resume_at else 0
        return other

    def __iter__(self) -> Iterator[Frame]:
        """See `Source`."""
        settings = self._settings
        duration_seconds = settings.every / self._rate
        for index in range(self._first_index, len(self._paths)):
            image, alpha, metadata = read_image(
                self._paths[index], self._sizes[index], settings.max_pixels
            )
            time_seconds = index * duration_seconds
            yield Frame(index, time_seconds, image, alpha, duration_seconds, metadata)

    def _read_sizes(self, max_px: int | None) -> list[Size]:
        """(width, height) in px of each image as it will be."""
        sizes = [read_header(path, self._settings.max_pixels).size for path in self._paths]
        for path, size in zip(self._paths, sizes, strict=True):
            if size != sizes[0] and not self._settings.independent:
                raise InputError(
                    f"{path} has {size[0]}x{size[1]} pixels and {self._paths[0].name} has "
                    f"{sizes[0][0]}x{sizes[0][1]}; all frames of a video have one size: correct "
                    "the folder, or add --independent for images that are not a video"
                )
        return [scaled_size(*size, self._settings.size, max_px) for size in sizes]


def images_in(folder: Path) -> list[Path]:
    """The images of a folder in natural order: frame2 before frame10.

    Raises:
        InputError: the folder contains no image.
    """
    paths = [path for path in folder.iterdir() if _is_image(path)]
    if not paths:
        raise InputError(
            f"{folder} contains no images; give a folder of images, such as "
            f"{', '.join(row.name for row in PICTURE_FORMATS)}"
        )
    return sorted(paths, key=_natural_key)


def stills_in(folder: Path) -> list[Path]:
    """The images of a folder, with a warning about other files in it.

    Raises:
        InputError: the folder contains no image.
    """
    paths = images_in(folder)
    _report_oddities(folder, paths)
    return paths


def _is_image(path: Path) -> bool:
    if path.name.startswith(".") or not path.is_file():
        return False
    # What has an image's suffix and is none is refused when it is read.
    if has_suffix(path, IMAGE_SUFFIXES):
        return True
    return os.access(path, os.R_OK) and picture_format(path) is not None


def _natural_key(path: Path) -> tuple[list[str | int], str]:
    """Numbers by their value, the rest by letters whatever their case."""
    parts = NUMBERS.split(path.name.lower())
    return [int(part) if part.isdecimal() else part for part in parts], path.name


def _report_oddities(folder: Path, paths: Sequence[Path]) -> None:
    """One warning about files that are not images, and gaps in the numbering."""
    other_names = sorted(
        path.name
        for path in folder.iterdir()
        if not _is_image(path)
        and not path.name.startswith(".")
        and path.name.lower() not in SYSTEM_FILES
    )
    remarks = []
    if other_names:
        remarks.append(f"left out, since not an image: {_list_names(other_names)}")
    if missing_names := _gaps(paths):
        remarks.append(f"missing in the numbering: {_list_names(missing_names)}")
    if remarks:
        warnings.warn(f"{folder}: {'; '.join(remarks)}", DreamVideoWarning, stacklevel=2)


def _list_names(names: Sequence[str]) -> str:
    listed = ", ".join(names[:MAX_LISTED_NAMES])
    return listed if len(names) <= MAX_LISTED_NAMES else f"{listed} … ({len(names)} in all)"


def _gaps(paths: Sequence[Path]) -> list[str]:
    """Names of the numbers that are missing between two neighbours of one numbering."""
    names: list[str] = []
    for path, next_path in pairwise(paths):
        # Letters and numbers in turn; the last number is the second to last part.
        parts, next_parts = NUMBERS.split(path.name), NUMBERS.split(next_path.name)
        if len(parts) != len(next_parts) or len(parts) < 3 or parts[:-2] != next_parts[:-2]:
            continue
        if parts[-1] == next_parts[-1]:
            width = len(parts[-2]) if parts[-2].startswith("0") else 0
            number, next_number = int(parts[-2]), int(next_parts[-2])
            for missing in range(number + 1, min(next_number, number + MAX_GAP)):
                names.append("".join([*parts[:-2], f"{missing:0{width}d}", parts[-1]]))
    return names
