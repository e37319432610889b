"""The motion between two frames: of large images, through flashes, and none across a cut."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dreamvideo.motion.flow import DisFlow
from dreamvideo.motion.matching import FLOW_MAX_PX, LOOKAHEAD_FRAMES, match_frames, motion_between
from dreamvideo.motion.warp import carry, carry_map
from dreamvideo.types import FloatArray, Frame
from scripts.coherence import as_frames
from tests.synthetic_images import blobs, flash, panned_still, shifted

CPU = torch.device("cpu")
FLOW = DisFlow()


def frame_pair(previous: FloatArray, current: FloatArray) -> tuple[Frame, Frame]:
    first, second = as_frames([previous, current])
    return first, second


def solid(value: float) -> FloatArray:
    return np.full((64, 64, 3), value, np.float32)


def test_large_images_are_matched_at_a_smaller_size() -> None:
    """A pan of 24 px to the right and 12 px down, on images of twice the maximum."""
    width, height = 2 * FLOW_MAX_PX, FLOW_MAX_PX
    large = cv2.resize(blobs(), (width + 24, height + 12), interpolation=cv2.INTER_CUBIC)
    previous, current = large[12:, 24:].clip(0, 1), large[:height, :width].clip(0, 1)
    motion = match_frames(*frame_pair(previous, current), FLOW)
    assert motion is not None
    assert motion.flow_to_previous.shape == (FLOW_MAX_PX // 2, FLOW_MAX_PX, 2)
    error_px = np.linalg.norm(motion.flow_to_previous - (-24, -12), axis=2)[32:-32, 32:-32]
    assert np.median(error_px) < 1
    residual = torch.from_numpy(previous).permute(2, 0, 1)[None]
    carried = carry(residual, carry_map(motion, current.shape[:2], CPU), 1.0)
    assert carried.shape == residual.shape
    difference = carried[0].permute(1, 2, 0).numpy() - current
    assert np.abs(difference[64:-64, 64:-64]).mean() < 0.02


def test_there_is_no_motion_across_a_cut() -> None:
    assert match_frames(*frame_pair(solid(0), solid(1)), FLOW) is None


@pytest.mark.parametrize("light", ["1.5", "2.5", "white"])
def test_at_a_flash_the_motion_is_that_of_the_scene(light: str, sample_still: Path) -> None:
    pan = panned_still(sample_still, 3, 8)
    pan[3] = flash(pan[3], light)
    frames = as_frames(pan)
    for index in (3, 4):
        following = frames[index + 1 : index + 1 + LOOKAHEAD_FRAMES]
        motion = match_frames(frames[index - 1], frames[index], FLOW, following)
        assert motion is not None
        errors_px = np.linalg.norm(motion.flow_to_previous - (3, 0), axis=2)[10:-10, 10:-20]
        assert np.median(errors_px) < 0.5
        assert motion.confidence[10:-10, 10:-20].mean() > 0.8


def test_a_brighter_frame_is_matched_by_its_tones() -> None:
    previous, current = blobs(0) * np.float32(0.4), shifted(blobs(0), 3, 1)
    motion = motion_between(*frame_pair(previous, current), FLOW)
    errors_px = np.linalg.norm(motion.flow_to_previous - (-3, -1), axis=2)[16:-16, 16:-16]
    assert np.median(errors_px) < 0.5


def test_the_residual_fades_with_the_image() -> None:
    image = blobs(0) * np.float32(0.5)
    dark, darker = image * np.float32(0.3), image * np.float32(0.15)
    fading = motion_between(*frame_pair(dark, darker), FLOW)
    assert fading.fade_factor == pytest.approx(0.5, abs=0.1)
    assert motion_between(*frame_pair(darker, dark), FLOW).fade_factor == 1
    assert motion_between(*frame_pair(image, image), FLOW).fade_factor == 1
