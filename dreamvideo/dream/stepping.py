"""Adds a step to a picture, shortened near black and white. Refuses to know how steps are made."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dreamvideo.dream.smoothing import enlarged

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


def step_within_range(image: Tensor, step: Tensor, every: int) -> Tensor:
    """The sum (1, 3, H, W), in [0, 1], of a picture and a step of the same or a smaller size.

    Args:
        image: (1, 3, H, W) in [0, 1].
        step: (1, 3, ceil(H / every), ceil(W / every)).
        every: how many times larger the picture is than the step.
    """
    means = nn.functional.avg_pool2d(image, MEAN_PX, ceil_mode=True)
    # A value of the step reaches as far as the next one.
    around = max(MEANS_AROUND, math.ceil(every / MEAN_PX))
    room = (_least_around(torch.cat([1 - means, means]), around) / HEADROOM).clamp_(max=1)
    up, down = nn.functional.interpolate(room, size=step.shape[-2:], mode="bilinear")
    kept = step.clamp(min=0).mul_(up).addcmul_(step.clamp(max=0), down)
    return enlarged(kept, every, (image.shape[-2], image.shape[-1])).add_(image).clamp_(0, 1)


def _least_around(values: Tensor, around: int) -> Tensor:
    """(N, C, H, W) to (N, C, H / 2, W / 2), rounded up: the least of each block and around it.

    For three channels, PyTorch's own pooling takes several times as long.
    """
    beyond = [(around, around + side % BLOCK_MEANS) for side in values.shape[:1:-1]]
    values = nn.functional.pad(values, (*beyond[0], *beyond[1]), value=math.inf)
    for axis in (2, 3):
        values = values.unfold(axis, BLOCK_MEANS + 2 * around, BLOCK_MEANS).amin(-1)
    return values
