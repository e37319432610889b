"""Gradient ascent on one picture at one size. Refuses to know of pyramids, frames and films."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from dreamvideo.dream.conditioning import Conditioning
from dreamvideo.dream.objective import l2_energy

Shift = tuple[int, int]

# Steps shrink within this distance of black and white, so that colours approach the ends instead
# of piling up there. Measured on Big Buck Bunny: clipped values fall from 4 % to 0.5 %, at the
# same dream gain; 0.2 keeps bright skies from dreaming at all.
HEADROOM = 0.1


def ascend(
    image: Tensor,
    features: Callable[[Tensor], Tensor],
    conditioning: Conditioning,
    texture: Tensor,
    shifts: Iterable[Shift],
    step_size: float,
) -> Tensor:
    """Take one step per shift up the energy of `features`.

    Args:
        image: (1, 3, H, W), RGB in [0, 1].
        features: a network from images to activations.
        conditioning: makes a step out of a gradient.
        texture: (1, 1, H, W) in [0, 1], where the source is textured.
        shifts: (down, right) px by which the picture is rolled before each step, so that the
            network's grid leaves no mark (Mordvintsev et al. 2015, "jitter").
        step_size: root mean square of one step, in the picture's units.

    Returns:
        (1, 3, H, W) in [0, 1].
    """
    for down, right in shifts:
        rolled = torch.roll(image, (down, right), (2, 3))
        gradient = torch.roll(energy_gradient(rolled, features), (-down, -right), (2, 3))
        image = step_within_range(image, conditioning(gradient, texture) * step_size)
    return image


def energy_gradient(image: Tensor, features: Callable[[Tensor], Tensor]) -> Tensor:
    """Gradient of the energy of `features` with respect to the image, in its shape."""
    leaf = image.detach().requires_grad_()
    with torch.enable_grad():
        energy = l2_energy(features(leaf))
    return torch.autograd.grad(energy, leaf)[0]


def step_within_range(image: Tensor, step: Tensor) -> Tensor:
    """`image` plus `step`, both (1, 3, H, W), shortened near black and white, in [0, 1]."""
    room = torch.where(step > 0, 1 - image, image)
    return (image + step * (room / HEADROOM).clamp(0, 1)).clamp(0, 1)
