"""Carries a residual along the motion. Refuses to know how the residual came to be."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dreamvideo.frames import Motion


def carry(residual: Tensor, motion: Motion, persistence: float) -> Tensor:
    """persistence · reliability · warp(residual), where the next frame's dream starts.

    Args:
        residual: (1, 3, H, W), dream minus source of the frame before.
        motion: the flow to that frame and where it can be trusted, of any size.
        persistence: share that is kept, in [0, 1].
    """
    flow, trust = (
        torch.from_numpy(values).to(residual.device)
        for values in (motion.flow_to_previous, motion.reliability)
    )
    size = (residual.shape[-2], residual.shape[-1])
    if trust.shape != size:
        flow = _enlarged(flow.permute(2, 0, 1), size).permute(1, 2, 0)
        trust = _enlarged(trust[None], size)[0]
    return warp(residual, flow) * (trust * persistence)


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
    height, width = flow.shape[:2]
    x = torch.arange(width, device=flow.device) + flow[..., 0]
    y = torch.arange(height, device=flow.device)[:, None] + flow[..., 1]
    # grid_sample wants the centres of the outermost pixels at -1 and 1.
    grid = torch.stack([_to_unit(x, width), _to_unit(y, height)], dim=-1)[None]
    return nn.functional.grid_sample(
        picture, grid, mode="bilinear", padding_mode="border", align_corners=True
    )


def _to_unit(position_px: Tensor, size_px: int) -> Tensor:
    return position_px * (2 / max(size_px - 1, 1)) - 1
