"""Where a picture has texture and where it is flat. Refuses to know what follows from it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

# The side of the patches in which texture is measured.
PATCH_PX = 8
# Standard deviation of brightness about its shading at which a patch counts as half textured: above
# the grain of clear skies, below asphalt. Chosen by looking; 0.012 blurs the dreams of short fur.
HALF_TEXTURED_DEVIATION = 0.009


def texture(image: Tensor) -> Tensor:
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
    plane = _planes(patch).to(patches) @ patches
    variance = (patches.square_().mean(1) - plane.square().sum(1)).clamp(min=0)
    found = variance / (variance + HALF_TEXTURED_DEVIATION**2)
    return found.view(1, 1, height // patch[0], width // patch[1])


def _planes(patch: tuple[int, int]) -> Tensor:
    """(3, pixels): whose sums with a patch are how much it is level, and slopes down and across.

    Their squares add up to the mean square of the plane that fits the patch best.
    """
    slopes = []
    for axis, side in enumerate(patch):
        place = torch.arange(side) - (side - 1) / 2
        unit = place / place.square().mean().sqrt() if side > 1 else place
        slopes.append(unit.unsqueeze(1 - axis).expand(patch))
    return torch.stack([torch.ones(patch), *slopes]).flatten(1) / math.prod(patch)
