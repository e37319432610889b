"""Figures of neighbouring frames, along the motion of the source. Refuses to know of networks.

Pictures are (1, 3, H, W) in [0, 1], flows (H, W, 2) px, x then y.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dreamvideo.frames import FloatArray
from dreamvideo.motion import BoolArray, FlowEstimator, positions, reliability, uncovered, warp

# The mask of the warping error is hard: a pixel counts where its match is fully trusted.
TRUSTED = 0.999
# A match that lies outside by less came from no motion: of a still camera, noise in the flow sends
# the matches of half of the border there.
OUTSIDE_PX = 0.5


@dataclass(frozen=True, eq=False)
class Matches:
    """Where the pixels of a source's frame were in an earlier one."""

    flow: FloatArray
    """To the earlier frame."""
    trusted: BoolArray
    """(H, W), where that can be relied on."""
    uncovered: BoolArray
    """(H, W), what was not to be seen in the earlier frame: hidden, or outside."""


def matches(now: FloatArray, before: FloatArray, flow: FlowEstimator) -> Matches:
    """Those of a frame with an earlier one, both (H, W, 3) in [0, 1]."""
    there, back = flow(now, before), flow(before, now)
    new = uncovered(_kept_inside(there), back)
    return Matches(there, reliability(there, back) > TRUSTED, new)


def warping_error(now: Tensor, before: Tensor, found: Matches) -> float | None:
    """E_warp (Lai et al. 2018, "Learning blind video temporal consistency", section 4.2).

    The mean square of now − warp(before) over pixels and channels, where the match is trusted, at
    any lag; None where it is trusted nowhere.
    """
    if not found.trusted.any():
        return None
    change = now - warp(before, torch.from_numpy(found.flow).to(now.device))
    trusted = torch.from_numpy(found.trusted).to(now.device)
    return float(change.square().mean(1)[0][trusted].mean())


def flow_difference(source_flow: FloatArray, dream_flow: FloatArray) -> float:
    """tOF (Chu et al. 2020, "Learning temporal coherence via self-supervision", section 5).

    The mean over pixels of |Δx| + |Δy| between two flows, px.
    """
    return float(np.abs(source_flow - dream_flow).sum(-1).mean())


def aged(ages: Tensor | None, found: Matches) -> Tensor:
    """How many frames ago each pixel came into view: (H, W), 0 for now, infinity for ever.

    Args:
        ages: those of the frame before; None for the first one.
        found: matches with the frame before.
    """
    new = torch.from_numpy(found.uncovered)
    if ages is None:
        ages = torch.full(new.shape, torch.inf)
    # Bilinear sampling would mix ages; of its four neighbours, each pixel takes the nearest one.
    nearest = (positions(*found.flow.shape[:2]) + found.flow).round().clip(0, _corner(found.flow))
    x, y = torch.from_numpy(nearest.astype(int)).unbind(-1)
    return torch.where(new, 0.0, ages[y, x] + 1)


def _kept_inside(flow: FloatArray) -> FloatArray:
    """The flow, ending on the border where it leads barely beyond."""
    ends = positions(*flow.shape[:2]) + flow
    inside = ends.clip(0, _corner(flow))
    moved = np.where(np.abs(ends - inside) < OUTSIDE_PX, inside, ends) - positions(*flow.shape[:2])
    return moved.astype(np.float32)


def _corner(flow: FloatArray) -> tuple[int, int]:
    """x and y of the last pixel."""
    return flow.shape[1] - 1, flow.shape[0] - 1
