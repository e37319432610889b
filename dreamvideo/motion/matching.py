"""Measures the motion from one frame to the next. Refuses to know when and in which thread."""

from __future__ import annotations

import cv2
import numpy as np

from dreamvideo.frames import FloatArray, Frame, Motion
from dreamvideo.motion.cuts import is_cut
from dreamvideo.motion.flow import FlowEstimator
from dreamvideo.motion.reliability import reliability

# Motion is measured on pictures of at most this longest side: it changes slowly from place to
# place, and its cost grows with the number of pixels.
FLOW_MOST_PX = 640


def match(previous: Frame, current: Frame, flow: FlowEstimator) -> Motion | None:
    """How the picture moved from `previous` to `current`; None where a new shot begins."""
    if is_cut(previous.image, current.image):
        return None
    before, now = _shrunk(previous.image), _shrunk(current.image)
    flow_to_previous = flow(now, before)
    trusted = reliability(flow_to_previous, flow(before, now))
    scale = np.divide(current.image.shape[1::-1], now.shape[1::-1], dtype=np.float32)
    return Motion(flow_to_previous * scale, trusted)


def _shrunk(image: FloatArray) -> FloatArray:
    height, width = image.shape[:2]
    scale = FLOW_MOST_PX / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32)
