"""Where a flow can be trusted. Refuses to know who measured it and what is carried along it."""

from __future__ import annotations

from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from dreamvideo.frames import FloatArray

BoolArray: TypeAlias = npt.NDArray[np.bool_]

# Sundaram, Brox and Keutzer 2010, section 3.1: a match is occluded where going there and back
# misses by more than this share of the motion, plus this many square pixels.
OCCLUSION_SHARE = 0.01
OCCLUSION_FLOOR_SQUARE_PX = 0.5
# Ibid.: a pixel is on a motion boundary where the flow's gradient exceeds this.
BOUNDARY_SHARE = 0.01
BOUNDARY_FLOOR = 0.002
# A hard edge in the mask would show in the film; this many pixels soften it.
EDGE_SOFTNESS_PX = 1.5


def reliability(flow_to_previous: FloatArray, flow_from_previous: FloatArray) -> FloatArray:
    """(H, W) in [0, 1]: 0 where the flow is occluded, on a motion boundary or leaves the frame.

    Sundaram et al. 2010, section 3.1, as used by Ruder et al. 2016, section 4. Both flows are
    (H, W, 2) px; the second one goes from the previous frame to the current one.
    """
    trusted = ~(
        _is_occluded(flow_to_previous, flow_from_previous)
        | _is_boundary(flow_to_previous)
        | _leaves_frame(flow_to_previous)
    )
    softened = cv2.GaussianBlur(trusted.astype(np.float32), (0, 0), EDGE_SOFTNESS_PX)
    return np.asarray(softened, dtype=np.float32)


def _is_occluded(there: FloatArray, back: FloatArray) -> BoolArray:
    x, y = cv2.split(_positions(there) + there)
    back_at_match = np.asarray(
        cv2.remap(back, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32
    )
    miss = _square_length(there + back_at_match)
    motion = _square_length(there) + _square_length(back_at_match)
    return miss > OCCLUSION_SHARE * motion + OCCLUSION_FLOOR_SQUARE_PX


def _is_boundary(flow: FloatArray) -> BoolArray:
    gradient = np.zeros(flow.shape[:2], np.float32)
    for axis in (0, 1):
        if flow.shape[axis] > 1:  # an axis of one pixel has no gradient
            gradient += _square_length(np.gradient(flow, axis=axis))
    return gradient > BOUNDARY_SHARE * _square_length(flow) + BOUNDARY_FLOOR


def _leaves_frame(flow: FloatArray) -> BoolArray:
    x, y = cv2.split(_positions(flow) + flow)
    height, width = flow.shape[:2]
    return np.asarray((x < 0) | (y < 0) | (x > width - 1) | (y > height - 1))


def _positions(flow: FloatArray) -> FloatArray:
    height, width = flow.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return cv2.merge([x, y]).astype(np.float32, copy=False)


def _square_length(vectors: FloatArray) -> FloatArray:
    x, y = cv2.split(vectors)
    return np.asarray(x * x + y * y, dtype=np.float32)
