"""The two kinds of job: a clip, whose frames are dreamed, and a zoom into still images.

`open_job` chooses between them. To the rest of a run they are the same: a source that has been
opened, and a method that dreams all its frames.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Protocol

import torch

from dreamvideo.errors import DreamVideoWarning
from dreamvideo.job.image import load_dreamer
from dreamvideo.job.request import Request
from dreamvideo.job.work_folder import ResumePoint
from dreamvideo.media.formats import MediaKind
from dreamvideo.media.read import Source, open_source
from dreamvideo.media.read.masks import Masks, open_masks
from dreamvideo.media.read.still import StillImages
from dreamvideo.media.write import FrameWriter
from dreamvideo.motion.flow import open_flow, single_threaded_opencv
from dreamvideo.settings import Settings
from dreamvideo.temporal.backward import as_second_pass, dream_backward
from dreamvideo.temporal.video import dream_video_frames
from dreamvideo.types import FramePosition, ProgressCallback, VideoInfo
from dreamvideo.zoom.zoom import dream_zoom


class Job(Protocol):
    """A source, opened where the run starts, and the way its frames are dreamed."""

    @property
    def info(self) -> VideoInfo:
        """Size, length and timing of the frames."""
        ...

    @property
    def frames_lost(self) -> int:
        """Frames of the source that were broken or missing so far, and left out."""
        ...

    def check(self) -> None:
        """Load everything that the settings name, and forget it again.

        An unfinished run is discarded only after this: then the new one can start.

        Raises:
            UsageError: there is no such network, layer, channel or class.
            WeightsError: the network's weights are missing or do not fit.
            InputError: the guide or the mask cannot be read.
        """
        ...

    def dream(self, writer: FrameWriter, on_progress: ProgressCallback | None) -> int:
        """Dream all remaining frames into `writer`; return the frame count of the whole result.

        Raises:
            UsageError, WeightsError, InputError: as in `check`.
            InputError: the source is damaged.
            OutputError: a frame cannot be written.
        """
        ...


@contextmanager
def open_job(
    request: Request, settings: Settings, device: torch.device, resume: ResumePoint
) -> Iterator[Job]:
    """Open the sources of a request.

    Args:
        request: the sources, and whether they are zoomed into.
        settings: how to dream.
        device: where to compute.
        resume: where to start.

    Raises:
        InputError: a source is missing, damaged or of an unknown format.
    """
    if request.is_zoom:
        yield ZoomJob(request, settings, device, resume)
        return
    with open_source(request.source, settings, resume.last_frame, request.max_px) as source:
        yield ClipJob(request, settings, device, resume, source)


class ClipJob:
    """Dreams each frame of a video, a folder of images or a stream; or a single image."""

    def __init__(
        self,
        request: Request,
        settings: Settings,
        device: torch.device,
        resume: ResumePoint,
        source: Source,
    ) -> None:
        """Args: as in `open_job`; `source` is opened where the run starts."""
        self._request = request
        self._settings = settings
        self._device = device
        self._resume = resume
        self._source = source
        self.info = source.info

    @property
    def frames_lost(self) -> int:
        """See `Job`."""
        return self._source.frames_lost

    def check(self) -> None:
        """See `Job`."""
        load_dreamer(self._settings, self._device)
        with self._open_masks():
            pass

    def dream(self, writer: FrameWriter, on_progress: ProgressCallback | None) -> int:
        """See `Job`."""
        settings, resume = self._settings, self._resume
        dreamer = load_dreamer(settings, self._device)
        is_carried = settings.strength != 0 and not settings.independent
        flow = open_flow(settings.flow if is_carried else "none", self._device)
        load_residual = None
        with self._open_masks() as masks, single_threaded_opencv():
            store = resume.residual_store
            if settings.passes > 1 and flow is not None and store is not None:
                frames = dream_backward(
                    *(self._reopen, self.info, dreamer, settings, flow, store, on_progress)
                )
                on_progress, load_residual = as_second_pass(on_progress, frames), store.load
            return dream_video_frames(
                self._source,
                writer,
                dreamer,
                settings,
                flow,
                on_progress,
                resume.state,
                resume.frames_done,
                masks,
                load_residual,
            )

    def _open_masks(self) -> AbstractContextManager[Masks | None]:
        is_video = self._request.source_kind in (MediaKind.VIDEO, MediaKind.STREAM)
        return open_masks(self._settings, self._source, self._resume.frames_done, is_video=is_video)

    @contextmanager
    def _reopen(self, position: FramePosition | None) -> Iterator[Source]:
        """The source again, from a frame on, without the warnings of the first time."""
        with ExitStack() as stack:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DreamVideoWarning)
                again = open_source(
                    *(self._request.source, self._settings, position),
                    *(self._request.max_px, self._source),
                )
                source = stack.enter_context(again)
            yield source


class ZoomJob:
    """Dreams a zoom into still images."""

    def __init__(
        self, request: Request, settings: Settings, device: torch.device, resume: ResumePoint
    ) -> None:
        """Read the still images.

        Args: as in `open_job`.

        Raises:
            InputError: an image is missing, damaged or too large.
            UsageError: there are more images than frames.
        """
        self._settings = settings
        self._device = device
        self._resume = resume
        self._images = StillImages(request.still_images, settings, request.rate, request.max_px)
        self.info = self._images.info
        self.frames_lost = 0

    def check(self) -> None:
        """See `Job`."""
        load_dreamer(self._settings, self._device)

    def dream(self, writer: FrameWriter, on_progress: ProgressCallback | None) -> int:
        """See `Job`."""
        settings, resume = self._settings, self._resume
        return dream_zoom(
            *(self._images, writer, load_dreamer(settings, self._device), settings),
            *(on_progress, resume.state, resume.frames_done),
        )
