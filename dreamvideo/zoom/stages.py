"""Which still a zoom leaves and which it approaches, and how the next one appears."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from dreamvideo.settings.keyframes import smoothstep
from dreamvideo.zoom.camera import Camera, Canvas, Similarity, sampling_grid, transform_picture

# In the first second the dream grows out of a still, in the last one it gives way to the next; of
# short stages that takes a third each.
FADE_SECONDS = 1.0
MAX_FADE_SHARE = 1 / 3


@dataclass(frozen=True)
class Stage:
    """A part of a journey."""

    current_still: int
    """The still that was passed last."""
    next_still: int | None
    """The still that comes next; None at the end of a journey that is no loop."""
    begin_seconds: Fraction
    end_seconds: Fraction

    @property
    def fade_seconds(self) -> float:
        """How long the dream takes to grow, and to give way."""
        return min(FADE_SECONDS, float(self.end_seconds - self.begin_seconds) * MAX_FADE_SHARE)

    def dream_share(self, time_seconds: Fraction) -> float:
        """How far the dream has grown, and not given way yet, in [0, 1]."""
        grown = smoothstep_clamped(float(time_seconds - self.begin_seconds) / self.fade_seconds)
        if self.next_still is None:
            return grown
        return grown * smoothstep_clamped(
            float(self.end_seconds - time_seconds) / self.fade_seconds
        )

    def next_still_share(self, time_seconds: Fraction) -> float:
        """How far the journey has got from the one still to the other, in [0, 1]."""
        if self.next_still is None:
            return 0.0
        length = self.end_seconds - self.begin_seconds
        return smoothstep_clamped(float((time_seconds - self.begin_seconds) / length))


def stage_at(
    time_seconds: Fraction, stills: int, duration_seconds: Fraction, is_loop: bool
) -> Stage:
    """The stage of a journey at a time, exactly: a stage may begin with a frame."""
    length = duration_seconds / stills
    current_still = min(int(time_seconds / length), stills - 1)
    next_still = current_still + 1 if current_still + 1 < stills else (0 if is_loop else None)
    return Stage(current_still, next_still, current_still * length, (current_still + 1) * length)


def smoothstep_clamped(share: float) -> float:
    """0 below 0, 1 above 1, and between them slow at both ends."""
    return smoothstep(min(1.0, max(0.0, share)))


# A still that will have grown by less than this in its stage is faded into: it would appear as a
# frame in the frame.
MIN_GROWTH = 2.0
# A still of fewer pixels is not worth the sampling.
MIN_WIDTH_PX = 4.0
# Where the still does not grow: how long it is faded into, of short stages a part.
CROSS_FADE_SECONDS = 2.0
MAX_CROSS_FADE_SHARE = 0.5
# How fast a still that grows comes forth out of the dream: share of the way in a second. The dream
# works on it all the while, until the last second.
GROWING_RATE = 0.8
# Width of the soft edge of a still that is far away, as a share of its half width; it narrows as
# the still fills the frame.
SOFT_EDGE = 0.5


def blend_arriving_still(
    picture: Tensor,
    still: Tensor,
    stage: Stage,
    time_seconds: Fraction,
    frame_seconds: Fraction,
    camera: Camera,
    area: Canvas,
) -> Tensor:
    """A picture in which the next still has come a frame nearer.

    Args:
        picture: (1, 3, *area.size).
        still: (1, 3, H, W), which is to fill the frame at the end of the stage.
        stage: with the times of its beginning and end.
        time_seconds: of the picture.
        frame_seconds: how long a frame is.
        camera: whose path the still is on.
        area: what the picture covers.
    """
    begin, now, end = map(float, (stage.begin_seconds, time_seconds, stage.end_seconds))
    frame = float(frame_seconds)
    grows = camera.log_growth(begin, end) >= math.log(MIN_GROWTH)
    fade = FADE_SECONDS if grows else min(CROSS_FADE_SECONDS, (end - begin) * MAX_CROSS_FADE_SHARE)
    share = _fade_share(end - now, frame, fade)
    if grows:
        left = math.log(area.width_px / MIN_WIDTH_PX) - camera.log_growth(now, end)
        share = 0.0 if left < 0 else max(share, _growing_share(stage, time_seconds, frame))
    if share == 0:
        return picture
    back = camera.between(now, end).inverse()
    shown = transform_picture(still, area.frame, back, area)
    if not grows:
        return torch.lerp(picture, shown, share)
    return torch.lerp(picture, shown, _soft_mask(area, back, still.device) * share)


def _growing_share(stage: Stage, time_seconds: Fraction, frame_seconds: float) -> float:
    """How much of a still that grows one frame brings forth, long before it fills the frame."""
    grown = smoothstep_clamped(float(time_seconds - stage.begin_seconds) / stage.fade_seconds)
    return 1 - math.pow(1 - GROWING_RATE * grown, frame_seconds)


def _fade_share(left_seconds: float, frame_seconds: float, fade_seconds: float) -> float:
    """How much of the still one frame of a fade takes, so that all frames before make it smooth."""
    done = smoothstep_clamped(1 - left_seconds / fade_seconds)
    before = smoothstep_clamped(1 - (left_seconds + frame_seconds) / fade_seconds)
    return (done - before) / (1 - before)


def _soft_mask(area: Canvas, back: Similarity, device: torch.device) -> Tensor:
    """(1, 1, *area.size) in [0, 1]: 1 inside of the still, 0 outside."""
    depth = 1 - sampling_grid(area.frame, back, area, device).abs()
    edge = max(SOFT_EDGE * (1 - back.scale), 1 / area.width_px)
    sides = (depth / edge).clamp(0, 1)
    return smoothstep(sides.prod(dim=-1)[:, None])
