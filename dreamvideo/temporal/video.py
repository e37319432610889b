"""The main loop of a video: frames are prefetched, dreamed in order, composited and written.

What a frame's dream needs besides the previous frame's dream is computed ahead, in threads.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice, repeat
from typing import TypeAlias

from torch import Tensor

from dreamvideo.dream.dreamer import Dreamer
from dreamvideo.media.read import Source
from dreamvideo.media.read.masks import Masks
from dreamvideo.media.write import FrameWriter
from dreamvideo.motion.flow import FlowEstimator
from dreamvideo.motion.matching import LOOKAHEAD_FRAMES, match_frames
from dreamvideo.motion.warp import carry_map
from dreamvideo.runtime.threads import QUEUE_FRAMES, parallel_map, prefetch, write_behind
from dreamvideo.settings import Settings
from dreamvideo.settings.frame_params import FrameParams
from dreamvideo.temporal.level_control import FrameInputs
from dreamvideo.temporal.refresh import TemporalDreamer
from dreamvideo.types import (
    GAIN_INTERVAL_FRAMES,
    DreamedFrame,
    FloatArray,
    Frame,
    Motion,
    Progress,
    ProgressCallback,
    TemporalState,
)

# Frames that are prepared at once: with more, they wait for the decoder.
MAX_WORKERS = 4
# The previous frame, if any, a frame, and those after it.
FrameWindow: TypeAlias = tuple[Frame | None, Frame, Sequence[Frame]]
# The motion in a window; None where a new shot begins.
FindMotion: TypeAlias = Callable[[FrameWindow], Motion | None]
# From the index of a frame to its residual (rows, columns, 3) of a backward pass.
LoadResidual: TypeAlias = Callable[[int], FloatArray]


@dataclass(frozen=True, eq=False)
class PrefetchedFrame:
    """A frame, and what its dream needs besides the previous one."""

    frame: Frame
    inputs: FrameInputs


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
        residual, state = temporal.dream(item.inputs, state)
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


def prefetch_frames(
    frames: Iterable[Frame],
    dreamer: Dreamer,
    temporal: TemporalDreamer,
    flow: FlowEstimator | None,
    is_resumed: bool,
    load_residual: LoadResidual | None = None,
) -> Generator[PrefetchedFrame]:
    """Each frame, a few of them in advance.

    Args:
        frames: of a video.
        dreamer: uploads them.
        temporal: will dream them.
        flow: estimates motion; None dreams every frame on its own.
        is_resumed: whether the first frame is only there for the motion of the second one.
        load_residual: the residuals of a backward pass, for what comes into view.
    """
    cut_times_seconds = temporal.settings.cut_times_seconds

    def find_motion(window: FrameWindow) -> Motion | None:
        previous, frame, following = window
        if previous is None or flow is None:
            return None
        return match_frames(previous, frame, flow, following, cut_times_seconds)

    windows = frame_windows(frames, is_resumed, 0 if flow is None else LOOKAHEAD_FRAMES)
    return prefetch_windows(windows, dreamer, temporal, find_motion, load_residual)


def prefetch_windows(
    windows: Iterable[FrameWindow],
    dreamer: Dreamer,
    temporal: TemporalDreamer,
    find_motion: FindMotion,
    load_residual: LoadResidual | None = None,
) -> Generator[PrefetchedFrame]:
    """The frame of each window, in the order in which they are dreamed.

    Args: see `prefetch_frames`.
    """

    def prepare(window: FrameWindow) -> PrefetchedFrame:
        frame, motion = window[1], find_motion(window)
        source, mapping = dreamer.upload(frame.image), None
        if motion is not None:
            prior = None if load_residual is None else dreamer.upload(load_residual(frame.index))
            mapping = carry_map(motion, frame.image.shape[:2], dreamer.device, prior)
        inputs = temporal.prepare(source, frame.index, float(frame.time_seconds), mapping)
        return PrefetchedFrame(frame, inputs)

    workers = max(1, min(MAX_WORKERS, (os.cpu_count() or 1) // 2))
    return parallel_map(prepare, windows, workers, depth=workers + 1)


def frame_windows(frames: Iterable[Frame], is_resumed: bool, count: int) -> Iterator[FrameWindow]:
    """Each frame with the previous one and up to `count` after it."""
    frames = iter(frames)
    previous = next(frames, None) if is_resumed else None
    following = deque(islice(frames, count))
    for last in chain(frames, repeat(None, count)):
        if last is not None:
            following.append(last)
        if following:
            frame = following.popleft()
            yield previous, frame, tuple(following)
            previous = frame
