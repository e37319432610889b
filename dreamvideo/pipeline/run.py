"""One run: opens what the request names, dreams, and goes on where an earlier run ended.

Refuses to know file formats, networks and how progress is shown.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TypeAlias

from dreamvideo.dream import Dreamer
from dreamvideo.errors import DreamVideoError
from dreamvideo.frames import Memory, Position, Summary
from dreamvideo.media.kinds import Kind
from dreamvideo.motion import FlowEstimator, open_flow
from dreamvideo.networks import pick_device
from dreamvideo.pipeline.backward import dream_backward, in_second_half
from dreamvideo.pipeline.dreaming import open_dreamer
from dreamvideo.pipeline.film import OnProgress, dream_frames
from dreamvideo.pipeline.journey import dream_journey, journey_settings
from dreamvideo.pipeline.request import Request, understood
from dreamvideo.pipeline.sameness import identity_of
from dreamvideo.pipeline.threads import sharing_cores
from dreamvideo.settings import Settings
from dreamvideo.sinks import (
    ResumableSink,
    Sink,
    check_encoding,
    check_output,
    check_place,
    open_resumable,
    open_still,
    open_stream,
)
from dreamvideo.sources import Masks, Source, Stills, open_masks, open_source
from dreamvideo.work import WorkFolder, is_finished, open_work, partial_output

Name: TypeAlias = str | os.PathLike[str]


def dream_video(
    input: Name | Sequence[Name],
    output: Name,
    settings: Settings | None = None,
    on_progress: OnProgress | None = None,
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
    with understood([os.fspath(name) for name in names], os.fspath(output), settings) as request:
        run = _Run(request, settings, on_progress)
        if request.output_kind is Kind.STILL:
            return run.still(overwrite)
        if request.output_kind is Kind.STREAM:
            return run.stream()
        return run.resumable(overwrite, restart, keep_partial)


class _Run:
    """What the three ways of running share."""

    def __init__(
        self, request: Request, settings: Settings, on_progress: OnProgress | None
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
            open_still(request.output, settings, overwrite) as sink,
        ):
            return self._summary(source, self._dream(source, sink))

    def stream(self) -> Summary:
        """A film on standard output, frame by frame."""
        request, settings = self._request, self._settings
        with (
            self._open_source(None) as source,
            open_stream(source.footage, settings, request.tracks_from) as sink,
        ):
            return self._summary(source, self._dream(source, sink))

    def resumable(self, overwrite: bool, restart: bool, keep_partial: bool) -> Summary:
        """A film or a folder, from where an earlier run ended."""
        request, settings = self._request, self._settings
        is_folder = request.output_kind is Kind.FOLDER
        check_place(request.output, is_folder)
        partial = partial_output(request.output)
        if keep_partial:
            request.check_partial(partial, overwrite)
        with open_work(request.output) as work:
            identity = identity_of(request, settings, str(self._device))
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
            with self._open_source(work.position) as source, self._open_sink(work, source) as sink:
                try:
                    frames = self._dream(source, sink, work)
                    check_output(request.output, overwrite, is_folder)
                    sink.finish()
                except BaseException:
                    if keep_partial and work.segments:
                        with suppress(DreamVideoError):  # why the run stopped matters more
                            sink.keep_partial(partial)
                    raise
                return self._summary(source, frames, done)

    def _throw_away(self, work: WorkFolder) -> None:
        """Clear the work folder, once it is sure that another run can begin."""
        with self._open_source(None) as source:
            check_encoding(
                self._request.output_kind, self._request.output, self._settings, source.footage
            )
            open_dreamer(self._settings, self._device)
            if not isinstance(source, Stills):
                with self._open_masks(source, 0):
                    pass
        work.clear()

    def _open_source(self, resume_at: Position | None) -> AbstractContextManager[Source | Stills]:
        request, settings = self._request, self._settings
        if request.is_journey:
            return nullcontext(Stills(request.stills, settings, request.rate, request.most_px))
        return open_source(request.source, settings, resume_at, request.most_px)

    def _open_sink(
        self, work: WorkFolder, source: Source | Stills
    ) -> AbstractContextManager[ResumableSink]:
        request = self._request
        return open_resumable(
            work,
            request.output_kind,
            source.footage,
            self._settings,
            request.tracks_from,
            request.picture_names,
        )

    def _dream(self, source: Source | Stills, sink: Sink, work: WorkFolder | None = None) -> int:
        settings, device = self._settings, self._device
        if isinstance(source, Stills):
            settings = journey_settings(settings)
        dreamer = open_dreamer(settings, device)
        carried = work.load_carried() if work else None
        memory = Memory(
            None if carried is None else dreamer.upload(carried),
            work.load_hold() if work else None,
        )
        done = work.frames_done if work else 0
        is_still = self._request.output_kind is Kind.STILL
        flow = None if isinstance(source, Stills) else self._flow()
        with sharing_cores(device, is_alone=is_still):
            if isinstance(source, Stills):
                return dream_journey(source, sink, dreamer, self._on_progress, memory, done)
            on_progress, left = self._on_progress, None
            with self._open_masks(source, done) as masks:
                if work is not None and flow is not None and settings.passes > 1:
                    frames = self._dream_backward(source, dreamer, flow, work)
                    on_progress, left = in_second_half(on_progress, frames), work.spill.load
                return dream_frames(
                    source, sink, dreamer, flow, on_progress, memory, done, masks, left
                )

    def _dream_backward(
        self, source: Source, dreamer: Dreamer, flow: FlowEstimator, work: WorkFolder
    ) -> int:
        request = self._request

        def reopen(resume_at: Position | None) -> AbstractContextManager[Source]:
            return open_source(request.source, self._settings, resume_at, request.most_px, source)

        return dream_backward(reopen, source.footage, dreamer, flow, work.spill, self._on_progress)

    def _open_masks(self, source: Source, done: int) -> AbstractContextManager[Masks | None]:
        is_film = self._request.source_kind in (Kind.FILM, Kind.STREAM)
        return open_masks(self._settings, source, done, is_film=is_film)

    def _flow(self) -> FlowEstimator | None:
        settings = self._settings
        is_carried = settings.strength != 0 and not settings.independent
        return open_flow(settings.flow if is_carried else "none", self._device)

    def _summary(self, source: Source | Stills, frames: int, resumed: int = 0) -> Summary:
        return Summary(
            self._request.output, frames, self._elapsed_seconds(), resumed, source.frames_lost
        )

    def _elapsed_seconds(self) -> float:
        return time.perf_counter() - self._started
