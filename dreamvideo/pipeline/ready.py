"""All that can be known of a frame before the one before it is dreamed.

Found out in threads of their own, a few frames ahead. Refuses to know the dreams.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, repeat
from typing import TypeAlias

from dreamvideo.dream import Dreamer
from dreamvideo.frames import FloatArray, Frame, Motion
from dreamvideo.motion import FRAMES_FOLLOWING, FlowEstimator, Path, match, path_of
from dreamvideo.pipeline.prepared import Prepared
from dreamvideo.pipeline.steady import Steady
from dreamvideo.pipeline.threads import parallel_map

# Frames that are made ready at once: more than this and they wait for the decoder.
MOST_WORKERS = 4
# The frame before, if any, a frame, and those after it.
View: TypeAlias = tuple[Frame | None, Frame, Sequence[Frame]]
# From a view to the motion in it; None where a new shot begins.
Moved: TypeAlias = Callable[[View], Motion | None]
# From the number of a frame to a residual (rows, columns, 3) that an earlier pass left for it.
Left: TypeAlias = Callable[[int], FloatArray]


@dataclass(frozen=True, eq=False)
class Ready:
    """A frame, and what its dream needs beside the last one."""

    frame: Frame
    prepared: Prepared
    """For a warm dream if there is a path, else for a cold one."""
    path: Path | None
    """From the frame before; None for the first frame of a shot."""


def made_ready(
    frames: Iterable[Frame],
    dreamer: Dreamer,
    steady: Steady,
    flow: FlowEstimator | None,
    is_resumed: bool,
    left: Left | None = None,
) -> Generator[Ready]:
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

    def moved(view: View) -> Motion | None:
        previous, frame, following = view
        if previous is None or flow is None:
            return None
        return match(previous, frame, flow, following, cut_times_seconds)

    views = views_of(frames, is_resumed, 0 if flow is None else FRAMES_FOLLOWING)
    return all_ready(views, dreamer, steady, moved, left)


def all_ready(
    views: Iterable[View],
    dreamer: Dreamer,
    steady: Steady,
    moved: Moved,
    left: Left | None = None,
) -> Generator[Ready]:
    """The frame of each view, in the order in which they are dreamed.

    Args: see `made_ready`.
    """

    def make_ready(view: View) -> Ready:
        frame = view[1]
        picture, path, motion = dreamer.upload(frame.image), None, moved(view)
        if motion is not None:
            there = None if left is None else dreamer.upload(left(frame.index))
            path = path_of(motion, frame.image.shape[:2], dreamer.device, there)
        time_seconds = float(frame.time_seconds)
        prepared = steady.prepare(picture, frame.index, time_seconds, is_warm=path is not None)
        return Ready(frame, prepared, path)

    workers = max(1, min(MOST_WORKERS, (os.cpu_count() or 1) // 2))
    return parallel_map(make_ready, views, workers, depth=workers + 1)


def views_of(frames: Iterable[Frame], is_resumed: bool, count: int) -> Iterator[View]:
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
