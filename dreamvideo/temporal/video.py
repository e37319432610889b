"""The main loop of a video: frames are prefetched, dreamed in order, composited and written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

from torch import Tensor

from dreamvideo.dream.dreamer import Dreamer
from dreamvideo.media.read import Source
from dreamvideo.media.read.masks import Masks
from dreamvideo.media.write import FrameWriter
from dreamvideo.motion.flow import FlowEstimator
from dreamvideo.runtime.threads import QUEUE_FRAMES, prefetch, write_behind
from dreamvideo.settings import Settings
from dreamvideo.settings.frame_params import FrameParams
from dreamvideo.temporal.prefetch import LoadResidual, PrefetchedFrame, prefetch_frames
from dreamvideo.temporal.refresh import TemporalDreamer
from dreamvideo.types import (
    GAIN_INTERVAL_FRAMES,
    DreamedFrame,
    Frame,
    Progress,
    ProgressCallback,
    TemporalState,
)


@dataclass(frozen=True, eq=False)
class FrameDream:
    """The dream of one frame, and the state for the next one."""

    frame: Frame
    source: Tensor
    """(1, 3, H, W) in [0, 1]."""
    residual: Tensor
    """(1, 3, H, W), dream minus source."""
    params: FrameParams
    state: TemporalState
    gain: float
    """The dream gain, as last measured."""


def dream_video_frames(
    source: Source,
    writer: FrameWriter,
    dreamer: Dreamer,
    settings: Settings,
    flow: FlowEstimator | None,
    on_progress: ProgressCallback | None = None,
    state: TemporalState | None = None,
    frames_before: int = 0,
    masks: Masks | None = None,
    load_residual: LoadResidual | None = None,
) -> int:
    """Dream every frame of `source` into `writer`; returns how many frames there are.

    What does not depend on the previous dream runs in threads, a few frames ahead and behind.

    Args:
        source: the frames; when a run resumes, from the last one that was dreamed.
        writer: takes the composited frames.
        dreamer: dreams one image.
        settings: how to dream each frame.
        flow: estimates motion; None dreams every frame on its own.
        on_progress: called after each frame.
        state: what the last dreamed frame left, when a run resumes.
        frames_before: how many frames were dreamed before, when a run resumes.
        masks: where to show the dream, from the first frame that is dreamed; None everywhere.
        load_residual: the residuals of a backward pass, for what comes into view.
    """
    done = frames_before
    with (
        closing(TemporalDreamer(dreamer, settings, is_carried=flow is not None)) as temporal,
        closing(prefetch(source, QUEUE_FRAMES, source.stop)) as frames,
        closing(
            prefetch_frames(frames, dreamer, temporal, flow, frames_before > 0, load_residual)
        ) as prefetched,
        write_behind(_composite_and_write(writer, dreamer, masks), QUEUE_FRAMES) as write,
    ):
        measures_gain = on_progress is not None
        dreams = dream_in_order(prefetched, dreamer, temporal, state, measures_gain=measures_gain)
        for done, dream in enumerate(dreams, start=frames_before + 1):
            write(dream)
            if on_progress is not None:
                on_progress(Progress(done, source.info.frame_count, dream.gain))
    if masks is not None:
        masks.end()
    return done


def dream_in_order(
    prefetched: Iterable[PrefetchedFrame],
    dreamer: Dreamer,
    temporal: TemporalDreamer,
    state: TemporalState | None,
    *,
    measures_gain: bool,
    gain: float = 1.0,
) -> Iterator[FrameDream]:
    """Dream frame after frame.

    Args:
        prefetched: the frames in the order in which they are dreamed.
        dreamer: measures the gain.
        temporal: dreams the frames.
        state: what the frame before them left.
        measures_gain: whether to measure the gain now and then.
        gain: as last measured.
    """
    state = state or TemporalState()
    for item in prefetched:
        source, params = item.inputs.source, item.inputs.params
        residual, state = temporal.dream(item.inputs, state, item.carry_map)
        if measures_gain and item.frame.index % GAIN_INTERVAL_FRAMES == 0:
            gain = dreamer.gain(source, source + residual, params)
        yield FrameDream(item.frame, source, residual, params, state, gain)


def _composite_and_write(
    writer: FrameWriter, dreamer: Dreamer, masks: Masks | None
) -> Callable[[FrameDream], None]:
    def write(dream: FrameDream) -> None:
        mask = None if masks is None else masks.of(dream.frame)
        image = dreamer.composite(dream.source, dream.residual, mask, dream.params)
        writer.write(DreamedFrame(dream.frame.with_image(image), dream.state))

    return write
