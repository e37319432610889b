"""Warps images, and carries the residual of one frame to the next along the motion."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dreamvideo.types import Motion

# A frame of which at least this share has no trusted match is one of fast motion. Measured on five
# clips: up to 0.04 where things move by a few pixels; 0.05 to 0.2 where a camera is whipped around,
# and where large things pass close to it. With 0.06, street footage flickers more.
FAST_MOTION_SHARE = 0.045
# Positions without a match, such as those that have just come into view, start with a part of the
# residual around their estimated match (mirrored at the edge of the frame): this share of the mean
# confidence of the frame. A dream grows faster out of strokes of another one than out of none:
# measured on Big Buck Bunny at 640×360, the dream gain after 5 frames rises by 0.03, and the
# warping error stays the same. The part shrinks with the mean, so that an undetected cut (mean
# 0.05, against 0.96 within a shot) does not show the dream of the old shot.
UNMATCHED_SHARE = 0.5
# How much of a pixel's freshness is left in the next frame: after 5 frames nearly half. Measured on
# fast motion: with 0.5, dreams stay weaker; with 0.9, they flicker.
FRESHNESS_DECAY = 0.85


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
    unmatched: Tensor | None = None
    """(1, 1, H, W) in [0, 1]: how far a pixel has no trusted match. Only in a frame of which much
    has none, such as in fast motion."""

    @property
    def is_fast(self) -> bool:
        """Whether much of the frame has just come into view."""
        return self.unmatched is not None


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
    is_fast = 1 - motion.confidence.mean() >= FAST_MOTION_SHARE
    unmatched = 1 - confidence[None, None] if is_fast else None
    if prior_residual is None:
        confidence = torch.maximum(confidence, UNMATCHED_SHARE * confidence.mean())
    confidence = confidence * motion.fade_factor
    return CarryMap(_sampling_grid(flow), confidence, prior_residual, unmatched)


def carry(residual: Tensor, mapping: CarryMap, persistence: float) -> Tensor:
    """The residual with which the current frame starts.

    persistence · (confidence · warp(residual) + (1 − confidence) · prior_residual); the second term
    is 0 in a single pass. In fast motion the residual is sampled by cubic convolution: sampled
    bilinearly, it loses detail with every frame, and little time is left to dream it again.

    Args:
        residual: (1, 3, H, W), dream minus source of the previous frame.
        mapping: from the previous frame to the current one.
        persistence: share that is kept, in [0, 1].

    Returns:
        (1, 3, H, W).
    """
    if mapping.is_fast:
        carried = sample_cubic(residual, _without_corners_aligned(mapping.grid))
    else:
        carried = _sample(residual, mapping.grid, "reflection")
    carried.mul_(mapping.confidence * persistence)
    if mapping.prior_residual is not None:
        carried += (1 - mapping.confidence) * persistence * mapping.prior_residual
    return carried


def carry_freshness(freshness: Tensor | None, mapping: CarryMap) -> Tensor | None:
    """How recently each pixel came into view, (1, 1, H, W): 1 in this frame, falling after it.

    None in a frame of which little has no match.

    Args:
        freshness: the result for the previous frame.
        mapping: from the previous frame to the current one.
    """
    if mapping.unmatched is None or freshness is None:
        return mapping.unmatched
    moved = _sample(freshness, mapping.grid, "reflection")
    return torch.maximum(mapping.unmatched, moved * FRESHNESS_DECAY)


def sample_cubic(image: Tensor, grid: Tensor) -> Tensor:
    """Cubic convolution (Keys 1981, a = −1/2) of an image (1, C, H, W), mirrored at its edges.

    PyTorch's own bicubic sampling has a = −3/4: where things move by a fraction of a pixel, it
    moves them half as far again as it should, so that a zoom would be faster the more frames it
    has. With −1/2 slopes are exact. The four samples of an axis are taken as three, the middle two
    in one by linear interpolation (Sigg and Hadwiger 2005, "Fast third-order texture filtering").

    Args:
        image: (1, C, H, W).
        grid: (1, rows, columns, 2), x then y, where -1 and 1 are the outer edges of the outermost
            pixels.

    Returns:
        (1, C, rows, columns).
    """
    columns, rows = (
        _cubic_taps(grid[..., axis], size)
        for axis, size in ((0, image.shape[3]), (1, image.shape[2]))
    )
    total = torch.zeros((), device=image.device)
    for y, weight_y in rows:
        for x, weight_x in columns:
            sample = nn.functional.grid_sample(
                image,
                torch.stack([x, y], dim=-1),
                mode="bilinear",
                padding_mode="reflection",
                align_corners=False,
            )
            total = torch.addcmul(total, sample, (weight_x * weight_y)[:, None])
    return total


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


def _cubic_taps(position: Tensor, size_px: int) -> list[tuple[Tensor, Tensor]]:
    """Three sampling positions along an axis, in [-1, 1], and the weights of the samples."""
    pixel = ((position + 1) * size_px - 1) / 2
    first = pixel.floor()
    t = pixel - first
    before = t * (-0.5 + t * (1 - 0.5 * t))
    second = t * (0.5 + t * (2 - 1.5 * t))
    after = t * t * (0.5 * t - 0.5)
    middle = 1 - before - after
    return [
        (((place + 0.5) * 2 / size_px) - 1, weight)
        for place, weight in (
            (first - 1, before),
            (first + second / middle, middle),
            (first + 2, after),
        )
    ]


def _without_corners_aligned(grid: Tensor) -> Tensor:
    """A grid whose -1 and 1 are the outer edges of the outermost pixels, not their centres."""
    height, width = grid.shape[1:3]
    x, y = grid.unbind(-1)
    return torch.stack([x * ((width - 1) / width), y * ((height - 1) / height)], dim=-1)


def _sampling_grid(flow: Tensor) -> Tensor:
    """The matches of a flow (H, W, 2) px as the grid (1, H, W, 2) of `grid_sample`."""
    height, width = flow.shape[:2]
    x = torch.arange(width, device=flow.device) + flow[..., 0]
    y = torch.arange(height, device=flow.device)[:, None] + flow[..., 1]
    return torch.stack([_normalised(x, width), _normalised(y, height)], dim=-1)[None]


def _normalised(position_px: Tensor, side_px: int) -> Tensor:
    return position_px * (2 / max(side_px - 1, 1)) - 1
