"""One run: opens what the request names, dreams, and goes on where an earlier run ended.

Refuses to know file formats, networks and how progress is shown.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TypeAlias

from dreamvideo.dream.dreamer import Dreamer
from dreamvideo.errors import DreamVideoError
from dreamvideo.job.image import load_dreamer
from dreamvideo.job.output_paths import check_output, check_output_kind
from dreamvideo.job.outputs import ResumableWriter, open_image_writer, open_resumable_writer
from dreamvideo.job.request import Request, open_request, run_identity
from dreamvideo.job.work_folder import WorkFolder, is_finished, open_work, partial_output
from dreamvideo.media.formats import MediaKind
from dreamvideo.media.read import Source, open_source
from dreamvideo.media.read.masks import Masks, open_masks
from dreamvideo.media.read.still import StillImages
from dreamvideo.media.write import FrameWriter
from dreamvideo.media.write.encoder import check_encoding
from dreamvideo.media.write.stream import open_stream_writer
from dreamvideo.motion.flow import FlowEstimator, open_flow
from dreamvideo.runtime.devices import pick_device
from dreamvideo.runtime.threads import leave_core_free
from dreamvideo.settings import Settings
from dreamvideo.temporal.backward import as_second_pass, dream_backward
from dreamvideo.temporal.video import dream_video_frames
from dreamvideo.types import FramePosition, ProgressCallback, Summary, TemporalState
from dreamvideo.zoom.zoom import dream_zoom, zoom_settings

Name: TypeAlias = str | os.PathLike[str]


def dream_video(
    input: Name | Sequence[Name],
    output: Name,
    settings: Settings | None = None,
    on_progress: ProgressCallback | None = None,
    *,
    overwrite: bool = False,
    restart: bool = False,
    keep_partial: bool = False,
) -> Summary:
    """Dream a film, a folder of pictures or a stream into any of these, or a still into a still.

    A still, or several, that are to become a film are fallen into: see `Settings` for the camera.

    A film or folder is made in a work folder beside the output, `out.mp4.part`. When a run fails
    or is killed, the same call goes on from there.

    Args:
        input: a film that FFmpeg reads, a folder of pictures, a still or a list of them,
            `noise:WIDTHxHEIGHT`, or `-` for standard input.
        output: `.mp4`, `.mkv`, `.mov`, `.webm`, `.gif`, `.apng` or `.webp` for a film, a still's
            suffix for a still, no suffix for a folder, `-` for Matroska on standard output. It
            appears under this name only when it is whole.
        settings: how to dream; None takes the defaults.
        on_progress: called after each frame.
        overwrite: whether an existing output is replaced; in a folder, pictures of the same names.
        restart: whether an unfinished run is thrown away instead of gone on with.
        keep_partial: whether a run that fails leaves what it has as `out.partial.mp4`.

    Raises:
        UsageError: the settings, the device or the pair of names cannot be met, or the unfinished
            run is another one.
        InputError: the input is missing, damaged or not whole.
        OutputError: the output cannot be written.
    """
    settings = settings or Settings()
    names = [input] if isinstance(input, (str, os.PathLike)) else input
    with open_request([os.fspath(name) for name in names], os.fspath(output), settings) as request:
        run = _Run(request, settings, on_progress)
        if request.output_kind is MediaKind.STILL:
            return run.still(overwrite)
        if request.output_kind is MediaKind.STREAM:
            return run.stream()
        return run.resumable(overwrite, restart, keep_partial)


class _Run:
    """What the three ways of running share."""

    def __init__(
        self, request: Request, settings: Settings, on_progress: ProgressCallback | None
    ) -> None:
        self._request = request
        self._settings = settings
        self._on_progress = on_progress
        self._started = time.perf_counter()
        self._device = pick_device(settings.device)

    def still(self, overwrite: bool) -> Summary:
        """A still that is there when it is whole."""
        request, settings = self._request, self._settings
        check_output(request.output, overwrite)
        with (
            self._open_source(None) as source,
            open_image_writer(request.output, settings, overwrite) as writer,
        ):
            return self._summary(source, self._dream(source, writer))

    def stream(self) -> Summary:
        """A film on standard output, frame by frame."""
        request, settings = self._request, self._settings
        with (
            self._open_source(None) as source,
            open_stream_writer(source.info, settings, request.tracks_from) as writer,
        ):
            return self._summary(source, self._dream(source, writer))

    def resumable(self, overwrite: bool, restart: bool, keep_partial: bool) -> Summary:
        """A film or a folder, from where an earlier run ended."""
        request, settings = self._request, self._settings
        is_folder = request.output_kind is MediaKind.FOLDER
        check_output_kind(request.output, is_folder)
        partial = partial_output(request.output)
        if keep_partial:
            request.check_partial(partial, overwrite)
        with open_work(request.output) as work:
            identity = run_identity(request, settings, str(self._device))
            if is_finished(request.output) and not restart:
                if work.result.exists():  # it was killed just before it could be moved
                    check_output(request.output, overwrite, is_folder)
                    work.check_finished(identity)
                is_same = work.is_of(identity)
                frames = work.publish()
                if is_same:
                    return Summary(request.output, frames, self._elapsed_seconds(), frames)
            check_output(request.output, overwrite, is_folder)
            if restart:
                self._throw_away(work)
            work.identify(identity)
            done = work.frames_done
            with (
                self._open_source(work.position) as source,
                self._open_sink(work, source) as writer,
            ):
                try:
                    frames = self._dream(source, writer, work)
                    check_output(request.output, overwrite, is_folder)
                    writer.finish()
                except BaseException:
                    if keep_partial and work.segments:
                        with suppress(DreamVideoError):  # why the run stopped matters more
                            writer.keep_partial(partial)
                    raise
                return self._summary(source, frames, done)

    def _throw_away(self, work: WorkFolder) -> None:
        """Clear the work folder, once it is sure that another run can begin."""
        with self._open_source(None) as source:
            check_encoding(
                self._request.output_kind, self._request.output, self._settings, source.info
            )
            load_dreamer(self._settings, self._device)
            if not isinstance(source, StillImages):
                with self._open_masks(source, 0):
                    pass
        work.clear()

    def _open_source(
        self, resume_at: FramePosition | None
    ) -> AbstractContextManager[Source | StillImages]:
        request, settings = self._request, self._settings
        if request.is_zoom:
            return nullcontext(StillImages(request.stills, settings, request.rate, request.max_px))
        return open_source(request.source, settings, resume_at, request.max_px)

    def _open_sink(
        self, work: WorkFolder, source: Source | StillImages
    ) -> AbstractContextManager[ResumableWriter]:
        request = self._request
        return open_resumable_writer(
            work,
            request.output_kind,
            source.info,
            self._settings,
            request.tracks_from,
            request.picture_names,
        )

    def _dream(
        self, source: Source | StillImages, writer: FrameWriter, work: WorkFolder | None = None
    ) -> int:
        settings, device = self._settings, self._device
        if isinstance(source, StillImages):
            settings = zoom_settings(settings)
        dreamer = load_dreamer(settings, device)
        carried = work.load_carried() if work else None
        state = TemporalState(
            None if carried is None else dreamer.upload(carried),
            work.load_hold() if work else None,
        )
        done = work.frames_done if work else 0
        is_still = self._request.output_kind is MediaKind.STILL
        flow = None if isinstance(source, StillImages) else self._flow()
        with leave_core_free(device, is_alone=is_still):
            if isinstance(source, StillImages):
                return dream_zoom(source, writer, dreamer, self._on_progress, state, done)
            on_progress, left = self._on_progress, None
            with self._open_masks(source, done) as masks:
                if work is not None and flow is not None and settings.passes > 1:
                    frames = self._dream_backward(source, dreamer, flow, work)
                    on_progress, left = (
                        as_second_pass(on_progress, frames),
                        work.residual_store.load,
                    )
                return dream_video_frames(
                    source, writer, dreamer, flow, on_progress, state, done, masks, left
                )

    def _dream_backward(
        self, source: Source, dreamer: Dreamer, flow: FlowEstimator, work: WorkFolder
    ) -> int:
        request = self._request

        def reopen(resume_at: FramePosition | None) -> AbstractContextManager[Source]:
            return open_source(request.source, self._settings, resume_at, request.max_px, source)

        return dream_backward(
            reopen, source.info, dreamer, flow, work.residual_store, self._on_progress
        )

    def _open_masks(self, source: Source, done: int) -> AbstractContextManager[Masks | None]:
        is_video = self._request.source_kind in (MediaKind.VIDEO, MediaKind.STREAM)
        return open_masks(self._settings, source, done, is_video=is_video)

    def _flow(self) -> FlowEstimator | None:
        settings = self._settings
        is_carried = settings.strength != 0 and not settings.independent
        return open_flow(settings.flow if is_carried else "none", self._device)

    def _summary(self, source: Source | StillImages, frames: int, resumed: int = 0) -> Summary:
        return Summary(
            self._request.output, frames, self._elapsed_seconds(), resumed, source.frames_lost
        )

    def _elapsed_seconds(self) -> float:
        return time.perf_counter() - self._started
