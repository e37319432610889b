"""How the next still of a journey comes into the dream. Refuses to know when it does.

Where the camera zooms in, the still appears small, far inside the dream, and grows until it fills
the frame. Else the dream fades into it, as it moves to its place with the camera.
"""

from __future__ import annotations

import math
from fractions import Fraction

import torch
from torch import Tensor

from dreamvideo.motion import Area, Camera, Move, moved, places
from dreamvideo.pipeline.stages import FADE_SECONDS, Stage, smooth
from dreamvideo.schedule import smoothstep

# A still that will have grown by less than this in its stage is faded into: it would appear as a
# frame in the frame.
SMALLEST_GROWTH = 2.0
# A still of fewer pixels is not worth the sampling.
SMALLEST_WIDTH_PX = 4.0
# Where the still does not grow: how long it is faded into, of short stages a part.
CROSS_FADE_SECONDS = 2.0
LONGEST_CROSS_FADE = 0.5
# How fast a still that grows comes forth out of the dream: share of the way in a second. The dream
# works on it all the while, until the last second.
COMING_FORTH = 0.8
# Width of the soft edge of a still that is far away, as a share of its half width; it narrows as
# the still fills the frame.
SOFT_EDGE = 0.5


def with_arriving(
    picture: Tensor,
    still: Tensor,
    stage: Stage,
    time_seconds: Fraction,
    frame_seconds: Fraction,
    camera: Camera,
    area: Area,
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
    grows = camera.log_growth(begin, end) >= math.log(SMALLEST_GROWTH)
    fade = FADE_SECONDS if grows else min(CROSS_FADE_SECONDS, (end - begin) * LONGEST_CROSS_FADE)
    share = _share_of_fade(end - now, frame, fade)
    if grows:
        left = math.log(area.width_px / SMALLEST_WIDTH_PX) - camera.log_growth(now, end)
        share = 0.0 if left < 0 else max(share, _coming_forth(stage, time_seconds, frame))
    if share == 0:
        return picture
    back = camera.between(now, end).inverse()
    shown = moved(still, area.frame, back, area)
    if not grows:
        return torch.lerp(picture, shown, share)
    return torch.lerp(picture, shown, _soft_mask(area, back, still.device) * share)


def _coming_forth(stage: Stage, time_seconds: Fraction, frame_seconds: float) -> float:
    """How much of a still that grows one frame brings forth, long before it fills the frame."""
    grown = smooth(float(time_seconds - stage.begin_seconds) / stage.fade_seconds)
    return 1 - math.pow(1 - COMING_FORTH * grown, frame_seconds)


def _share_of_fade(left_seconds: float, frame_seconds: float, fade_seconds: float) -> float:
    """How much of the still one frame of a fade takes, so that all frames before make it smooth."""
    done = smooth(1 - left_seconds / fade_seconds)
    before = smooth(1 - (left_seconds + frame_seconds) / fade_seconds)
    return (done - before) / (1 - before)


def _soft_mask(area: Area, back: Move, device: torch.device) -> Tensor:
    """(1, 1, *area.size) in [0, 1]: 1 inside of the still, 0 outside."""
    depth = 1 - places(area.frame, back, area, device).abs()
    edge = max(SOFT_EDGE * (1 - back.scale), 1 / area.width_px)
    sides = (depth / edge).clamp(0, 1)
    return smoothstep(sides.prod(dim=-1)[:, None])
