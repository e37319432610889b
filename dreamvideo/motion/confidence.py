"""Where a flow can be trusted. Refuses to know who measured it and what is carried along it.

Two answers: `trust` to carry a dream by, which loses half of what it leaves out, and the stricter
`reliability` to measure with, which only measures less.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from dreamvideo.types import FloatArray

BoolArray: TypeAlias = npt.NDArray[np.bool_]

# Sundaram, Brox and Keutzer 2010, section 3.1: a match is occluded where going there and back
# misses by more than this share of the motion, plus this many square pixels.
OCCLUSION_SHARE = 0.01
OCCLUSION_FLOOR_SQUARE_PX = 0.5
# Ibid.: a pixel is on a motion boundary where the flow's gradient exceeds this.
BOUNDARY_SHARE = 0.01
BOUNDARY_FLOOR = 0.002
# Two pictures are compared as their mean absolute difference over the channels, blurred by this:
# one pixel alone may look alike by chance.
APPEARANCE_BLUR_PX = 1.0
# What looks alike to this much is carried though the flow there and back disagrees: on an even sky
# any match will do. On a sky that pans by 12 px the share that is lost falls from 38 % to 1 %
# (scripts/flow.py).
SAME_APPEARANCE = 2 / 255
# What differs by more than this, and by more than this many times the frame's median (all of it
# does in a fade, or in noise), is not trusted: else more of what a figure uncovers were trusted.
DIFFERENT_APPEARANCE = 10 / 255
DIFFERENT_APPEARANCE_MEDIANS = 3.0
# The median is taken of one pixel in so many, across and down.
MEDIAN_STEP_PX = 4
# A hard edge in the mask would show in the film; this many pixels soften it.
EDGE_SOFTNESS_PX = 1.5
# Films have one size; a second one for whoever compares two.
CACHED_SIZES = 2


def carry_confidence(
    image: FloatArray,
    previous: FloatArray,
    flow_to_previous: FloatArray,
    flow_from_previous: FloatArray,
) -> FloatArray:
    """(H, W) in [0, 1]: how far what lies on the previous frame can be carried to this one.

    0 where the match leaves the frame, is occluded and looks different, or looks very different. A
    motion boundary by itself is trusted: it runs around every figure in every frame, and its dream
    would begin anew each time. A match that only looks alike will do too: what is dreamed there
    stays, if not in its very place.

    Args:
        image: (H, W, 3) in [0, 1], this frame.
        previous: likewise.
        flow_to_previous: (H, W, 2) px.
        flow_from_previous: (H, W, 2) px, from the previous frame to this one.
    """
    height, width = flow_to_previous.shape[:2]
    matches = pixel_positions(height, width) + flow_to_previous
    difference = _difference(image, previous, matches)
    typical = float(np.median(difference[::MEDIAN_STEP_PX, ::MEDIAN_STEP_PX]))
    occluded = _is_occluded(flow_to_previous, flow_from_previous, matches)
    return _soften(
        _leaves_frame(matches)
        | (occluded & (difference > SAME_APPEARANCE))
        | (difference > max(DIFFERENT_APPEARANCE, DIFFERENT_APPEARANCE_MEDIANS * typical))
    )


def strict_confidence(flow_to_previous: FloatArray, flow_from_previous: FloatArray) -> FloatArray:
    """(H, W) in [0, 1]: 0 where the flow is occluded, on a motion boundary or leaves the frame.

    Sundaram et al. 2010, section 3.1, as used by Ruder et al. 2016, section 4. Both flows are
    (H, W, 2) px; the second one goes from the previous frame to the current one.
    """
    uncertain = disoccluded(flow_to_previous, flow_from_previous) | _is_boundary(flow_to_previous)
    return _soften(uncertain)


def disoccluded(flow_to_previous: FloatArray, flow_from_previous: FloatArray) -> BoolArray:
    """(H, W): what was hidden in the previous frame, or outside of it; see `reliability`."""
    height, width = flow_to_previous.shape[:2]
    matches = pixel_positions(height, width) + flow_to_previous
    return _is_occluded(flow_to_previous, flow_from_previous, matches) | _leaves_frame(matches)


def _soften(untrusted: BoolArray) -> FloatArray:
    trusted = (~untrusted).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(trusted, (0, 0), EDGE_SOFTNESS_PX), np.float32)


def _difference(image: FloatArray, previous: FloatArray, matches: FloatArray) -> FloatArray:
    """(H, W): mean over the channels of |image − warp(previous)|, blurred."""
    warped = cv2.remap(previous, matches, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    channels = cv2.absdiff(image, np.asarray(warped))
    mean = cv2.transform(channels, np.full((1, channels.shape[2]), 1 / channels.shape[2]))
    return np.asarray(cv2.GaussianBlur(mean, (0, 0), APPEARANCE_BLUR_PX), np.float32)


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


@lru_cache(maxsize=CACHED_SIZES)
def pixel_positions(height_px: int, width_px: int) -> FloatArray:
    """(H, W, 2): x and y of each pixel."""
    x, y = np.meshgrid(np.arange(width_px), np.arange(height_px))
    return np.dstack([x, y]).astype(np.float32)


def _square_length(vectors: npt.NDArray[Any]) -> FloatArray:
    squares = vectors * vectors
    return np.asarray(squares[..., 0] + squares[..., 1], dtype=np.float32)
