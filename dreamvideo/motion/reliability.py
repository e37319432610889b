"""Where a flow can be trusted. Refuses to know who measured it and what is carried along it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeAlias

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
# Films have one size; a second one for whoever compares two.
SIZES_AT_HAND = 2


def reliability(flow_to_previous: FloatArray, flow_from_previous: FloatArray) -> FloatArray:
    """(H, W) in [0, 1]: 0 where the flow is occluded, on a motion boundary or leaves the frame.

    Sundaram et al. 2010, section 3.1, as used by Ruder et al. 2016, section 4. Both flows are
    (H, W, 2) px; the second one goes from the previous frame to the current one.
    """
    height, width = flow_to_previous.shape[:2]
    matches = _positions(height, width) + flow_to_previous
    trusted = ~(
        _is_occluded(flow_to_previous, flow_from_previous, matches)
        | _is_boundary(flow_to_previous)
        | _leaves_frame(matches)
    )
    softened = cv2.GaussianBlur(trusted.astype(np.float32), (0, 0), EDGE_SOFTNESS_PX)
    return np.asarray(softened, dtype=np.float32)


def _is_occluded(there: FloatArray, back: FloatArray, matches: FloatArray) -> BoolArray:
    back_at_match = np.asarray(
        cv2.remap(back, matches, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    )
    miss = _square_length(there + back_at_match)
    motion = _square_length(there) + _square_length(back_at_match)
    return miss > OCCLUSION_SHARE * motion + OCCLUSION_FLOOR_SQUARE_PX


def _is_boundary(flow: FloatArray) -> BoolArray:
    across, down = (
        cv2.Sobel(flow, cv2.CV_32F, *order, ksize=1, scale=0.5, borderType=cv2.BORDER_REPLICATE)
        for order in ((1, 0), (0, 1))
    )
    gradient = _square_length(across) + _square_length(down)
    return np.asarray(gradient > BOUNDARY_SHARE * _square_length(flow) + BOUNDARY_FLOOR)


def _leaves_frame(matches: FloatArray) -> BoolArray:
    height, width = matches.shape[:2]
    return np.asarray(cv2.inRange(matches, (0, 0), (width - 1, height - 1)) == 0)


@lru_cache(maxsize=SIZES_AT_HAND)
def _positions(height_px: int, width_px: int) -> FloatArray:
    """(H, W, 2): x and y of each pixel."""
    x, y = np.meshgrid(np.arange(width_px), np.arange(height_px))
    return np.dstack([x, y]).astype(np.float32)


def _square_length(vectors: npt.NDArray[Any]) -> FloatArray:
    squares = vectors * vectors
    return np.asarray(squares[..., 0] + squares[..., 1], dtype=np.float32)
