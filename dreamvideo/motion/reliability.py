"""Where a flow can be trusted. Refuses to know who measured the flow and what is carried along it."""

from __future__ import annotations

import cv2
import numpy as np

from dreamvideo.frames import FloatArray

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


def _is_occluded(there: FloatArray, back: FloatArray) -> np.ndarray:
    back_at_match = _sample(back, there)
    miss = _square_length(there + back_at_match)
    motion = _square_length(there) + _square_length(back_at_match)
    return miss > OCCLUSION_SHARE * motion + OCCLUSION_FLOOR_SQUARE_PX


def _is_boundary(flow: FloatArray) -> np.ndarray:
    # An axis of one pixel has no gradient.
    axes = [axis for axis in (0, 1) if flow.shape[axis] > 1]
    gradients = [_square_length(np.gradient(flow, axis=axis)) for axis in axes]
    total = np.sum(gradients, axis=0) if gradients else np.zeros(flow.shape[:2])
    return total > BOUNDARY_SHARE * _square_length(flow) + BOUNDARY_FLOOR


def _leaves_frame(flow: FloatArray) -> np.ndarray:
    x, y = np.moveaxis(_positions(flow) + flow, 2, 0)
    height, width = flow.shape[:2]
    return (x < 0) | (y < 0) | (x > width - 1) | (y > height - 1)


def _sample(field: FloatArray, flow: FloatArray) -> np.ndarray:
    return cv2.remap(
        field, _positions(flow) + flow, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _positions(flow: FloatArray) -> FloatArray:
    height, width = flow.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.stack([x, y], axis=2)


def _square_length(vectors: np.ndarray) -> np.ndarray:
    return np.einsum("ijk,ijk->ij", vectors, vectors)
