"""The motion from one frame to the next, through flashes and fades."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import cv2
import numpy as np

from dreamvideo.motion.confidence import carry_confidence
from dreamvideo.motion.flow import FlowEstimator
from dreamvideo.motion.scene_cuts import FrameStats, is_cut_between, is_same_scene, match_tones
from dreamvideo.types import FloatArray, Frame, Motion

# Flow is estimated on images of at most this longest side: it varies slowly over the image, and
# its cost grows with the number of pixels.
FLOW_MAX_PX = 480
# Frames after the current one that are used: a flash of up to three frames and the frame after it.
LOOKAHEAD_FRAMES = 3
# Changes of brightness or contrast below this harm the flow little. Measured on five videos: the
# end-point error of DIS is 0.2 px where images are brighter by 0.04, and 3 px where they are 2.5
# times as bright, which matched tones reduce to 0.7 px.
LIGHT_TOLERANCE = 0.05
# Images with less contrast than this are in a fade if their contrast falls. Their residual shrinks
# as their contrast does: an old shot's dream would shine through the dark into the new shot.
FADE_CONTRAST = 0.3
# Contrast below this is not distinguished from none.
CONTRAST_FLOOR = 0.01


def match_frames(
    previous: Frame,
    current: Frame,
    flow: FlowEstimator,
    following: Sequence[Frame] = (),
    cut_times_seconds: Sequence[Fraction] | None = None,
) -> Motion | None:
    """The motion from `previous` to `current`; None if a new shot begins between them.

    Args:
        previous: the frame before.
        current: the frame.
        flow: estimates the motion.
        following: up to `LOOKAHEAD_FRAMES` frames after the current one. They distinguish a flash
            from a cut, and show the motion where one of the two frames is blank.
        cut_times_seconds: times at which shots begin; None detects cuts.
    """
    if starts_new_shot(previous, current, following, cut_times_seconds):
        return None
    return motion_between(previous, current, flow, following)


def starts_new_shot(
    previous: Frame,
    current: Frame,
    following: Sequence[Frame] = (),
    cut_times_seconds: Sequence[Fraction] | None = None,
) -> bool:
    """Whether a new shot begins with `current`.

    Args: see `match_frames`.
    """
    if cut_times_seconds is None:
        stats = FrameStats.of(previous.image), FrameStats.of(current.image)
        return is_cut_between(*stats, (FrameStats.of(frame.image) for frame in following))
    return any(
        previous.time_seconds < cut_seconds <= current.time_seconds
        for cut_seconds in cut_times_seconds
    )


def motion_between(
    previous: Frame, current: Frame, flow: FlowEstimator, following: Sequence[Frame] = ()
) -> Motion:
    """The motion from `previous` to `current`, which belong to one shot.

    For a video in reverse, give the frames in the order in which they are dreamed.

    Args: see `match_frames`.
    """
    stats = FrameStats.of(previous.image), FrameStats.of(current.image)
    first, second, frames_apart, visible_stats = previous, current, 1, stats
    if any(one.is_blank for one in stats):
        first, second, frames_apart = _visible_pair(previous, current, following)
        visible_stats = FrameStats.of(first.image), FrameStats.of(second.image)
    before, after = _with_matched_tones(
        visible_stats, (_shrunk(first.image), _shrunk(second.image))
    )
    flow_to_previous = flow(after, before)
    confidence = carry_confidence(after, before, flow_to_previous, flow(before, after))
    scale = np.divide(current.image.shape[1::-1], after.shape[1::-1], dtype=np.float32)
    return Motion(flow_to_previous * (scale / frames_apart), confidence, _fade_factor(*stats))


def _visible_pair(
    previous: Frame, current: Frame, following: Sequence[Frame]
) -> tuple[Frame, Frame, int]:
    """Two frames that show the motion where one of a pair is blank, and their distance in frames.

    At the beginning of a flash, the frames before and after it; at its end, the two after it. The
    given pair if there are no such frames.
    """
    frames = [current, *following]
    stats = [FrameStats.of(frame.image) for frame in frames]
    visible = next((index for index, one in enumerate(stats) if not one.is_blank), None)
    before = FrameStats.of(previous.image)
    if visible is not None and not before.is_blank and is_same_scene(before, stats[visible]):
        return previous, frames[visible], visible + 1
    if visible is not None and before.is_blank and visible + 1 < len(frames):
        pair = stats[visible : visible + 2]
        if not pair[1].is_blank and is_same_scene(*pair):
            return frames[visible], frames[visible + 1], 1
    return previous, current, 1


def _fade_factor(previous: FrameStats, current: FrameStats) -> float:
    """The share of the residual to keep: 1 outside a fade to one colour."""
    if current.contrast >= FADE_CONTRAST or previous.jumps_to(current):
        return 1.0
    return min(1.0, (current.contrast + CONTRAST_FLOOR) / (previous.contrast + CONTRAST_FLOOR))


def _with_matched_tones(
    stats: tuple[FrameStats, FrameStats], images: tuple[FloatArray, FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Images (H, W, 3) in [0, 1]: grey and with the same tones if their light differs."""
    first, second = stats
    if first.light_change(second) < LIGHT_TOLERANCE:
        return images
    grey = [np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32) for image in images]
    before, after = match_tones(first, second, (grey[0], grey[1]))
    return np.dstack([before] * 3), np.dstack([after] * 3)


def _shrunk(image: FloatArray) -> FloatArray:
    height, width = image.shape[:2]
    scale = FLOW_MAX_PX / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32)
