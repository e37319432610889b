"""The main loop: frames walk from the source through motion and dream to the sink.

Refuses to know file formats, networks and how progress is shown.
"""

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


def dream_video_frames(
    source: Source,
    writer: FrameWriter,
    dreamer: Dreamer,
    flow: FlowEstimator | None,
    on_progress: ProgressCallback | None = None,
    state: TemporalState | None = None,
    frames_before: int = 0,
    masks: Masks | None = None,
    left: LoadResidual | None = None,
) -> int:
    """Dream every frame of `source` into `sink`; returns how many there are.

    What does not need the dream before runs in threads of its own, a few frames ahead and behind.

    Args:
        source: the frames; when a run goes on, from the last one that was dreamed.
        sink: where they go.
        dreamer: dreams one picture, as its settings say.
        flow: measures motion; None dreams every frame on its own.
        on_progress: called after each frame.
        memory: what the last dreamed frame left, when a run goes on.
        frames_before: how many were dreamed before, when a run goes on.
        masks: where to show the dream, from the first frame that is dreamed on; None everywhere.
        left: what a backward pass left, for what comes into view.
    """
    temporal_dreamer, done = TemporalDreamer(dreamer, is_carried=flow is not None), frames_before
    with (
        closing(prefetch(source, QUEUE_FRAMES, source.stop)) as frames,
        closing(
            prefetch_frames(frames, dreamer, temporal_dreamer, flow, frames_before > 0, left)
        ) as prefetched_frames,
        write_behind(_composite_and_write(writer, dreamer, masks), QUEUE_FRAMES) as write,
    ):
        is_watched = on_progress is not None
        finished = dream_in_order(
            prefetched_frames, dreamer, temporal_dreamer, state, is_watched=is_watched
        )
        for done, dream in enumerate(finished, start=frames_before + 1):
            write(dream)
            if on_progress is not None:
                on_progress(Progress(done, source.info.frame_count, dream.gain))
    if masks is not None:
        masks.end()
    return done


@dataclass(frozen=True, eq=False)
class FrameDream:
    """A frame's dream, and what it leaves to the next one's."""

    frame: Frame
    picture: Tensor
    """(1, 3, H, W) in [0, 1], the source."""
    residual: Tensor
    """(1, 3, H, W), dream minus source."""
    state: TemporalState
    gain: float
    """The dream gain, as it was last measured."""


def dream_in_order(
    prefetched_frames: Iterable[PrefetchedFrame],
    dreamer: Dreamer,
    temporal_dreamer: TemporalDreamer,
    state: TemporalState | None,
    *,
    is_watched: bool,
    gain: float = 1.0,
) -> Iterator[FrameDream]:
    """Dream frame after frame.

    Args:
        ready_frames: in the order in which they are dreamed.
        dreamer: tells the gain.
        steady: dreams them.
        memory: what the frame before them left.
        is_watched: whether anybody is told the gain.
        gain: as it was measured before.
    """
    state = state or TemporalState()
    for prefetched_frame in prefetched_frames:
        index, time_seconds = (
            prefetched_frame.frame.index,
            float(prefetched_frame.frame.time_seconds),
        )
        picture = prefetched_frame.inputs.picture
        residual, state = temporal_dreamer.dream(
            prefetched_frame.inputs, index, time_seconds, state, prefetched_frame.path
        )
        if is_watched and index % GAIN_INTERVAL_FRAMES == 0:
            gain = dreamer.gain(picture, picture + residual, time_seconds)
        yield FrameDream(prefetched_frame.frame, picture, residual, state, gain)


def _composite_and_write(
    writer: FrameWriter, dreamer: Dreamer, masks: Masks | None
) -> Callable[[FrameDream], None]:
    """What becomes of a dream."""

    def show(dream: FrameDream) -> None:
        frame = dream.frame
        mask = None if masks is None else masks.of(frame)
        shown = dreamer.shown(dream.picture, dream.residual, mask, float(frame.time_seconds))
        writer.write(DreamedFrame(frame.with_image(shown), dream.state))

    return show
