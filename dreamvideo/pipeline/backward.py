"""The backward pass: dreams each shot from its end to its beginning, before the forward one.

What comes into view in the forward pass then has been seen, and is dreamed, already. Residuals go
to the disk; of pictures there are never more in memory than one chunk of the film. Refuses to know
what becomes of the residuals, and where frames come from.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from dreamvideo.dream import Dreamer
from dreamvideo.errors import DreamVideoWarning, InputError
from dreamvideo.frames import Footage, Frame, Memory, Motion, Position, Progress
from dreamvideo.motion import FRAMES_FOLLOWING, FlowEstimator, begins_shot, motion_between
from dreamvideo.pipeline.film import OnProgress, dreams_of
from dreamvideo.pipeline.ready import View, all_ready, views_of
from dreamvideo.pipeline.steady import Steady
from dreamvideo.settings import Settings
from dreamvideo.sinks import check_space
from dreamvideo.sources import Source
from dreamvideo.work import Spill

# From a frame on, or from the first one if there is none.
Reopen: TypeAlias = Callable[[Position | None], AbstractContextManager[Source]]
Pictures: TypeAlias = dict[int, npt.NDArray[np.float16]]

# Frames that are read at once and dreamed from the last to the first: so many that the way there
# from a film's last key frame costs little beside their dreams; but no more bytes, and no fewer
# frames, than these.
CHUNK_FRAMES = 32
CHUNK_BYTES = 1 << 29
FEWEST_CHUNK_FRAMES = 4
# Residuals are smooth (their steps are smoothed by 2 px), so that a half of the size shows them.
SPILL_RATIO = 2
# Three numbers of two bytes each.
SPILL_BYTES_PER_PIXEL = 3 * 2 / SPILL_RATIO**2


@dataclass(frozen=True)
class Shots:
    """All that is kept in memory of the whole film."""

    times_seconds: Sequence[Fraction]
    """Of each frame."""
    begins: frozenset[int]
    """Frames with which shots begin."""

    @property
    def frames(self) -> int:
        """How many frames the film has."""
        return len(self.times_seconds)


def dream_backward(
    reopen: Reopen,
    footage: Footage,
    dreamer: Dreamer,
    flow: FlowEstimator,
    spill: Spill,
    on_progress: OnProgress | None = None,
) -> int:
    """Leave the residual of every frame in `spill`; returns how many frames there are.

    Args:
        reopen: opens the film at any frame.
        footage: what is known of it.
        dreamer: dreams one picture, as its settings say.
        flow: measures motion.
        spill: takes the residuals; says where an earlier run ended.
        on_progress: called after each frame; this pass is the first half of the work.

    Raises:
        InputError: the film is damaged, or gives other frames each time.
        OutputError: there is no room for the residuals.
    """
    state = spill.state
    if state is not None and state.first == 0:
        return state.frames
    done = 0 if state is None else state.frames - state.first
    check_space(spill.path, footage, done, SPILL_BYTES_PER_PIXEL)
    shots = find_shots(reopen, dreamer.settings)
    chunk_frames = chunk_length(footage.width_px, footage.height_px)
    backward = _Backward(reopen, shots, dreamer, flow, spill, on_progress)
    for end in range(shots.frames - done, 0, -chunk_frames):
        backward.dream(max(0, end - chunk_frames), end)
    return shots.frames


def chunk_length(width_px: int, height_px: int) -> int:
    """How many frames are dreamed of one chunk."""
    fitting = CHUNK_BYTES // (width_px * height_px * 3 * np.dtype(np.float32).itemsize)
    return min(CHUNK_FRAMES, max(FEWEST_CHUNK_FRAMES, fitting))


def find_shots(reopen: Reopen, settings: Settings) -> Shots:
    """When each frame is shown, and where shots begin, as the forward pass will decide it."""
    times_seconds, begins = [], {0}
    with _opened_again(reopen, None) as source:
        for previous, frame, following in views_of(source, False, FRAMES_FOLLOWING):
            times_seconds.append(frame.time_seconds)
            if previous is not None and begins_shot(
                previous, frame, following, settings.cut_times_seconds
            ):
                begins.add(frame.index)
    return Shots(times_seconds, frozenset(begins))


def in_second_half(on_progress: OnProgress | None, frames: int) -> OnProgress | None:
    """The same callback for the forward pass, told that another has been before."""
    if on_progress is None:
        return None

    def tell(progress: Progress) -> None:
        on_progress(
            replace(progress, frames_done=frames + progress.frames_done, frame_count=2 * frames)
        )

    return tell


class _Backward:
    """The pass through one film."""

    def __init__(
        self,
        reopen: Reopen,
        shots: Shots,
        dreamer: Dreamer,
        flow: FlowEstimator,
        spill: Spill,
        on_progress: OnProgress | None,
    ) -> None:
        self._reopen = reopen
        self._shots = shots
        self._dreamer = dreamer
        self._flow = flow
        self._spill = spill
        self._on_progress = on_progress
        self._steady = Steady(dreamer)
        self._gain = 1.0
        carried = spill.load_carried()
        self._memory = Memory(
            None if carried is None else dreamer.upload(carried), spill.load_hold()
        )

    def dream(self, first: int, end: int) -> None:
        """Dream a chunk from its last frame to its first one, and write down that it is done."""
        pictures = self._dream(self._read(first, end), first, end)
        assert self._memory.carried is not None  # every frame leaves a residual
        carried = self._dreamer.download(self._memory.carried)
        self._spill.commit(first, self._shots.frames, pictures, carried, self._memory.hold)

    def _read(self, first: int, end: int) -> Mapping[int, Frame]:
        """The frames of a chunk, with the one after them and some before."""
        times_seconds = self._shots.times_seconds
        begin = max(0, first - FRAMES_FOLLOWING)
        with _opened_again(self._reopen, Position(begin, times_seconds[begin])) as source:
            frames = {frame.index: frame for frame in islice(source, end + 1 - begin)}
        for index in range(begin, min(end + 1, self._shots.frames)):
            if index not in frames or frames[index].time_seconds != times_seconds[index]:
                raise InputError(
                    f"frame {index} of the source was not found again, so that it cannot be "
                    "dreamed backward; mend the source, or leave --passes out"
                )
        return frames

    def _dream(self, frames: Mapping[int, Frame], first: int, end: int) -> Pictures:
        """The residuals of a chunk, at half size."""
        dreamer, pictures = self._dreamer, Pictures()
        views = self._views(frames, first, end)
        with closing(all_ready(views, dreamer, self._steady, self._moved)) as ready_frames:
            for dream in dreams_of(
                *(ready_frames, dreamer, self._steady, self._memory),
                is_watched=self._on_progress is not None,
                gain=self._gain,
            ):
                index, self._memory, self._gain = dream.frame.index, dream.memory, dream.gain
                pictures[index] = dreamer.download(halved(dream.residual)).astype(np.float16)
                if self._on_progress is not None:
                    count = self._shots.frames
                    self._on_progress(Progress(count - index, 2 * count, dream.gain))
        return pictures

    def _views(self, frames: Mapping[int, Frame], first: int, end: int) -> Iterator[View]:
        """Each frame after the one that follows it in the film; nothing of another shot."""
        begins = self._shots.begins
        for index in reversed(range(first, end)):
            later = None if index + 1 in begins else frames.get(index + 1)
            earliest = index
            while earliest not in begins and index - earliest < FRAMES_FOLLOWING:
                earliest -= 1
            yield later, frames[index], [frames[i] for i in reversed(range(earliest, index))]

    def _moved(self, view: View) -> Motion | None:
        later, frame, earlier = view
        return None if later is None else motion_between(later, frame, self._flow, earlier)


@contextmanager
def _opened_again(reopen: Reopen, resume_at: Position | None) -> Iterator[Source]:
    with warnings.catch_warnings():  # what is to be said of the film was said the first time
        warnings.simplefilter("ignore", DreamVideoWarning)
        with reopen(resume_at) as source:
            yield source


def halved(residual: Tensor) -> Tensor:
    """(1, 3, H, W) at half size, rounded up."""
    height, width = (-(-side // SPILL_RATIO) for side in residual.shape[-2:])
    return nn.functional.adaptive_avg_pool2d(residual, (height, width))
