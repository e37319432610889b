"""Gradient ascent on one image at one size: step schedule, jitter and steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from dreamvideo.dream.conditioning import Conditioning, upsample
from dreamvideo.settings import Settings

# More iterations than any octave has: those of an ascent beside the octaves count from here.
BOOST_FIRST_ITERATION = 1_000_000


def cold_step_schedule(now: Settings, effort: float) -> tuple[int, float]:
    """Iterations and step size of a cold dream."""
    return now.iterations, now.step_size * now.strength * effort


def warm_step_schedule(now: Settings, effort: float) -> tuple[int, float]:
    """Iterations and step size of a warm dream.

    More effort takes more steps, not longer ones; less takes shorter ones, not fewer.
    """
    iterations = max(now.warm_iterations, round(now.warm_iterations * effort), 1)
    return iterations, now.step_size * now.strength * effort * now.warm_iterations / iterations


def jitter_offsets(
    now: Settings, frame_index: int, octave: int, iterations: int, first: int = 0
) -> Iterator[Offset]:
    """One jitter per iteration, (down, right) px, each from a generator of its own.

    Seeding by place makes every frame the same in whatever order frames are dreamed.

    Args:
        now: the settings of the frame's time.
        frame_index: of the film.
        octave: its number.
        iterations: how many.
        first: the number of the first one.
    """
    for iteration in range(first, first + iterations):
        place = [now.seed, frame_index, octave, iteration]
        generator = np.random.default_rng(place)
        down, right = generator.integers(-now.jitter, now.jitter, 2, endpoint=True)
        yield int(down), int(right)


# Steps shrink within this distance of black and white, so that colours approach the ends instead
# of piling up there. Measured on Big Buck Bunny: clipped values fall from 4 % to 0.5 %, at the
# same dream gain; 0.2 keeps bright skies from dreaming at all.
HEADROOM = 0.1
# The room for a step is that of blocks of 2 by 2 means, and of their neighbours: found pixel by
# pixel, it would print the source's own finest detail on the step. Measured on the sample: fine
# noise on flat areas falls to a third.
# Means of so many pixels, across and down: single ones are noise. With 4, five times as many values
# get clipped.
MEAN_PX = 2
# Along an axis, the means of a block, and how many more on both sides count at least.
BLOCK_MEANS, MEANS_AROUND = 2, 2


def add_step(image: Tensor, step: Tensor, every: int) -> Tensor:
    """The sum (1, 3, H, W), in [0, 1], of a picture and a step of the same or a smaller size.

    Args:
        image: (1, 3, H, W) in [0, 1].
        step: (1, 3, ceil(H / every), ceil(W / every)).
        every: how many times larger the picture is than the step.
    """
    means = nn.functional.avg_pool2d(image, MEAN_PX, ceil_mode=True)
    # A value of the step reaches as far as the next one.
    around = max(MEANS_AROUND, math.ceil(every / MEAN_PX))
    room = (_local_minimum(torch.cat([1 - means, means]), around) / HEADROOM).clamp_(max=1)
    up, down = nn.functional.interpolate(room, size=step.shape[-2:], mode="bilinear")
    kept = step.clamp(min=0).mul_(up).addcmul_(step.clamp(max=0), down)
    return upsample(kept, every, (image.shape[-2], image.shape[-1])).add_(image).clamp_(0, 1)


def _local_minimum(values: Tensor, around: int) -> Tensor:
    """(N, C, H, W) to (N, C, H / 2, W / 2), rounded up: the least of each block and around it.

    For three channels, PyTorch's own pooling takes several times as long.
    """
    beyond = [(around, around + side % BLOCK_MEANS) for side in values.shape[:1:-1]]
    values = nn.functional.pad(values, (*beyond[0], *beyond[1]), value=math.inf)
    for axis in (2, 3):
        values = values.unfold(axis, BLOCK_MEANS + 2 * around, BLOCK_MEANS).amin(-1)
    return values


Offset = tuple[int, int]
ObjectiveFunction = Callable[[Tensor], Tensor]
ValueAndGradient = Callable[[Tensor], tuple[Tensor, Tensor]]

# How steps shrink above the level that is to be held: none is taken 28 % above it. Measured on a
# pan without zoom: half as firm, the gain ends 30 % above the level. Longer steps below the level
# were tried: the picture gets sharper and harsher for as long as it goes on.
ZOOM_LEVEL_FIRMNESS = 4.0


def ascend(
    image: Tensor,
    evaluate: ValueAndGradient,
    conditioning: Conditioning,
    texture: Tensor,
    shifts: Iterable[Offset],
    step_size: float,
    level: Tensor | None = None,
    firmness: float = ZOOM_LEVEL_FIRMNESS,
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
        value, gradient = evaluate(torch.roll(image, (down, right), (2, 3)))
        gradient = torch.roll(gradient, (-down, -right), (2, 3))
        step = conditioning(gradient, texture).mul_(step_size)
        del gradient
        if level is not None:
            step.mul_((1 + firmness * (level.to(value.device) - value)).clamp(0, 1))
        image = add_step(image, step, conditioning.every)
    return image


def value_and_gradient(image: Tensor, objective: ObjectiveFunction) -> tuple[Tensor, Tensor]:
    """The objective of an image, a scalar, and its gradient, in the image's shape."""
    leaf = image.detach().requires_grad_()
    with torch.enable_grad():
        value = objective(leaf)
    return value.detach(), torch.autograd.grad(value, leaf)[0]
