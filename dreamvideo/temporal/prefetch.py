"""Computes ahead, in threads, all that a frame's dream needs beside the last frame's dream."""

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
from dreamvideo.temporal.level_control import FrameInputs
from dreamvideo.temporal.refresh import TemporalDreamer
from dreamvideo.types import FloatArray, Frame, Motion

# Frames that are made ready at once: more than this and they wait for the decoder.
MAX_WORKERS = 4
# The frame before, if any, a frame, and those after it.
FrameWindow: TypeAlias = tuple[Frame | None, Frame, Sequence[Frame]]
# From a view to the motion in it; None where a new shot begins.
FindMotion: TypeAlias = Callable[[FrameWindow], Motion | None]
# From the number of a frame to a residual (rows, columns, 3) that an earlier pass left for it.
LoadResidual: TypeAlias = Callable[[int], FloatArray]


@dataclass(frozen=True, eq=False)
class PrefetchedFrame:
    """A frame, and what its dream needs beside the last one."""

    frame: Frame
    inputs: FrameInputs
    """For a warm dream if there is a path, else for a cold one."""
    path: CarryMap | None
    """From the frame before; None for the first frame of a shot."""


def prefetch_frames(
    frames: Iterable[Frame],
    dreamer: Dreamer,
    temporal_dreamer: TemporalDreamer,
    flow: FlowEstimator | None,
    is_resumed: bool,
    left: LoadResidual | None = None,
) -> Generator[PrefetchedFrame]:
    """Each frame, a few of them in advance.

    Args:
        frames: those of a film.
        dreamer: that will dream them.
        steady: knows what it needs for that.
        flow: measures motion; None dreams every frame on its own.
        is_resumed: whether the first frame is there for the sake of the second's motion only.
        left: what an earlier pass left, for what comes into view.
    """
    cut_times_seconds = dreamer.settings.cut_times_seconds

    def moved(view: FrameWindow) -> Motion | None:
        previous, frame, following = view
        if previous is None or flow is None:
            return None
        return match_frames(previous, frame, flow, following, cut_times_seconds)

    views = frame_windows(frames, is_resumed, 0 if flow is None else LOOKAHEAD_FRAMES)
    return prefetch_windows(views, dreamer, temporal_dreamer, moved, left)


def prefetch_windows(
    views: Iterable[FrameWindow],
    dreamer: Dreamer,
    temporal_dreamer: TemporalDreamer,
    moved: FindMotion,
    left: LoadResidual | None = None,
) -> Generator[PrefetchedFrame]:
    """The frame of each view, in the order in which they are dreamed.

    Args: see `made_ready`.
    """

    def make_ready(view: FrameWindow) -> PrefetchedFrame:
        frame = view[1]
        picture, path, motion = dreamer.upload(frame.image), None, moved(view)
        if motion is not None:
            prior_residual = None if left is None else dreamer.upload(left(frame.index))
            path = carry_map(motion, frame.image.shape[:2], dreamer.device, prior_residual)
        time_seconds = float(frame.time_seconds)
        inputs = temporal_dreamer.prepare(
            picture, frame.index, time_seconds, is_warm=path is not None
        )
        return PrefetchedFrame(frame, inputs, path)

    workers = max(1, min(MAX_WORKERS, (os.cpu_count() or 1) // 2))
    return parallel_map(make_ready, views, workers, depth=workers + 1)


def frame_windows(frames: Iterable[Frame], is_resumed: bool, count: int) -> Iterator[FrameWindow]:
    """Each frame between the one before it and up to `count` after it."""
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
