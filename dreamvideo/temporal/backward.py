"""The backward pass: dreams each shot from its end to its beginning, before the forward pass.

What comes into view in the forward pass has then been visible, and is dreamed, already. Residuals
go to the disk; of frames, never more than one chunk of the video is in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from dreamvideo.dream.dreamer import Dreamer
from dreamvideo.errors import InputError
from dreamvideo.media.read import Source
from dreamvideo.media.write.files import check_free_space
from dreamvideo.motion.flow import FlowEstimator
from dreamvideo.motion.matching import LOOKAHEAD_FRAMES, motion_between, starts_new_shot
from dreamvideo.settings import Settings
from dreamvideo.temporal.refresh import TemporalDreamer
from dreamvideo.temporal.residual_store import ResidualStore
from dreamvideo.temporal.video import FrameWindow, dream_in_order, frame_windows, prefetch_windows
from dreamvideo.types import (
    Frame,
    FramePosition,
    Motion,
    Progress,
    ProgressCallback,
    VideoInfo,
)

# Opens the video at a frame, or at the first one for None.
Reopen: TypeAlias = Callable[[FramePosition | None], AbstractContextManager[Source]]
HalfSizeResiduals: TypeAlias = dict[int, npt.NDArray[np.float16]]

# Frames that are decoded at once and dreamed from the last to the first: so many that decoding from
# the previous key frame costs little beside their dreams; but no more bytes, and no fewer frames,
# than these.
CHUNK_FRAMES = 32
CHUNK_BYTES = 1 << 29
MIN_CHUNK_FRAMES = 4
# Residuals are smooth (their steps are smoothed by 2 px), so that half of the size is enough.
RESIDUAL_SHRINK = 2
# Three channels of two bytes each.
RESIDUAL_BYTES_PER_PIXEL = 3 * 2 / RESIDUAL_SHRINK**2


@dataclass(frozen=True)
class ShotList:
    """What is known of all frames of the video."""

    times_seconds: Sequence[Fraction]
    """When each frame is shown."""
    first_frames: frozenset[int]
    """Indices of the frames with which shots begin."""

    @property
    def frame_count(self) -> int:
        """How many frames the video has."""
        return len(self.times_seconds)


def dream_backward(
    reopen: Reopen,
    info: VideoInfo,
    dreamer: Dreamer,
    settings: Settings,
    flow: FlowEstimator,
    store: ResidualStore,
    on_progress: ProgressCallback | None = None,
) -> int:
    """Save the residual of every frame in `store`; returns how many frames there are.

    Args:
        reopen: opens the video at any frame.
        info: size of the video.
        dreamer: dreams one image.
        settings: how to dream each frame.
        flow: estimates motion.
        store: takes the residuals; knows where an earlier run ended.
        on_progress: called after each frame; this pass is the first half of the work.

    Raises:
        InputError: the video is damaged, or decodes to other frames each time.
        OutputError: there is no room for the residuals.
    """
    progress = store.progress
    if progress is not None and progress.first_frame == 0:
        return progress.frame_count
    done = 0 if progress is None else progress.frames_done
    check_free_space(store.path, info, done, RESIDUAL_BYTES_PER_PIXEL)
    shots = find_shots(reopen, settings)
    chunk_frames = chunk_length(info.width_px, info.height_px)
    with closing(TemporalDreamer(dreamer, settings)) as temporal:
        backward = _BackwardPass(reopen, shots, dreamer, temporal, flow, store, on_progress)
        for end in range(shots.frame_count - done, 0, -chunk_frames):
            backward.dream_chunk(max(0, end - chunk_frames), end)
    return shots.frame_count


def chunk_length(width_px: int, height_px: int) -> int:
    """How many frames a chunk has."""
    fitting = CHUNK_BYTES // (width_px * height_px * 3 * np.dtype(np.float32).itemsize)
    return min(CHUNK_FRAMES, max(MIN_CHUNK_FRAMES, fitting))


def find_shots(reopen: Reopen, settings: Settings) -> ShotList:
    """When each frame is shown, and where shots begin, as the forward pass will decide it."""
    times_seconds, first_frames = [], {0}
    with reopen(None) as source:
        for previous, frame, following in frame_windows(source, False, LOOKAHEAD_FRAMES):
            times_seconds.append(frame.time_seconds)
            if previous is not None and starts_new_shot(
                previous, frame, following, settings.cut_times_seconds
            ):
                first_frames.add(frame.index)
    return ShotList(times_seconds, frozenset(first_frames))


def as_second_pass(
    on_progress: ProgressCallback | None, frame_count: int
) -> ProgressCallback | None:
    """The callback for the forward pass, which counts from the end of the backward pass."""
    if on_progress is None:
        return None

    def report(progress: Progress) -> None:
        done = frame_count + progress.frames_done
        on_progress(replace(progress, frames_done=done, frame_count=2 * frame_count))

    return report


class _BackwardPass:
    """The pass through one video."""

    def __init__(
        self,
        reopen: Reopen,
        shots: ShotList,
        dreamer: Dreamer,
        temporal: TemporalDreamer,
        flow: FlowEstimator,
        store: ResidualStore,
        on_progress: ProgressCallback | None,
    ) -> None:
        self._reopen = reopen
        self._shots = shots
        self._dreamer = dreamer
        self._temporal = temporal
        self._flow = flow
        self._store = store
        self._on_progress = on_progress
        self._gain = 1.0
        self._state = store.load_state(dreamer.device)

    def dream_chunk(self, first: int, end: int) -> None:
        """Dream a chunk from its last frame to its first one, and record that it is done."""
        residuals = self._dream(self._read(first, end), first, end)
        self._store.commit(first, self._shots.frame_count, residuals, self._state)

    def _read(self, first: int, end: int) -> Mapping[int, Frame]:
        """The frames of a chunk, with the one after them and some before."""
        times_seconds = self._shots.times_seconds
        begin = max(0, first - LOOKAHEAD_FRAMES)
        with self._reopen(FramePosition(begin, times_seconds[begin])) as source:
            frames = {frame.index: frame for frame in islice(source, end + 1 - begin)}
        for index in range(begin, min(end + 1, self._shots.frame_count)):
            if index not in frames or frames[index].time_seconds != times_seconds[index]:
                raise InputError(
                    f"frame {index} of the source was not found again, so that it cannot be "
                    "dreamed backward; repair the source, or leave --passes out"
                )
        return frames

    def _dream(self, frames: Mapping[int, Frame], first: int, end: int) -> HalfSizeResiduals:
        """The residuals of a chunk, at half size."""
        residuals = HalfSizeResiduals()
        windows = self._windows(frames, first, end)
        with closing(
            prefetch_windows(windows, self._dreamer, self._temporal, self._find_motion)
        ) as prefetched:
            for dream in dream_in_order(
                prefetched,
                self._dreamer,
                self._temporal,
                self._state,
                measures_gain=self._on_progress is not None,
                gain=self._gain,
            ):
                index, self._state, self._gain = dream.frame.index, dream.state, dream.gain
                residual = self._dreamer.download(half_size(dream.residual))
                residuals[index] = residual.astype(np.float16)
                if self._on_progress is not None:
                    count = self._shots.frame_count
                    self._on_progress(Progress(count - index, 2 * count, dream.gain))
        return residuals

    def _windows(self, frames: Mapping[int, Frame], first: int, end: int) -> Iterator[FrameWindow]:
        """Each frame after the one that follows it in the video, within its shot."""
        first_frames = self._shots.first_frames
        for index in reversed(range(first, end)):
            later = None if index + 1 in first_frames else frames.get(index + 1)
            earliest = index
            while earliest not in first_frames and index - earliest < LOOKAHEAD_FRAMES:
                earliest -= 1
            yield later, frames[index], [frames[i] for i in reversed(range(earliest, index))]

    def _find_motion(self, window: FrameWindow) -> Motion | None:
        later, frame, earlier = window
        return None if later is None else motion_between(later, frame, self._flow, earlier)


def half_size(residual: Tensor) -> Tensor:
    """(1, 3, H, W) at half size, rounded up."""
    height, width = (-(-side // RESIDUAL_SHRINK) for side in residual.shape[-2:])
    return nn.functional.adaptive_avg_pool2d(residual, (height, width))
