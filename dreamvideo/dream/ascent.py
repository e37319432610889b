"""Gradient ascent on one picture at one size. Refuses to know of pyramids, frames and films."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from dreamvideo.dream.conditioning import Conditioning
from dreamvideo.dream.stepping import step_within_range

Shift = tuple[int, int]
Objective = Callable[[Tensor], Tensor]
Gradient = Callable[[Tensor], tuple[Tensor, Tensor]]

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
        image = step_within_range(image, step, conditioning.every)
    return image


def value_and_gradient(image: Tensor, objective: Objective) -> tuple[Tensor, Tensor]:
    """The objective of an image, a scalar, and its gradient, in the image's shape."""
    leaf = image.detach().requires_grad_()
    with torch.enable_grad():
        value = objective(leaf)
    return value.detach(), torch.autograd.grad(value, leaf)[0]
