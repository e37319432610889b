"""All that can be known of a frame before the one before it is dreamed.

Found out in threads of their own, a few frames ahead. Refuses to know the dreams.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from dreamvideo.dream import Dreamer, Octave
from dreamvideo.frames import Frame
from dreamvideo.motion import FlowEstimator, Path, match, path_of
from dreamvideo.pipeline.threads import parallel_map

# Frames that are made ready at once: more than this and they wait for the decoder.
MOST_WORKERS = 4
# Frames after which the smaller octaves are refreshed, too: large figures change slowly. Doing so
# in every frame costs a third more time; the dream is as strong, and less steady.
SMALL_OCTAVES_EVERY = 2


@dataclass(frozen=True, eq=False)
class Ready:
    """A frame, and what its dream needs beside the last one."""

    frame: Frame
    picture: Tensor
    """(1, 3, H, W) on the dreamer's device."""
    path: Path | None
    """From the frame before; None for the first frame of a shot."""
    octaves: Sequence[Octave]
    """Those that its dream wants: a warm one if there is a path, else a cold one."""

    def octaves_for(self, carried: Tensor | None) -> Sequence[Octave] | None:
        """The octaves, if they are right for what is carried; None if it was lost."""
        return self.octaves if (carried is None) == (self.path is None) else None


def made_ready(
    frames: Iterable[Frame], dreamer: Dreamer, flow: FlowEstimator | None, is_resumed: bool
) -> Generator[Ready]:
    """Each frame, a few of them in advance.

    Args:
        frames: those of a film.
        dreamer: that will dream them.
        flow: measures motion; None dreams every frame on its own.
        is_resumed: whether the first frame is there for the sake of the second's motion only.
    """

    def make_ready(pair: tuple[Frame | None, Frame]) -> Ready:
        previous, frame = pair
        picture, path = dreamer.upload(frame.image), None
        if previous is not None and flow is not None:
            motion = match(previous, frame, flow)
            if motion is not None:
                path = path_of(motion, frame.image.shape[:2], dreamer.device)
        octaves = dreamer.octaves(
            picture,
            float(frame.time_seconds),
            is_warm=path is not None,
            every_octave=frame.index % SMALL_OCTAVES_EVERY == 0,
        )
        return Ready(frame, picture, path, octaves)

    workers = max(1, min(MOST_WORKERS, (os.cpu_count() or 1) // 2))
    return parallel_map(make_ready, _pairs(frames, is_resumed), workers, depth=workers + 1)


def _pairs(frames: Iterable[Frame], is_resumed: bool) -> Iterator[tuple[Frame | None, Frame]]:
    frames = iter(frames)
    previous = next(frames, None) if is_resumed else None
    for frame in frames:
        yield previous, frame
        previous = frame
