"""One run: from the names of input and output to the published output."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from dreamvideo.errors import DreamVideoError
from dreamvideo.job.identity import RunIdentity, run_identity
from dreamvideo.job.jobs import Job, open_job
from dreamvideo.job.output_paths import check_not_input, check_output, check_output_kind
from dreamvideo.job.outputs import ResumableWriter, open_image_writer, open_resumable_writer
from dreamvideo.job.request import Request, open_request
from dreamvideo.job.work_folder import (
    ResumePoint,
    WorkFolder,
    is_finished,
    open_work,
    partial_output,
    resumable_frames,
)
from dreamvideo.media.formats import MediaKind
from dreamvideo.media.write import FrameWriter
from dreamvideo.media.write.encoder import check_encoding
from dreamvideo.media.write.stream import open_stream_writer
from dreamvideo.runtime.devices import pick_device
from dreamvideo.runtime.threads import leave_core_free
from dreamvideo.settings import Settings
from dreamvideo.types import ProgressCallback, Summary

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
    """Dream a video, a folder of images or a stream into any of these, or an image into an image.

    A still image, or several, that are to become a video are zoomed into: `Settings` has the
    options of the camera.

    A video or folder is made in a work folder beside the output, `out.mp4.part`. If a run fails or
    is killed, the same call resumes it.

    Args:
        input: a video in any format that FFmpeg reads, an animated image, a folder of images, a
            still image or a list of them, `noise:WIDTHxHEIGHT`, or `-` for standard input. What a
            file is, is found by looking inside.
        output: `.mp4`, `.mkv`, `.mov`, `.webm`, `.gif`, `.apng` or `.webp` for a video, an image
            suffix for a still image, no suffix for a folder, `-` for Matroska on standard output.
            Only a complete result appears under this name.
        settings: how to dream; None takes the defaults.
        on_progress: called after each frame.
        overwrite: whether to replace an existing output; in a folder, images of the same names.
        restart: whether to discard an unfinished run instead of resuming it.
        keep_partial: whether a run that fails leaves its finished frames as `out.partial.mp4`.

    Raises:
        UsageError: input, output, settings and device do not go together, or the output exists, or
            the unfinished run is a different one.
        InputError: the input is missing, damaged or incomplete.
        OutputError: the output cannot be written.
        WeightsError: the network's weights are missing or do not fit.
    """
    settings = settings or Settings()
    names = [input] if isinstance(input, (str, os.PathLike)) else input
    with open_request([os.fspath(name) for name in names], os.fspath(output), settings) as request:
        run = _Run(request, settings, on_progress)
        if request.output_kind in (MediaKind.STILL, MediaKind.STREAM):
            return run.without_resume(overwrite)
        return run.with_resume(overwrite, restart, keep_partial)


class _Run:
    """A request, with all that its run needs at every stage."""

    def __init__(
        self, request: Request, settings: Settings, on_progress: ProgressCallback | None
    ) -> None:
        self._request = request
        self._settings = settings
        self._on_progress = on_progress
        self._started_seconds = time.perf_counter()
        self._device = pick_device(settings.device)
        self._writes_folder = request.output_kind is MediaKind.FOLDER

    def without_resume(self, overwrite: bool) -> Summary:
        """A still image or a stream: a run that fails leaves nothing."""
        if self._request.output_kind is MediaKind.STILL:
            check_output(self._request.output, overwrite)
        with self._open_job(ResumePoint()) as job, self._open_writer(job, overwrite) as writer:
            frame_count = self._dream(job, writer)
            return self._summary(frame_count, frames_lost=job.frames_lost)

    def with_resume(self, overwrite: bool, restart: bool, keep_partial: bool) -> Summary:
        """A video or a folder, from where an earlier run stopped."""
        output = self._request.output
        check_output_kind(output, self._writes_folder)
        partial = partial_output(output) if keep_partial else None
        if partial is not None:
            self._check_partial(partial, overwrite)
        with open_work(output) as work:
            identity = run_identity(self._request, self._settings, str(self._device))
            if is_finished(output) and not restart:
                frame_count = self._publish_finished(work, identity, overwrite)
                if frame_count is not None:
                    return self._summary(frame_count, frames_resumed=frame_count)
            check_output(output, overwrite, self._writes_folder)
            if restart:
                self._discard(work)
            work.start_or_resume(identity)
            resume = work.resume_point(self._device)
            with (
                self._open_job(resume) as job,
                self._open_resumable_writer(work, job) as writer,
                _keeping_partial(work, writer, partial),
            ):
                frame_count = self._dream(job, writer)
                check_output(output, overwrite, self._writes_folder)
                writer.finish()
                return self._summary(frame_count, resume.frames_done, job.frames_lost)

    def _check_partial(self, partial: Path, overwrite: bool) -> None:
        """Refuse to write a partial result over anything but the partial result of this output."""
        is_ours = overwrite or resumable_frames(self._request.output) > 0
        check_output(partial, is_ours, self._writes_folder)
        for source in self._request.sources:
            check_not_input(source.name, str(partial), self._request.is_zoom)

    def _publish_finished(
        self, work: WorkFolder, identity: RunIdentity, overwrite: bool
    ) -> int | None:
        """Publish a result whose run was killed just before; None if it was another run's."""
        if work.result.exists():
            check_output(self._request.output, overwrite, self._writes_folder)
            work.check_belongs_to(identity)
        is_same_run = work.belongs_to(identity)
        frame_count = work.publish()
        return frame_count if is_same_run else None

    def _discard(self, work: WorkFolder) -> None:
        """Clear the work folder, after a check that the new run can start."""
        request, settings = self._request, self._settings
        with self._open_job(ResumePoint()) as job:
            check_encoding(request.output_kind, request.output, settings, job.info)
            job.check()
        work.clear()

    def _dream(self, job: Job, writer: FrameWriter) -> int:
        is_alone = self._request.output_kind is MediaKind.STILL
        with leave_core_free(self._device, is_alone=is_alone):
            return job.dream(writer, self._on_progress)

    def _open_job(self, resume: ResumePoint) -> AbstractContextManager[Job]:
        return open_job(self._request, self._settings, self._device, resume)

    def _open_writer(self, job: Job, overwrite: bool) -> AbstractContextManager[FrameWriter]:
        request, settings = self._request, self._settings
        if request.output_kind is MediaKind.STILL:
            return open_image_writer(request.output, settings, overwrite)
        return open_stream_writer(job.info, settings, request.tracks_from)

    def _open_resumable_writer(
        self, work: WorkFolder, job: Job
    ) -> AbstractContextManager[ResumableWriter]:
        request = self._request
        return open_resumable_writer(
            *(work, request.output_kind, job.info, self._settings),
            *(request.tracks_from, request.image_names),
        )

    def _summary(self, frame_count: int, frames_resumed: int = 0, frames_lost: int = 0) -> Summary:
        seconds = time.perf_counter() - self._started_seconds
        return Summary(self._request.output, frame_count, seconds, frames_resumed, frames_lost)


@contextmanager
def _keeping_partial(
    work: WorkFolder, writer: ResumableWriter, partial: Path | None
) -> Iterator[None]:
    """If the body fails, write the finished frames to `partial`, unless that is None."""
    try:
        yield
    except BaseException:
        if partial is not None and work.segments:
            with suppress(DreamVideoError):  # the reason why the run stopped matters more
                writer.keep_partial(partial)
        raise
