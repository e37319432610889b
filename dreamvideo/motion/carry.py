"""Carries a residual along the motion. Refuses to know how the residual came to be."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dreamvideo.frames import Motion

# What has no match, such as what just comes into view, begins with so much of the dream that lies
# where a match was looked for, or is mirrored at the frame's edge, where nothing better is there.
# Strokes grow faster out of others than out of nothing: measured on Big Buck Bunny at 640×360, gain
# after 5 frames rises by 0.03, warping error stays. The less of a frame is matched, the less of it:
# a cut that was not found has 0.05, and would show the old shot's dream; a frame of a shot 0.96.
LEAST_TRUST = 0.5


@dataclass(frozen=True, eq=False)
class Path:
    """Where each pixel's dream comes from, on a device: all of a carry that needs no dream."""

    grid: Tensor
    """(1, H, W, 2): the pixel's match, x then y, from -1 to 1 across the picture."""
    trust: Tensor
    """(H, W) in [0, 1]: how much of the dream there is carried."""
    there: Tensor | None = None
    """(1, 3, H, W): a residual that is there already, for what has no match; None for none."""


def path_of(
    motion: Motion, size: tuple[int, int], device: torch.device, there: Tensor | None = None
) -> Path:
    """The way from the last frame to the next one.

    Args:
        motion: the flow to the last frame and where it can be trusted, of any size.
        size: (height, width) of the frames.
        device: where they are dreamed.
        there: (1, 3, rows, columns), a residual of any size that is there already.
    """
    flow, trust = (
        torch.from_numpy(values).to(device)
        for values in (motion.flow_to_previous, motion.reliability)
    )
    if trust.shape != size:
        flow = _enlarged(flow.permute(2, 0, 1), size).permute(1, 2, 0)
        trust = _enlarged(trust[None], size)[0]
    if there is not None and there.shape[2:] != size:
        there = _enlarged(there[0], size)
    if there is None:
        trust = torch.maximum(trust, LEAST_TRUST * trust.mean())
    return Path(_grid(flow), trust * motion.left_by_fade, there)


def carry(residual: Tensor, path: Path, persistence: float) -> Tensor:
    """Where the next frame's dream starts.

    persistence · (trust · warp(residual) + (1 − trust) · there), the latter if it is.

    Args:
        residual: (1, 3, H, W), dream minus source of the frame before.
        path: from that frame to the next one.
        persistence: share that is kept, in [0, 1].
    """
    carried = _sampled(residual, path.grid, "reflection").mul_(path.trust * persistence)
    if path.there is not None:
        carried += (1 - path.trust) * persistence * path.there
    return carried


def _enlarged(values: Tensor, size: tuple[int, int]) -> Tensor:
    return nn.functional.interpolate(values[None], size=size, mode="bilinear")[0]


def warp(picture: Tensor, flow: Tensor) -> Tensor:
    """Backward warp: each pixel of the result is `picture` at its own place plus `flow`.

    Bilinear; outside the picture its edge is repeated. A flow of zero gives the picture back, to
    rounding.

    Args:
        picture: (1, C, H, W).
        flow: (H, W, 2) px, x then y.
    """
    return _sampled(picture, _grid(flow), "border")


def _sampled(picture: Tensor, grid: Tensor, beyond_edges: str) -> Tensor:
    return nn.functional.grid_sample(
        picture, grid, mode="bilinear", padding_mode=beyond_edges, align_corners=True
    )


def _grid(flow: Tensor) -> Tensor:
    """Flow (H, W, 2) px as what grid_sample wants: the outermost pixels' centres at -1 and 1."""
    height, width = flow.shape[:2]
    x = torch.arange(width, device=flow.device) + flow[..., 0]
    y = torch.arange(height, device=flow.device)[:, None] + flow[..., 1]
    return torch.stack([_to_unit(x, width), _to_unit(y, height)], dim=-1)[None]


def _to_unit(position_px: Tensor, size_px: int) -> Tensor:
    return position_px * (2 / max(size_px - 1, 1)) - 1
