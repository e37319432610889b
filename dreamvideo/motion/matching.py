"""Measures the motion from one frame to the next. Refuses to know when and in which thread."""

from __future__ import annotations

from dreamvideo.frames import Frame, Motion
from dreamvideo.motion.cuts import is_cut
from dreamvideo.motion.flow import FlowEstimator
from dreamvideo.motion.reliability import reliability


def match(previous: Frame, current: Frame, flow: FlowEstimator) -> Motion | None:
    """How the picture moved from `previous` to `current`; None where a new shot begins."""
    if is_cut(previous.image, current.image):
        return None
    flow_to_previous = flow(current.image, previous.image)
    flow_from_previous = flow(previous.image, current.image)
    return Motion(flow_to_previous, reliability(flow_to_previous, flow_from_previous))
