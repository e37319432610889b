"""When a zoom leaves which still and approaches which one, and how the next still arrives.

A zoom through n stills has n stages of equal length. Each begins with its still; at its end the
next one has arrived or, in a loop, after the last stage, the first one again. Where the camera
zooms in, the next still appears small, deep inside the dream, and grows until it fills the frame.
Otherwise the dream fades into it, while it moves to its place with the camera.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from dreamvideo.settings.keyframes import smoothstep
from dreamvideo.zoom.camera import Camera, Canvas, Similarity, sampling_grid, transform_image

# In the first second of a stage the dream grows out of its still, in the last one it gives way to
# the next; in short stages each takes at most this share.
FADE_SECONDS = 1.0
MAX_FADE_SHARE = 1 / 3
# A still that will have grown by less than this in its stage is faded into: it would look like a
# frame in the frame.
MIN_GROWTH = 2.0
# A still smaller than this is not drawn.
MIN_WIDTH_PX = 4.0
# If the still does not grow: how long the cross-fade takes, in short stages at most this share.
CROSS_FADE_SECONDS = 2.0
MAX_CROSS_FADE_SHARE = 0.5
# How fast a growing still replaces the dream: share of the way in one second. The dream works on it
# all the while, until the last second.
GROWING_RATE = 0.8
# Width of the soft edge of a still that is far away, as a share of its half width; it narrows as
# the still fills the frame.
SOFT_EDGE = 0.5


@dataclass(frozen=True)
class Stage:
    """The part of a zoom between two stills."""

    current_still: int
    """Index of the still with which the stage begins."""
    next_still: int | None
    """Index of the still that arrives at its end; None at the end of a zoom that is no loop."""
    begin_seconds: Fraction
    end_seconds: Fraction

    @property
    def fade_seconds(self) -> float:
        """How long the dream takes to grow, and to give way."""
        return min(FADE_SECONDS, float(self.end_seconds - self.begin_seconds) * MAX_FADE_SHARE)

    def dream_share(self, time_seconds: Fraction) -> float:
        """How strongly the stage is dreamed at a time, in [0, 1]: less near its stills."""
        grown = clamped_smoothstep(float(time_seconds - self.begin_seconds) / self.fade_seconds)
        if self.next_still is None:
            return grown
        left = float(self.end_seconds - time_seconds) / self.fade_seconds
        return grown * clamped_smoothstep(left)

    def next_still_share(self, time_seconds: Fraction) -> float:
        """How far the zoom has come from the current still to the next one, in [0, 1]."""
        if self.next_still is None:
            return 0.0
        length = self.end_seconds - self.begin_seconds
        return clamped_smoothstep(float((time_seconds - self.begin_seconds) / length))


def stage_at(
    time_seconds: Fraction, still_count: int, duration_seconds: Fraction, is_loop: bool
) -> Stage:
    """The stage of a zoom at a time. Fractions are exact: a stage may begin with a frame."""
    length = duration_seconds / still_count
    current = min(int(time_seconds / length), still_count - 1)
    following = current + 1 if current + 1 < still_count else (0 if is_loop else None)
    return Stage(current, following, current * length, (current + 1) * length)


def blend_arriving_still(
    image: Tensor,
    still: Tensor,
    stage: Stage,
    time_seconds: Fraction,
    frame_seconds: Fraction,
    camera: Camera,
    canvas: Canvas,
) -> Tensor:
    """An image into which the next still has been blended for one frame.

    Args:
        image: (1, 3, *canvas.size).
        still: (1, 3, H, W), which is to fill the frame at the end of the stage.
        stage: gives the times of its beginning and end.
        time_seconds: of the image.
        frame_seconds: duration of a frame.
        camera: on whose path the still is.
        canvas: what the image covers.
    """
    begin, now, end = map(float, (stage.begin_seconds, time_seconds, stage.end_seconds))
    frame = float(frame_seconds)
    grows = camera.log_growth(begin, end) >= math.log(MIN_GROWTH)
    cross_fade = min(CROSS_FADE_SECONDS, (end - begin) * MAX_CROSS_FADE_SHARE)
    share = _fade_share(end - now, frame, FADE_SECONDS if grows else cross_fade)
    if grows:
        log_width = math.log(canvas.width_px / MIN_WIDTH_PX) - camera.log_growth(now, end)
        share = 0.0 if log_width < 0 else max(share, _growing_share(stage, time_seconds, frame))
    if share == 0:
        return image
    back = camera.between(now, end).inverse()
    arriving = transform_image(still, canvas.frame, back, canvas)
    if not grows:
        return torch.lerp(image, arriving, share)
    return torch.lerp(image, arriving, _soft_mask(canvas, back, still.device) * share)


def clamped_smoothstep(share: float) -> float:
    """0 below 0, 1 above 1, and between them slow at both ends."""
    return smoothstep(min(1.0, max(0.0, share)))


def _growing_share(stage: Stage, time_seconds: Fraction, frame_seconds: float) -> float:
    """How much of a growing still is blended in per frame, long before it fills the frame."""
    grown = clamped_smoothstep(float(time_seconds - stage.begin_seconds) / stage.fade_seconds)
    return 1 - math.pow(1 - GROWING_RATE * grown, frame_seconds)


def _fade_share(left_seconds: float, frame_seconds: float, fade_seconds: float) -> float:
    """How much of the still is blended in per frame, so that the whole fade is a smoothstep."""
    done = clamped_smoothstep(1 - left_seconds / fade_seconds)
    before = clamped_smoothstep(1 - (left_seconds + frame_seconds) / fade_seconds)
    return (done - before) / (1 - before)


def _soft_mask(canvas: Canvas, back: Similarity, device: torch.device) -> Tensor:
    """(1, 1, *canvas.size) in [0, 1]: 1 inside the still, 0 outside."""
    depth = 1 - sampling_grid(canvas.frame, back, canvas, device).abs()
    edge = max(SOFT_EDGE * (1 - back.scale), 1 / canvas.width_px)
    sides = (depth / edge).clamp(0, 1)
    return smoothstep(sides.prod(dim=-1)[:, None])
