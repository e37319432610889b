"""An image at the sizes at which it is dreamed, and where it has texture."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

# (height, width) in px.
Size = tuple[int, int]

# Below this the layers of the default network have too few positions to form a figure.
MIN_SIDE_PX = 48
# The side of the patches in which texture is measured.
PATCH_PX = 8
# Standard deviation of luma around its shading at which a patch counts as half textured: above the
# grain of clear skies, below asphalt. Chosen by eye; 0.012 blurs the dreams of short fur.
HALF_TEXTURED_STD = 0.009


@dataclass(frozen=True, eq=False)
class Octave:
    """A source image at one size of the pyramid."""

    number: int
    """From 0, the smallest."""
    source: Tensor
    """(1, 3, height, width) in [0, 1]."""
    texture: Tensor
    """(1, 1, rows, columns) in [0, 1]: 0 where the source is flat, 1 where it is textured."""

    @property
    def size(self) -> Size:
        """(height, width) in px."""
        height, width = self.source.shape[-2:]
        return height, width


def build_octaves(source: Tensor, sizes: Iterable[tuple[int, Size]]) -> list[Octave]:
    """A source (1, 3, H, W) in [0, 1] at the given numbers and sizes."""
    octaves = []
    for number, size in sizes:
        # Bicubic resizing overshoots at edges.
        image = resize(source, size).clamp(0, 1) if size != source.shape[-2:] else source
        octaves.append(Octave(number, image, texture_map(image)))
    return octaves


def octave_sizes(height_px: int, width_px: int, octaves: int, octave_scale: float) -> list[Size]:
    """(height, width) of each octave, smallest first, the full size last.

    Each octave is `octave_scale` times smaller than the next (Mordvintsev et al. 2015). Octaves
    with a side below `MIN_SIDE_PX` are left out; the full size always remains.
    """
    sizes = [(height_px, width_px)]
    for step in range(1, octaves):
        shrink = octave_scale**step
        height, width = round(height_px / shrink), round(width_px / shrink)
        if min(height, width) < MIN_SIDE_PX:
            break
        sizes.append((height, width))
    return sizes[::-1]


def size_at_most(size: Size, max_px: int) -> Size:
    """A size with the same aspect ratio whose longest side is at most `max_px`."""
    height, width = size
    shrink = min(1.0, max_px / max(height, width))
    return max(1, round(height * shrink)), max(1, round(width * shrink))


def resize(image: Tensor, size: Size) -> Tensor:
    """(N, C, H, W) to (N, C, *size), antialiased bicubic."""
    if tuple(image.shape[-2:]) == size:
        return image
    return nn.functional.interpolate(image, size=size, mode="bicubic", antialias=True)


def resize_smooth(image: Tensor, size: Size) -> Tensor:
    """(N, C, H, W) to (N, C, *size), bilinear: a third of the cost, for smooth content.

    The change that a dream makes consists of smoothed steps. Shrunk by the scale of one octave, it
    still has no detail finer than two pixels.
    """
    if tuple(image.shape[-2:]) == size:
        return image
    return nn.functional.interpolate(image, size=size, mode="bilinear")


def shrink_to(image: Tensor, max_px: int) -> Tensor:
    """(N, C, H, W), shrunk if needed so that its longest side is at most `max_px`."""
    return resize(image, size_at_most((image.shape[-2], image.shape[-1]), max_px))


def add_residual(octave: Octave, residual: Tensor) -> Tensor:
    """The octave's source plus a residual (1, 3, H, W) of any size, clamped to [0, 1]."""
    return (octave.source + resize_smooth(residual, octave.size)).clamp_(0, 1)


def texture_map(image: Tensor) -> Tensor:
    """How textured each 8×8 patch is: (1, 3, H, W) in [0, 1] to (1, 1, H / 8, W / 8) in [0, 1].

    With v the variance of luma in a patch around its best-fitting plane (shading is no texture) and
    d `HALF_TEXTURED_STD`: v / (v + d²).
    """
    channels = image.shape[1]
    # A matrix product: PyTorch's mean over channels that are last in memory takes ten times as
    # long.
    luma = image.permute(0, 2, 3, 1) @ image.new_full((channels, 1), 1 / channels)
    luma = luma.permute(0, 3, 1, 2)
    height, width = image.shape[-2:]
    # Exact means over the patch: with a smoother filter, variances could become negative. The
    # remainder of a side is left out. As products, which GPUs round less than convolutions.
    patch = (min(PATCH_PX, height), min(PATCH_PX, width))
    patches = nn.functional.unfold(luma, patch, stride=patch)
    plane = _plane_basis(patch).to(patches) @ patches
    variance = (patches.square_().mean(1) - plane.square().sum(1)).clamp(min=0)
    texture = variance / (variance + HALF_TEXTURED_STD**2)
    return texture.view(1, 1, height // patch[0], width // patch[1])


def _plane_basis(patch: Size) -> Tensor:
    """(3, pixels): products with a patch give its mean and its slopes down and across.

    Their squares add up to the mean square of the plane that fits the patch best.
    """
    slopes = []
    for axis, side in enumerate(patch):
        offset = torch.arange(side) - (side - 1) / 2
        unit = offset / offset.square().mean().sqrt() if side > 1 else offset
        slopes.append(unit.unsqueeze(1 - axis).expand(patch))
    return torch.stack([torch.ones(patch), *slopes]).flatten(1) / math.prod(patch)
