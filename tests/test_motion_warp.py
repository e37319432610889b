"""Warping by a flow, and carrying a residual along the motion."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dreamvideo.motion.warp import UNMATCHED_SHARE, carry, carry_map, warp
from dreamvideo.types import FloatArray, Motion
from tests.synthetic_images import blobs

CPU = torch.device("cpu")
SIZE = HEIGHT, WIDTH = 120, 160


def motion_to_the_right(
    right: float, confidence: FloatArray | float, fade_factor: float = 1.0
) -> Motion:
    flow = np.full((*SIZE, 2), (right, 0), np.float32)
    return Motion(flow, np.broadcast_to(np.float32(confidence), SIZE).copy(), fade_factor)


def test_zero_flow_is_identity() -> None:
    image = torch.from_numpy(blobs()).permute(2, 0, 1)[None]
    torch.testing.assert_close(warp(image, torch.zeros(*SIZE, 2)), image, atol=1e-4, rtol=0)
    pixel = torch.rand(1, 3, 1, 1)
    torch.testing.assert_close(warp(pixel, torch.zeros(1, 1, 2)), pixel)


def test_warp_samples_at_the_match() -> None:
    image = torch.zeros(1, 1, 5, 7)
    image[0, 0, 3, 4] = 1
    flow = torch.zeros(5, 7, 2)
    flow[..., 0], flow[..., 1] = 2, 1  # x then y
    result = warp(image, flow)
    assert result[0, 0, 2, 2] == pytest.approx(1, abs=1e-5)
    assert result.sum() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("fade_factor", [1.0, 0.4])
def test_trusted_residual_is_carried_and_a_part_of_the_rest(fade_factor: float) -> None:
    confidence = np.zeros(SIZE, np.float32)
    confidence[:, : WIDTH // 2] = 1
    mapping = carry_map(motion_to_the_right(1, confidence, fade_factor), SIZE, CPU)
    carried = carry(torch.ones(1, 3, *SIZE), mapping, 0.9)
    trusted, untrusted = carried.chunk(2, dim=3)
    torch.testing.assert_close(trusted, torch.full_like(trusted, 0.9 * fade_factor))
    # The mean confidence is a half.
    expected = torch.full_like(untrusted, 0.5 * UNMATCHED_SHARE * 0.9 * fade_factor)
    torch.testing.assert_close(untrusted, expected)


def test_nothing_is_carried_where_nothing_is_matched() -> None:
    """As at an undetected cut: the dream of the old shot must not show in the new one."""
    mapping = carry_map(motion_to_the_right(1, 0), SIZE, CPU)
    assert carry(torch.ones(1, 3, *SIZE), mapping, 1.0).abs().max() == 0


def test_what_enters_at_an_edge_starts_with_the_mirrored_residual_beside_it() -> None:
    columns = torch.arange(float(WIDTH)).expand(1, 3, *SIZE)
    carried = carry(columns, carry_map(motion_to_the_right(4, 1), SIZE, CPU), 1.0)
    entering = carried[0, 0, 0, -4:].tolist()
    assert entering == pytest.approx([WIDTH - 2, WIDTH - 3, WIDTH - 4, WIDTH - 5], abs=1e-3)


def test_a_prior_residual_fills_what_is_not_trusted() -> None:
    """It may be smaller than the frame."""
    confidence = np.zeros(SIZE, np.float32)
    confidence[:, : WIDTH // 2] = 1
    prior_residual = torch.full((1, 3, HEIGHT // 2, WIDTH // 2), 2.0)
    mapping = carry_map(motion_to_the_right(0, confidence), SIZE, CPU, prior_residual)
    trusted, untrusted = carry(torch.ones(1, 3, *SIZE), mapping, 0.5).chunk(2, dim=3)
    torch.testing.assert_close(trusted, torch.full_like(trusted, 0.5))
    torch.testing.assert_close(untrusted, torch.full_like(untrusted, 1.0))
