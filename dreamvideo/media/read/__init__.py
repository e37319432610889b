"""Reads videos, images, folders and streams as frames."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol

from dreamvideo.media.formats import MediaKind, input_kind
from dreamvideo.media.opening import Location, check_location
from dreamvideo.media.read.frame_folder import FrameFolderSource
from dreamvideo.media.read.still import StillSource
from dreamvideo.media.read.video import VideoSource
from dreamvideo.settings import Settings
from dreamvideo.types import Frame, FramePosition, VideoInfo


class Source(Protocol):
    """Frames in the order in which they are shown, read as they are asked for."""

    @property
    def info(self) -> VideoInfo:
        """What is known before the first frame."""
        ...

    @property
    def frames_lost(self) -> int:
        """Frames that were broken or missing so far, and left out."""
        ...

    def stop(self) -> None:
        """Let nobody wait for more frames, from whatever thread."""
        ...

    def __iter__(self) -> Iterator[Frame]:
        """The frames, each of the size that `footage` says.

        Raises:
            InputError: the file is damaged.
        """
        ...


@contextmanager
def open_source(
    location: Location,
    settings: Settings,
    resume_at: FramePosition | None = None,
    max_px: int | None = None,
    opened: Source | None = None,
) -> Iterator[Source]:
    """A still, a film or a folder of pictures, by its name.

    Args:
        location: where it is.
        settings: which part of it is wanted, in which size, and its bounds.
        resume_at: a frame that was dreamed already. The first frame is then that one again, whose
            picture the next one's motion refers to.
        most_px: the longest side of films and folders, unless the settings say.
        opened: the same, opened before: what was found out then is not found out again.

    Raises:
        InputError: it is missing, not a picture or film, or not whole.
    """
    kind = input_kind(location.name)
    if isinstance(opened, FrameFolderSource):
        yield opened.again_from(resume_at)
        return
    if kind is MediaKind.FOLDER:
        yield FrameFolderSource(Path(location.name), settings, resume_at, max_px)
        return
    if kind is MediaKind.STILL:
        yield StillSource(location, settings)
        return
    check_location(location)
    found = opened.scan if isinstance(opened, VideoSource) else None
    with closing(VideoSource(location, settings, resume_at, max_px, found)) as source:
        yield source
