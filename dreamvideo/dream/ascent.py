"""Gradient ascent on one picture at one size. Refuses to know of pyramids, frames and films."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from dreamvideo.dream.bands import BAND_PIXELS
from dreamvideo.dream.conditioning import Conditioning

Shift = tuple[int, int]
Objective = Callable[[Tensor], Tensor]
Gradient = Callable[[Tensor], tuple[Tensor, Tensor]]

# Steps shrink within this distance of black and white, so that colours approach the ends instead
# of piling up there. Measured on Big Buck Bunny: clipped values fall from 4 % to 0.5 %, at the
# same dream gain; 0.2 keeps bright skies from dreaming at all.
HEADROOM = 0.1
# The room for a step is that of blocks of so many pixels, and of their neighbours: found pixel by
# pixel, it would print the source's own finest detail on the step. Measured on the sample: fine
# noise on flat areas falls to a third. The means of so many pixels count: single ones are noise.
BLOCK_PX, MEAN_PX = 4, 2
# Rows beyond a band on which its room depends, and by whose multiples bands are cut: whole blocks.
REACH_PX = 4 * BLOCK_PX
# How steps shrink above the level that is to be held: none is taken 28 % above it. Measured on a
# pan without zoom: half as firm, the gain ends 30 % above the level. Longer steps below the level
# were tried: the picture gets sharper and harsher for as long as it goes on.
LEVEL_FIRMNESS = 4.0


def ascend(
    image: Tensor,
    climb: Gradient,
    conditioning: Conditioning,
    texture: Tensor,
    shifts: Iterable[Shift],
    step_size: float,
    level: Tensor | None = None,
    firmness: float = LEVEL_FIRMNESS,
) -> Tensor:
    """Take one step per shift up the objective.

    Args:
        image: (1, 3, H, W), RGB in [0, 1].
        climb: from an image to the scalar that is raised and its gradient, in the image's shape.
        conditioning: makes a step out of a gradient.
        texture: (1, 1, rows, columns) in [0, 1], where the source is textured.
        shifts: (down, right) px by which the picture is rolled before each step, so that the
            network's grid leaves no mark (Mordvintsev et al. 2015, "jitter").
        step_size: root mean square of one step, in the picture's units.
        level: a value of the objective above which steps shrink, a scalar. None climbs on.
        firmness: how fast: none is taken 1 / firmness above it.

    Returns:
        (1, 3, H, W) in [0, 1].
    """
    for down, right in shifts:
        # Pictures may be large: none is held for longer than it is needed.
        value, gradient = climb(torch.roll(image, (down, right), (2, 3)))
        gradient = torch.roll(gradient, (-down, -right), (2, 3))
        step = conditioning(gradient, texture).mul_(step_size)
        del gradient
        if level is not None:
            step.mul_((1 + firmness * (level.to(value.device) - value)).clamp(0, 1))
        image = step_within_range(image, step)
    return image


def value_and_gradient(image: Tensor, objective: Objective) -> tuple[Tensor, Tensor]:
    """The objective of an image, a scalar, and its gradient, in the image's shape."""
    leaf = image.detach().requires_grad_()
    with torch.enable_grad():
        value = objective(leaf)
    return value.detach(), torch.autograd.grad(value, leaf)[0]


def step_within_range(image: Tensor, step: Tensor) -> Tensor:
    """`image` plus `step`, both (1, 3, H, W), shortened near black and white, in [0, 1].

    It is written over `step`.
    """
    height, width = image.shape[-2:]
    rows = max(REACH_PX, BAND_PIXELS // width // REACH_PX * REACH_PX)
    for top in range(0, height, rows):
        begin, end = max(0, top - REACH_PX), min(height, top + rows + REACH_PX)
        here = slice(top - begin, min(top + rows, height) - begin)
        around = image[:, :, begin:end]
        onward = step[:, :, top : top + rows]
        middle = image[:, :, top : top + rows]
        room = _room(1 - around)[:, :, here]
        result = torch.addcmul(middle, onward.clamp(min=0), room)
        room = _room(around)[:, :, here]
        onward.copy_(result.addcmul_(onward.clamp(max=0), room).clamp_(0, 1))
    return step


def _room(distance: Tensor) -> Tensor:
    """How far a step may go, in [0, 1], given distances (1, 3, H, W) to the end of the range.

    The least of each block and its eight neighbours counts.
    """
    height, width = distance.shape[-2:]
    means = nn.functional.avg_pool2d(distance, MEAN_PX, ceil_mode=True, count_include_pad=False)
    blocks = nn.functional.max_pool2d(means.neg_(), BLOCK_PX // MEAN_PX, ceil_mode=True)
    least = nn.functional.max_pool2d(blocks, 3, 1, 1).mul_(-1 / HEADROOM).clamp_(max=1)
    room = nn.functional.interpolate(least, scale_factor=BLOCK_PX, mode="bilinear")
    return room[..., :height, :width]
