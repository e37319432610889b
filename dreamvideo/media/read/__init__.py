"""Reads videos, images, folders and streams as frames."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol

from dreamvideo.errors import UsageError
from dreamvideo.media.formats import MediaKind
from dreamvideo.media.opening import Location, check_location
from dreamvideo.media.read.contents import contents_of
from dreamvideo.media.read.frame_folder import FrameFolderSource
from dreamvideo.media.read.picture_formats import Reader
from dreamvideo.media.read.still import StillSource
from dreamvideo.media.read.video import VideoSource
from dreamvideo.settings import Settings
from dreamvideo.types import Frame, FramePosition, VideoInfo


class Source(Protocol):
    """Frames in the order in which they are shown, each read when it is asked for."""

    @property
    def info(self) -> VideoInfo:
        """What is known before the first frame."""
        ...

    @property
    def frames_lost(self) -> int:
        """How many frames were broken or missing so far, and left out."""
        ...

    def stop(self) -> None:
        """End the source early; a thread that waits for a frame returns. Thread-safe."""
        ...

    def __iter__(self) -> Iterator[Frame]:
        """The frames, each of the size in `info`.

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
    """The source that a location names: a still image, a video, a stream or a folder of images.

    Args:
        location: what to read.
        settings: which part of it, in which size, and its limits.
        resume_at: a frame that is dreamed already. It becomes the first frame, since the motion of
            the next one refers to it.
        max_px: the longest side of videos and folders, unless the settings give a size.
        opened: a source of the same location and settings, whose scan of the file is used again.

    Raises:
        InputError: it does not exist, is neither an image nor a video, or is incomplete.
        UsageError: reading it needs a package that is not installed, or it has no streams to choose
            from.
    """
    contents = contents_of(location)
    kind = contents.kind
    if location.stream is not None and (
        kind is MediaKind.FOLDER
        or (kind is MediaKind.VIDEO and contents.reader is not Reader.FFMPEG)
    ):
        raise UsageError(
            f"--stream {location.stream} is for videos with several streams, not for "
            f"{location.name}, which has none; leave it out"
        )
    if isinstance(opened, FrameFolderSource):
        yield opened.resumed_at(resume_at)
        return
    if kind is MediaKind.FOLDER:
        yield FrameFolderSource(Path(location.name), settings, resume_at, max_px)
        return
    if kind is MediaKind.STILL:
        yield StillSource(location, settings)
        return
    check_location(location)
    scan = opened.scan if isinstance(opened, VideoSource) else None
    video = VideoSource(location, settings, resume_at, max_px, scan, contents.reader)
    with closing(video) as source:
        yield source
