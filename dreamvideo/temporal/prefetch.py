"""Computes ahead, in threads, all that a frame's dream needs beside the previous frame's dream."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, repeat
from typing import TypeAlias

from dreamvideo.dream.dreamer import Dreamer
from dreamvideo.motion.flow import FlowEstimator
from dreamvideo.motion.matching import LOOKAHEAD_FRAMES, match_frames
from dreamvideo.motion.warp import CarryMap, carry_map
from dreamvideo.runtime.threads import parallel_map
from dreamvideo.temporal.inputs import FrameInputs
from dreamvideo.temporal.refresh import TemporalDreamer
from dreamvideo.types import FloatArray, Frame, Motion

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
    """A frame, and what its dream needs beside the previous one."""

    frame: Frame
    inputs: FrameInputs
    """For a warm dream if there is a carry map, otherwise for a cold one."""
    carry_map: CarryMap | None
    """From the previous frame; None for the first frame of a shot."""


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
        inputs = temporal.prepare(
            source, frame.index, float(frame.time_seconds), is_warm=mapping is not None
        )
        return PrefetchedFrame(frame, inputs, mapping)

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
