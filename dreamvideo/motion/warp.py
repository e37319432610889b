"""Warps images, and carries the residual of one frame to the next along the motion."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dreamvideo.types import Motion

# Positions without a match, such as those that have just come into view, start with a part of the
# residual around their estimated match (mirrored at the edge of the frame): this share of the mean
# confidence of the frame. A dream grows faster out of strokes of another one than out of none:
# measured on Big Buck Bunny at 640×360, the dream gain after 5 frames rises by 0.03, and the
# warping error stays the same. The part shrinks with the mean, so that an undetected cut (mean
# 0.05, against 0.96 within a shot) does not show the dream of the old shot.
UNMATCHED_SHARE = 0.5


@dataclass(frozen=True, eq=False)
class CarryMap:
    """From where each pixel's residual is carried, on a device; independent of the residual."""

    grid: Tensor
    """(1, H, W, 2): the position of the match in the previous frame, x then y, where -1 and 1 are
    the centres of the outermost pixels."""
    confidence: Tensor
    """(H, W) in [0, 1]: share of the residual at the match that is carried."""
    prior_residual: Tensor | None = None
    """(1, 3, H, W): the residual that an earlier pass computed for this frame, used where the
    confidence is low; None in a single pass."""


def carry_map(
    motion: Motion,
    size: tuple[int, int],
    device: torch.device,
    prior_residual: Tensor | None = None,
) -> CarryMap:
    """Prepare the carry from the previous frame to the current one.

    Args:
        motion: flow and confidence, of any size.
        size: (height, width) of the frames.
        device: the device of the residual.
        prior_residual: (1, 3, rows, columns), this frame's residual of an earlier pass, of any
            size; None in a single pass.
    """
    flow, confidence = (
        torch.from_numpy(values).to(device)
        for values in (motion.flow_to_previous, motion.confidence)
    )
    if confidence.shape != size:
        flow = _resize(flow.permute(2, 0, 1), size).permute(1, 2, 0)
        confidence = _resize(confidence[None], size)[0]
    if prior_residual is not None and prior_residual.shape[2:] != size:
        prior_residual = _resize(prior_residual[0], size)
    if prior_residual is None:
        confidence = torch.maximum(confidence, UNMATCHED_SHARE * confidence.mean())
    return CarryMap(_sampling_grid(flow), confidence * motion.fade_factor, prior_residual)


def carry(residual: Tensor, mapping: CarryMap, persistence: float) -> Tensor:
    """The residual with which the current frame starts.

    persistence · (confidence · warp(residual) + (1 − confidence) · prior_residual); the second term
    is 0 in a single pass.

    Args:
        residual: (1, 3, H, W), dream minus source of the previous frame.
        mapping: from the previous frame to the current one.
        persistence: share that is kept, in [0, 1].

    Returns:
        (1, 3, H, W).
    """
    carried = _sample(residual, mapping.grid, "reflection").mul_(mapping.confidence * persistence)
    if mapping.prior_residual is not None:
        carried += (1 - mapping.confidence) * persistence * mapping.prior_residual
    return carried


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """Backward warp: the result at each position p is the image at p + flow(p).

    Bilinear; outside the image its edge is repeated. A flow of zero returns the image, up to
    rounding.

    Args:
        image: (1, C, H, W).
        flow: (H, W, 2) px, x then y.
    """
    return _sample(image, _sampling_grid(flow), "border")


def _resize(values: Tensor, size: tuple[int, int]) -> Tensor:
    return nn.functional.interpolate(values[None], size=size, mode="bilinear")[0]


def _sample(image: Tensor, grid: Tensor, padding_mode: str) -> Tensor:
    return nn.functional.grid_sample(
        image, grid, mode="bilinear", padding_mode=padding_mode, align_corners=True
    )


def _sampling_grid(flow: Tensor) -> Tensor:
    """The matches of a flow (H, W, 2) px as the grid (1, H, W, 2) of `grid_sample`."""
    height, width = flow.shape[:2]
    x = torch.arange(width, device=flow.device) + flow[..., 0]
    y = torch.arange(height, device=flow.device)[:, None] + flow[..., 1]
    return torch.stack([_normalised(x, width), _normalised(y, height)], dim=-1)[None]


def _normalised(position_px: Tensor, side_px: int) -> Tensor:
    return position_px * (2 / max(side_px - 1, 1)) - 1
