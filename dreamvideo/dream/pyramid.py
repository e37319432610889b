"""An image at the sizes at which it is dreamed, and where it has texture."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

# Below this the layers of the default network hold too few cells to show a figure.
MIN_SIDE_PX = 48

Size = tuple[int, int]


def octave_sizes(height_px: int, width_px: int, octaves: int, octave_scale: float) -> list[Size]:
    """(height, width) of each octave, smallest first, the picture itself last.

    Each octave is `octave_scale` times smaller than the next (Mordvintsev et al. 2015). Octaves
    with a side under `SMALLEST_SIDE_PX` are left out; the full size always remains.
    """
    sizes = [(height_px, width_px)]
    for step in range(1, octaves):
        shrink = octave_scale**step
        height, width = round(height_px / shrink), round(width_px / shrink)
        if min(height, width) < MIN_SIDE_PX:
            break
        sizes.append((height, width))
    return sizes[::-1]


def resize(picture: Tensor, size: Size) -> Tensor:
    """(N, C, H, W) to (N, C, *size), band-limited so that shrinking makes no moiré."""
    if tuple(picture.shape[-2:]) == size:
        return picture
    return nn.functional.interpolate(picture, size=size, mode="bicubic", antialias=True)


def resize_smooth(picture: Tensor, size: Size) -> Tensor:
    """(N, C, H, W) to (N, C, *size), bilinearly: a third of the cost, for what is smooth anyway.

    What a dream adds to a picture is made of smoothed steps; shrunk by the scale of octaves, it
    still has nothing finer than two pixels.
    """
    if tuple(picture.shape[-2:]) == size:
        return picture
    return nn.functional.interpolate(picture, size=size, mode="bilinear")


def shrink_to(picture: Tensor, max_px: int) -> Tensor:
    """(N, C, H, W), shrunk so that its longest side is no longer than `most_px`."""
    return resize(picture, size_at_most((picture.shape[-2], picture.shape[-1]), max_px))


def size_at_most(size: Size, max_px: int) -> Size:
    """A size of the same shape whose longest side is no longer than `most_px`."""
    height, width = size
    shrink = min(1.0, max_px / max(height, width))
    return max(1, round(height * shrink)), max(1, round(width * shrink))


# The side of the patches in which texture is measured.
PATCH_PX = 8
# Standard deviation of brightness about its shading at which a patch counts as half textured: above
# the grain of clear skies, below asphalt. Chosen by looking; 0.012 blurs the dreams of short fur.
HALF_TEXTURED_STD = 0.009


def texture_map(image: Tensor) -> Tensor:
    """(1, 3, H, W) in [0, 1] to (1, 1, H / 8, W / 8) in [0, 1]: 0 on flat patches, 1 on rich ones.

    With v the variance of brightness in a patch about the plane that fits it best, since shading is
    no texture, and d `HALF_TEXTURED_DEVIATION`: v / (v + d²).
    """
    channels = image.shape[1]
    # As a product of matrices: PyTorch's mean over channels that are last takes ten times as long.
    brightness = image.permute(0, 2, 3, 1) @ image.new_full((channels, 1), 1 / channels)
    brightness = brightness.permute(0, 3, 1, 2)
    height, width = image.shape[-2:]
    # Means of exactly these pixels: any smoother filter would make variances of less than nothing.
    # The rest of a side is left out. As products, which GPUs round less than convolutions.
    patch = (min(PATCH_PX, height), min(PATCH_PX, width))
    patches = nn.functional.unfold(brightness, patch, stride=patch)
    plane = _plane_basis(patch).to(patches) @ patches
    variance = (patches.square_().mean(1) - plane.square().sum(1)).clamp(min=0)
    found = variance / (variance + HALF_TEXTURED_STD**2)
    return found.view(1, 1, height // patch[0], width // patch[1])


def _plane_basis(patch: tuple[int, int]) -> Tensor:
    """(3, pixels): whose sums with a patch are how much it is level, and slopes down and across.

    Their squares add up to the mean square of the plane that fits the patch best.
    """
    slopes = []
    for axis, side in enumerate(patch):
        place = torch.arange(side) - (side - 1) / 2
        unit = place / place.square().mean().sqrt() if side > 1 else place
        slopes.append(unit.unsqueeze(1 - axis).expand(patch))
    return torch.stack([torch.ones(patch), *slopes]).flatten(1) / math.prod(patch)


@dataclass(frozen=True, eq=False)
class Octave:
    """A source at one of its sizes."""

    number: int
    """From 0, the smallest."""
    source: Tensor
    """(1, 3, height, width) in [0, 1]."""
    texture: Tensor
    """(1, 1, rows, columns) in [0, 1], where the source is textured."""

    @property
    def size(self) -> Size:
        """(height, width)."""
        height, width = self.source.shape[-2:]
        return height, width


def build_octaves(source: Tensor, sizes: Iterable[tuple[int, Size]]) -> list[Octave]:
    """A source (1, 3, H, W) in [0, 1] at some of its numbered sizes."""
    octaves = []
    for number, size in sizes:
        # Bicubic resizing overshoots at edges.
        there = resize(source, size).clamp(0, 1) if size != source.shape[-2:] else source
        octaves.append(Octave(number, there, texture_map(there)))
    return octaves


def at_octave_size(carried: Tensor, source: Octave) -> Tensor:
    """A source with a residual (1, 3, H, W) of any size, at the octave's size, in [0, 1]."""
    return (source.source + resize_smooth(carried, source.size)).clamp_(0, 1)
