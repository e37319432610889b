"""The dream of one image: pyramid, jitter, gradient, conditioned step.

`climb_pyramid` is the whole algorithm: at each octave, from the smallest up, `ascend` takes steps
up the gradient of the objective, and the change that they made is carried to the next octave.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from dreamvideo.dream.conditioning import Conditioning, upsample
from dreamvideo.dream.pyramid import Octave, add_residual, resize_smooth
from dreamvideo.settings.frame_params import FrameParams

# (down, right) in px.
Offset: TypeAlias = tuple[int, int]
# From an image (1, 3, H, W) to the objective, a scalar, and its gradient, in the image's shape.
ValueAndGradient: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]
# From an octave to the value of the objective above which steps shrink.
Level: TypeAlias = Callable[[Octave], Tensor]

# How steps shrink above the level: none is taken 28 % above it. Measured on a pan without zoom:
# with half of this, the gain ends 30 % above the level. Longer steps below the level were tried:
# the image gets sharper and harsher for as long as the zoom lasts.
ZOOM_LEVEL_FIRMNESS = 4.0
# Steps shrink within this distance of black and white, so that colours approach the ends instead of
# being clipped there. Measured on Big Buck Bunny: clipped values fall from 4 % to 0.5 %, at the
# same dream gain; with 0.2, bright skies are not dreamed at all.
HEADROOM = 0.1
# The headroom is measured on means of 2×2 pixels: single pixels would print the finest detail of
# the source on the step. Measured on the sample: fine noise on flat areas falls to a third. With
# 4×4, five times as many values are clipped.
MEAN_PX = 2
# Per axis, the means in a block, and how many more on both sides count at least.
BLOCK_MEANS, MEANS_AROUND = 2, 2


@dataclass(frozen=True)
class StepSchedule:
    """How many steps are taken per octave, and how long they are."""

    iterations: int
    step_size: float
    """Root mean square of a step, for images in [0, 1]."""

    @classmethod
    def cold(cls, params: FrameParams, effort: float = 1.0) -> StepSchedule:
        """That of a cold dream; `effort` multiplies the step size."""
        return cls(params.iterations, params.step_size * params.strength * effort)

    @classmethod
    def warm(cls, params: FrameParams, effort: float = 1.0) -> StepSchedule:
        """That of a warm dream: more effort takes more steps, less effort shorter ones."""
        iterations = max(params.warm_iterations, round(params.warm_iterations * effort), 1)
        step_size = params.step_size * params.strength * effort * params.warm_iterations
        return cls(iterations, step_size / iterations)


@dataclass(frozen=True, eq=False)
class LevelControl:
    """Shrinks steps where the objective exceeds a level, so that a long dream does not burn out."""

    level: Level
    firmness: float = ZOOM_LEVEL_FIRMNESS
    """No step is taken 1 / firmness above the level."""


def climb_pyramid(
    octaves: Sequence[Octave],
    carried: Tensor | None,
    evaluate: ValueAndGradient,
    conditioning: Conditioning,
    steps: StepSchedule,
    params: FrameParams,
    frame_index: int,
    control: LevelControl | None = None,
    weights: Sequence[Tensor] | None = None,
) -> Tensor:
    """Dream a source at each octave; the change is carried up, so that the source stays sharp.

    Args:
        octaves: the source at its sizes, smallest first.
        carried: (1, 3, H, W), the residual of the previous frame to start each octave from.
        evaluate: computes the objective and its gradient.
        conditioning: makes a step out of a gradient.
        steps: how many per octave.
        params: seed and jitter.
        frame_index: with the seed, determines the jitter.
        control: where steps shrink; None never shrinks them.
        weights: one per octave, (1, 1, rows, columns) of any size, by which steps are multiplied.

    Returns:
        The dream at the size of the last octave, (1, 3, H, W) in [0, 1].
    """
    image = base = octaves[0].source
    each_weight: Sequence[Tensor | None] = weights or [None] * len(octaves)
    for octave, weight in zip(octaves, each_weight, strict=True):
        change = resize_smooth(image - base, octave.size)
        base = octave.source if carried is None else add_residual(octave, carried)
        image = ascend(
            change.add_(base).clamp_(0, 1),
            evaluate,
            conditioning,
            octave.texture,
            jitter_offsets(params, frame_index, octave.number, steps.iterations),
            steps.step_size,
            None if control is None else control.level(octave),
            ZOOM_LEVEL_FIRMNESS if control is None else control.firmness,
            weight,
        )
    return image


def ascend(
    image: Tensor,
    evaluate: ValueAndGradient,
    conditioning: Conditioning,
    texture: Tensor,
    offsets: Iterable[Offset],
    step_size: float,
    level: Tensor | None = None,
    firmness: float = ZOOM_LEVEL_FIRMNESS,
    weight: Tensor | None = None,
) -> Tensor:
    """Take one step up the objective per offset.

    Args:
        image: (1, 3, H, W), RGB in [0, 1].
        evaluate: computes the objective and its gradient.
        conditioning: makes a step out of a gradient.
        texture: (1, 1, rows, columns) in [0, 1], where the source is textured.
        offsets: by which the image is rolled before each step, so that the network's grid leaves no
            trace (Mordvintsev et al. 2015, "jitter").
        step_size: root mean square of one step, for images in [0, 1].
        level: a value of the objective above which steps shrink, a scalar; None for no limit.
        firmness: how fast they shrink: no step is taken 1 / firmness above the level.
        weight: (1, 1, rows, columns) of any size, by which steps are multiplied; None for 1.

    Returns:
        (1, 3, H, W) in [0, 1].
    """
    for down, right in offsets:
        # Images may be large: none is kept for longer than needed.
        value, gradient = evaluate(torch.roll(image, (down, right), (2, 3)))
        gradient = torch.roll(gradient, (-down, -right), (2, 3))
        step = conditioning(gradient, texture).mul_(step_size)
        del gradient
        if level is not None:
            step.mul_((1 + firmness * (level.to(value.device) - value)).clamp(0, 1))
        if weight is not None:
            step.mul_(nn.functional.adaptive_avg_pool2d(weight, step.shape[-2:]))
        image = add_step(image, step, conditioning.stride)
    return image


def jitter_offsets(
    params: FrameParams, frame_index: int, octave: int, iterations: int, first: int = 0
) -> Iterator[Offset]:
    """One random offset per iteration, each from a generator of its own.

    Seeded by (seed, frame, octave, iteration), every frame is the same in whatever order frames are
    dreamed.

    Args:
        params: seed and jitter.
        frame_index: index of the frame in the video.
        octave: number of the octave.
        iterations: how many offsets.
        first: number of the first iteration.
    """
    for iteration in range(first, first + iterations):
        generator = np.random.default_rng([params.seed, frame_index, octave, iteration])
        down, right = generator.integers(-params.jitter_px, params.jitter_px, 2, endpoint=True)
        yield int(down), int(right)


def add_step(image: Tensor, step: Tensor, stride: int) -> Tensor:
    """The image (1, 3, H, W) plus a step, shortened near black and white, clamped to [0, 1].

    Args:
        image: (1, 3, H, W) in [0, 1].
        step: (1, 3, ceil(H / stride), ceil(W / stride)).
        stride: how many times larger the image is than the step.
    """
    means = nn.functional.avg_pool2d(image, MEAN_PX, ceil_mode=True)
    # A value of the step reaches as far as the next one.
    around = max(MEANS_AROUND, math.ceil(stride / MEAN_PX))
    room = (_local_minimum(torch.cat([1 - means, means]), around) / HEADROOM).clamp_(max=1)
    up, down = nn.functional.interpolate(room, size=step.shape[-2:], mode="bilinear")
    kept = step.clamp(min=0).mul_(up).addcmul_(step.clamp(max=0), down)
    return upsample(kept, stride, (image.shape[-2], image.shape[-1])).add_(image).clamp_(0, 1)


def _local_minimum(values: Tensor, around: int) -> Tensor:
    """(N, C, H, W) to (N, C, H / 2, W / 2), rounded up: the minimum in and around each block.

    For three channels, PyTorch's own pooling takes several times as long.
    """
    margins = [(around, around + side % BLOCK_MEANS) for side in values.shape[:1:-1]]
    values = nn.functional.pad(values, (*margins[0], *margins[1]), value=math.inf)
    for axis in (2, 3):
        values = values.unfold(axis, BLOCK_MEANS + 2 * around, BLOCK_MEANS).amin(-1)
    return values


def value_and_gradient(
    image: Tensor, objective: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """The objective of an image, a scalar, and its gradient, in the image's shape."""
    leaf = image.detach().requires_grad_()
    with torch.enable_grad():
        value = objective(leaf)
    return value.detach(), torch.autograd.grad(value, leaf)[0]
