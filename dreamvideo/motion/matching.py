"""Measures the motion from one frame to the next. Refuses to know when and in which thread."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import cv2
import numpy as np

from dreamvideo.motion.confidence import carry_confidence
from dreamvideo.motion.flow import FlowEstimator
from dreamvideo.motion.scene_cuts import FrameStats, is_cut_between, is_same_scene, match_tones
from dreamvideo.types import FloatArray, Frame, Motion

# Motion is measured on pictures of at most this longest side: it changes slowly from place to
# place, and its cost grows with the number of pixels.
FLOW_MAX_PX = 480
# Frames after the current one that are looked at: a flash of three and what comes after it.
LOOKAHEAD_FRAMES = 3
# Changes of brightness or spread below this harm the flow little. Measured on five films: DIS errs
# by 0.2 px where pictures are brighter by 0.04, by 3 px where they are 2.5 times as bright, and by
# 0.7 px there in one light.
LIGHT_TOLERANCE = 0.05
# Pictures flatter than this are taken for fading when they get flatter, and keep only as much of
# the dream as of the picture: an old shot's dream would shine through the dark into the new one.
FADE_SPREAD = 0.3
# Flatter than this is as good as flat.
SPREAD_FLOOR = 0.01


def match_frames(
    previous: Frame,
    current: Frame,
    flow: FlowEstimator,
    following: Sequence[Frame] = (),
    cut_times_seconds: Sequence[Fraction] | None = None,
) -> Motion | None:
    """How the picture moved from `previous` to `current`; None where a new shot begins.

    Args:
        previous: the frame before.
        current: the frame.
        flow: measures motion.
        following: up to `FRAMES_FOLLOWING` frames after the current one: they tell a flash from a
            cut, and how the picture moves where nothing is to be seen.
        cut_times_seconds: when shots begin; None finds it out.
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

    Args: see `match`.
    """
    if cut_times_seconds is None:
        looks = FrameStats.of(previous.image), FrameStats.of(current.image)
        return is_cut_between(*looks, (FrameStats.of(frame.image) for frame in following))
    times = previous.time_seconds, current.time_seconds
    return any(times[0] < cut <= times[1] for cut in cut_times_seconds)


def motion_between(
    previous: Frame, current: Frame, flow: FlowEstimator, following: Sequence[Frame] = ()
) -> Motion:
    """How the picture moved from `previous` to `current`, within a shot.

    With a film's frames in reverse it is the motion of the film shown backward.

    Args: see `match`.
    """
    looks = FrameStats.of(previous.image), FrameStats.of(current.image)
    earlier, later, frames_apart = previous, current, 1
    if any(look.is_blank for look in looks):
        earlier, later, frames_apart = _visible_pair(previous, current, following)
        pair = FrameStats.of(earlier.image), FrameStats.of(later.image)
    else:
        pair = looks
    before, now = _with_matched_tones(pair, (_shrunk(earlier.image), _shrunk(later.image)))
    flow_to_previous = flow(now, before)
    trusted = carry_confidence(now, before, flow_to_previous, flow(before, now))
    scale = np.divide(current.image.shape[1::-1], now.shape[1::-1], dtype=np.float32)
    return Motion(flow_to_previous * (scale / frames_apart), trusted, _fade_factor(*looks))


def _visible_pair(
    previous: Frame, current: Frame, following: Sequence[Frame]
) -> tuple[Frame, Frame, int]:
    """Two frames that show the motion where one of a pair is blank, and how far they are apart.

    Into a flash, the frames before and after it; out of it, the two after it.
    """
    frames = [current, *following]
    looks = [FrameStats.of(frame.image) for frame in frames]
    first = next((place for place, look in enumerate(looks) if not look.is_blank), None)
    before = FrameStats.of(previous.image)
    if first is not None and not before.is_blank and is_same_scene(before, looks[first]):
        return previous, frames[first], first + 1
    if first is not None and before.is_blank and first + 1 < len(frames):
        pair = looks[first : first + 2]
        if not pair[1].is_blank and is_same_scene(*pair):
            return frames[first], frames[first + 1], 1
    return previous, current, 1


def _fade_factor(before: FrameStats, now: FrameStats) -> float:
    """The share of the dream that stays where the picture fades away."""
    if now.spread >= FADE_SPREAD or before.jumps_to(now):
        return 1.0
    return min(1.0, (now.spread + SPREAD_FLOOR) / (before.spread + SPREAD_FLOOR))


def _with_matched_tones(
    looks: tuple[FrameStats, FrameStats], images: tuple[FloatArray, FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Images (H, W, 3) in [0, 1], made grey and alike in tones where their light differs."""
    one, other = looks
    changes = other.brightness - one.brightness, other.spread - one.spread
    if max(map(abs, changes)) < LIGHT_TOLERANCE:
        return images
    grey = [np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32) for image in images]
    before, now = match_tones(one, other, (grey[0], grey[1]))
    return np.dstack([before] * 3), np.dstack([now] * 3)


def _shrunk(image: FloatArray) -> FloatArray:
    height, width = image.shape[:2]
    scale = FLOW_MAX_PX / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32)
