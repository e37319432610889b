"""Where an optical flow can be trusted.

`carry_confidence` decides what is carried to the next frame: where it is low, the dream of a pixel
is lost, so it is lenient. `strict_confidence` decides what the metrics count: where it is low, they
only measure fewer pixels.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from dreamvideo.types import FloatArray

BoolArray: TypeAlias = npt.NDArray[np.bool_]

# Sundaram, Brox and Keutzer 2010, section 3.1: a match is occluded where the flow and the flow back
# differ by more than this share of the motion plus this many square pixels.
OCCLUSION_SHARE = 0.01
OCCLUSION_FLOOR_SQUARE_PX = 0.5
# Ibid.: a pixel is on a motion boundary where the flow's gradient exceeds this share of the motion
# plus this constant.
BOUNDARY_SHARE = 0.01
BOUNDARY_FLOOR = 0.002
# Two images differ by their mean absolute difference over the channels, blurred by this, since a
# single pixel may match by chance.
APPEARANCE_BLUR_PX = 1.0
# Matches that differ by less than this are trusted although they are occluded by the check above:
# on an even sky any match will do. On a sky that pans by 12 px the share of pixels that are lost
# falls from 38 % to 1 % (scripts/flow.py).
SAME_APPEARANCE = 2 / 255
# Matches that differ by more than this are not trusted although they pass the check; without it,
# more of what a moving figure uncovers would be. In a fade, or in noise, all pixels differ, so they
# also have to differ by more than this many times the median of the frame.
DIFFERENT_APPEARANCE = 10 / 255
DIFFERENT_APPEARANCE_MEDIANS = 3.0
# The median is taken over every fourth pixel of every fourth row.
MEDIAN_STEP_PX = 4
# A hard edge in the confidence would be visible in the video; it is blurred by this.
EDGE_SOFTNESS_PX = 1.5
# The frames of a video have one size; a comparison of two videos may need a second one.
CACHED_SIZES = 2


def carry_confidence(
    image: FloatArray,
    previous: FloatArray,
    flow_to_previous: FloatArray,
    flow_from_previous: FloatArray,
) -> FloatArray:
    """How far each pixel's match in the previous frame can be trusted to carry a dream along.

    0 where the match is outside the frame, is occluded and looks different, or looks very
    different. Motion boundaries are trusted: they surround every figure in every frame, whose dream
    would start again there each time.

    Args:
        image: (H, W, 3) in [0, 1], the current frame.
        previous: (H, W, 3) in [0, 1], the previous frame.
        flow_to_previous: (H, W, 2) px, from the current to the previous frame.
        flow_from_previous: (H, W, 2) px, from the previous to the current frame.

    Returns:
        (H, W) in [0, 1].
    """
    matches = pixel_positions(*image.shape[:2]) + flow_to_previous
    difference = _appearance_difference(image, previous, matches)
    median = float(np.median(difference[::MEDIAN_STEP_PX, ::MEDIAN_STEP_PX]))
    occluded = _is_occluded(flow_to_previous, flow_from_previous, matches)
    return _soft_complement(
        _is_outside(matches)
        | (occluded & (difference > SAME_APPEARANCE))
        | (difference > max(DIFFERENT_APPEARANCE, DIFFERENT_APPEARANCE_MEDIANS * median))
    )


def strict_confidence(flow_to_previous: FloatArray, flow_from_previous: FloatArray) -> FloatArray:
    """0 where the flow is occluded, on a motion boundary or leads outside the frame, else 1.

    Sundaram et al. 2010, section 3.1, as used by Ruder et al. 2016, section 4.

    Args:
        flow_to_previous: (H, W, 2) px, from the current to the previous frame.
        flow_from_previous: (H, W, 2) px, from the previous to the current frame.

    Returns:
        (H, W) in [0, 1], with softened edges.
    """
    untrusted = disoccluded(flow_to_previous, flow_from_previous) | _is_boundary(flow_to_previous)
    return _soft_complement(untrusted)


def disoccluded(flow_to_previous: FloatArray, flow_from_previous: FloatArray) -> BoolArray:
    """(H, W): pixels that were hidden in the previous frame, or outside of it.

    Args: see `strict_confidence`.
    """
    matches = pixel_positions(*flow_to_previous.shape[:2]) + flow_to_previous
    return _is_occluded(flow_to_previous, flow_from_previous, matches) | _is_outside(matches)


@lru_cache(maxsize=CACHED_SIZES)
def pixel_positions(height_px: int, width_px: int) -> FloatArray:
    """(H, W, 2): x and y of each pixel."""
    x, y = np.meshgrid(np.arange(width_px), np.arange(height_px))
    return np.dstack([x, y]).astype(np.float32)


def _soft_complement(untrusted: BoolArray) -> FloatArray:
    trusted = (~untrusted).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(trusted, (0, 0), EDGE_SOFTNESS_PX), np.float32)


def _appearance_difference(
    image: FloatArray, previous: FloatArray, matches: FloatArray
) -> FloatArray:
    """(H, W): mean over the channels of |image − previous at the matches|, blurred."""
    channels = cv2.absdiff(image, _sample(previous, matches))
    mean = cv2.transform(channels, np.full((1, channels.shape[2]), 1 / channels.shape[2]))
    return np.asarray(cv2.GaussianBlur(mean, (0, 0), APPEARANCE_BLUR_PX), np.float32)


def _is_occluded(
    flow_to_previous: FloatArray, flow_from_previous: FloatArray, matches: FloatArray
) -> BoolArray:
    flow_back = _sample(flow_from_previous, matches)
    square_error = _square_length(flow_to_previous + flow_back)
    motion = _square_length(flow_to_previous) + _square_length(flow_back)
    return square_error > OCCLUSION_SHARE * motion + OCCLUSION_FLOOR_SQUARE_PX


def _is_boundary(flow: FloatArray) -> BoolArray:
    across, down = (
        cv2.Sobel(flow, cv2.CV_32F, *order, ksize=1, scale=0.5, borderType=cv2.BORDER_REPLICATE)
        for order in ((1, 0), (0, 1))
    )
    gradient = _square_length(across) + _square_length(down)
    return np.asarray(gradient > BOUNDARY_SHARE * _square_length(flow) + BOUNDARY_FLOOR)


def _is_outside(matches: FloatArray) -> BoolArray:
    height, width = matches.shape[:2]
    return np.asarray(cv2.inRange(matches, (0, 0), (width - 1, height - 1)) == 0)


def _sample(values: FloatArray, positions: FloatArray) -> FloatArray:
    """Values (H, W, C) at positions (H, W, 2), bilinear; the edge is repeated outside."""
    return np.asarray(
        cv2.remap(values, positions, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    )


def _square_length(vectors: npt.NDArray[Any]) -> FloatArray:
    squares = vectors * vectors
    return np.asarray(squares[..., 0] + squares[..., 1], dtype=np.float32)
