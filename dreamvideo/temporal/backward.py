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

from dreamvideo.dream.dreamer import Dreamer
from dreamvideo.errors import DreamVideoWarning, InputError
from dreamvideo.media.read import Source
from dreamvideo.media.write.files import check_free_space
from dreamvideo.motion.flow import FlowEstimator
from dreamvideo.motion.matching import LOOKAHEAD_FRAMES, motion_between, starts_new_shot
from dreamvideo.settings import Settings
from dreamvideo.temporal.prefetch import FrameWindow, frame_windows, prefetch_windows
from dreamvideo.temporal.refresh import TemporalDreamer
from dreamvideo.temporal.residual_store import ResidualStore
from dreamvideo.temporal.video import dream_in_order
from dreamvideo.types import (
    Frame,
    FramePosition,
    Motion,
    Progress,
    ProgressCallback,
    TemporalState,
    VideoInfo,
)

# From a frame on, or from the first one if there is none.
Reopen: TypeAlias = Callable[[FramePosition | None], AbstractContextManager[Source]]
HalfSizeResiduals: TypeAlias = dict[int, npt.NDArray[np.float16]]

# Frames that are read at once and dreamed from the last to the first: so many that the way there
# from a film's last key frame costs little beside their dreams; but no more bytes, and no fewer
# frames, than these.
CHUNK_FRAMES = 32
CHUNK_BYTES = 1 << 29
MIN_CHUNK_FRAMES = 4
# Residuals are smooth (their steps are smoothed by 2 px), so that a half of the size shows them.
RESIDUAL_SHRINK = 2
# Three numbers of two bytes each.
RESIDUAL_BYTES_PER_PIXEL = 3 * 2 / RESIDUAL_SHRINK**2


@dataclass(frozen=True)
class ShotList:
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
    info: VideoInfo,
    dreamer: Dreamer,
    flow: FlowEstimator,
    residual_store: ResidualStore,
    on_progress: ProgressCallback | None = None,
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
    progress = residual_store.progress
    if progress is not None and progress.first_frame == 0:
        return progress.frame_count
    done = 0 if progress is None else progress.frames_done
    check_free_space(residual_store.path, info, done, RESIDUAL_BYTES_PER_PIXEL)
    shots = find_shots(reopen, dreamer.settings)
    chunk_frames = chunk_length(info.width_px, info.height_px)
    backward = _BackwardPass(reopen, shots, dreamer, flow, residual_store, on_progress)
    for end in range(shots.frames - done, 0, -chunk_frames):
        backward.dream(max(0, end - chunk_frames), end)
    return shots.frames


def chunk_length(width_px: int, height_px: int) -> int:
    """How many frames are dreamed of one chunk."""
    fitting = CHUNK_BYTES // (width_px * height_px * 3 * np.dtype(np.float32).itemsize)
    return min(CHUNK_FRAMES, max(MIN_CHUNK_FRAMES, fitting))


def find_shots(reopen: Reopen, settings: Settings) -> ShotList:
    """When each frame is shown, and where shots begin, as the forward pass will decide it."""
    times_seconds, begins = [], {0}
    with _reopened(reopen, None) as source:
        for previous, frame, following in frame_windows(source, False, LOOKAHEAD_FRAMES):
            times_seconds.append(frame.time_seconds)
            if previous is not None and starts_new_shot(
                previous, frame, following, settings.cut_times_seconds
            ):
                begins.add(frame.index)
    return ShotList(times_seconds, frozenset(begins))


def as_second_pass(on_progress: ProgressCallback | None, frames: int) -> ProgressCallback | None:
    """The same callback for the forward pass, told that another has been before."""
    if on_progress is None:
        return None

    def tell(progress: Progress) -> None:
        on_progress(
            replace(progress, frames_done=frames + progress.frames_done, frame_count=2 * frames)
        )

    return tell


class _BackwardPass:
    """The pass through one film."""

    def __init__(
        self,
        reopen: Reopen,
        shots: ShotList,
        dreamer: Dreamer,
        flow: FlowEstimator,
        residual_store: ResidualStore,
        on_progress: ProgressCallback | None,
    ) -> None:
        self._reopen = reopen
        self._shots = shots
        self._dreamer = dreamer
        self._flow = flow
        self._spill = residual_store
        self._on_progress = on_progress
        self._temporal_dreamer = TemporalDreamer(dreamer)
        self._gain = 1.0
        carried = residual_store.load_carried()
        self._state = TemporalState(
            None if carried is None else dreamer.upload(carried), residual_store.load_target_level()
        )

    def dream(self, first: int, end: int) -> None:
        """Dream a chunk from its last frame to its first one, and write down that it is done."""
        pictures = self._dream(self._read(first, end), first, end)
        assert self._state.carried is not None  # every frame leaves a residual
        carried = self._dreamer.download(self._state.carried)
        self._spill.commit(first, self._shots.frames, pictures, carried, self._state.target_level)

    def _read(self, first: int, end: int) -> Mapping[int, Frame]:
        """The frames of a chunk, with the one after them and some before."""
        times_seconds = self._shots.times_seconds
        begin = max(0, first - LOOKAHEAD_FRAMES)
        with _reopened(self._reopen, FramePosition(begin, times_seconds[begin])) as source:
            frames = {frame.index: frame for frame in islice(source, end + 1 - begin)}
        for index in range(begin, min(end + 1, self._shots.frames)):
            if index not in frames or frames[index].time_seconds != times_seconds[index]:
                raise InputError(
                    f"frame {index} of the source was not found again, so that it cannot be "
                    "dreamed backward; mend the source, or leave --passes out"
                )
        return frames

    def _dream(self, frames: Mapping[int, Frame], first: int, end: int) -> HalfSizeResiduals:
        """The residuals of a chunk, at half size."""
        dreamer, pictures = self._dreamer, HalfSizeResiduals()
        views = self._views(frames, first, end)
        with closing(
            prefetch_windows(views, dreamer, self._temporal_dreamer, self._moved)
        ) as prefetched_frames:
            for dream in dream_in_order(
                *(prefetched_frames, dreamer, self._temporal_dreamer, self._state),
                is_watched=self._on_progress is not None,
                gain=self._gain,
            ):
                index, self._state, self._gain = dream.frame.index, dream.state, dream.gain
                pictures[index] = dreamer.download(half_size(dream.residual)).astype(np.float16)
                if self._on_progress is not None:
                    count = self._shots.frames
                    self._on_progress(Progress(count - index, 2 * count, dream.gain))
        return pictures

    def _views(self, frames: Mapping[int, Frame], first: int, end: int) -> Iterator[FrameWindow]:
        """Each frame after the one that follows it in the film; nothing of another shot."""
        begins = self._shots.begins
        for index in reversed(range(first, end)):
            later = None if index + 1 in begins else frames.get(index + 1)
            earliest = index
            while earliest not in begins and index - earliest < LOOKAHEAD_FRAMES:
                earliest -= 1
            yield later, frames[index], [frames[i] for i in reversed(range(earliest, index))]

    def _moved(self, view: FrameWindow) -> Motion | None:
        later, frame, earlier = view
        return None if later is None else motion_between(later, frame, self._flow, earlier)


@contextmanager
def _reopened(reopen: Reopen, resume_at: FramePosition | None) -> Iterator[Source]:
    with warnings.catch_warnings():  # what is to be said of the film was said the first time
        warnings.simplefilter("ignore", DreamVideoWarning)
        with reopen(resume_at) as source:
            yield source


def half_size(residual: Tensor) -> Tensor:
    """(1, 3, H, W) at half size, rounded up."""
    height, width = (-(-side // RESIDUAL_SHRINK) for side in residual.shape[-2:])
    return nn.functional.adaptive_avg_pool2d(residual, (height, width))
