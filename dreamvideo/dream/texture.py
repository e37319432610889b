"""Where a picture has texture and where it is flat. Refuses to know what follows from it."""

from __future__ import annotations

from torch import Tensor, nn

# The side of the patches in which texture is measured.
PATCH_PX = 8
# Standard deviation of brightness at which a patch counts as half textured: above the gradients of
# clear skies and painted walls, below asphalt. Chosen by looking; 0.03 blurs the dreams of streets.
HALF_TEXTURED_DEVIATION = 0.012


def texture(image: Tensor) -> Tensor:
    """(1, 3, H, W) in [0, 1] to (1, 1, H / 8, W / 8) in [0, 1]: 0 on flat patches, 1 on rich ones.

    With v the variance of brightness in a patch and d `HALF_TEXTURED_DEVIATION`: v / (v + d²).
    """
    channels = image.shape[1]
    # As a product of matrices: PyTorch's mean over channels that are last takes ten times as long.
    brightness = image.permute(0, 2, 3, 1) @ image.new_full((channels, 1), 1 / channels)
    brightness = brightness.permute(0, 3, 1, 2)
    height, width = image.shape[-2:]
    # Means of exactly these pixels: any smoother filter would make variances of less than nothing.
    # The rest of a side is left out, since MPS takes adaptive means of sizes that divide only.
    patch = (min(PATCH_PX, height), min(PATCH_PX, width))
    mean = nn.functional.avg_pool2d(brightness, patch)
    mean_square = nn.functional.avg_pool2d(brightness.square_(), patch)
    variance = (mean_square - mean.square()).clamp(min=0)
    return variance / (variance + HALF_TEXTURED_DEVIATION**2)
