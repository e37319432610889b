"""Lets networks that were made for pictures of one size take any. Refuses to know their weights."""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from torchvision.models import VisionTransformer


def at_any_size(network: VisionTransformer) -> None:
    """Let a vision transformer take pictures of any size, as it took those of its own.

    What it learned of places is stretched over the picture (Dosovitskiy et al. 2021, "An image is
    worth 16x16 words", section 3.2). It is added to the patches as they come in, instead of later,
    so that the network need not be told the size.
    """
    positions = network.encoder.pos_embedding.detach()
    grid_side = round((positions.shape[1] - 1) ** 0.5)
    grid = positions[:, 1:].transpose(1, 2).unflatten(2, (grid_side, grid_side))
    network.register_buffer("grid_of_positions", grid, persistent=False)
    token = network.class_token + positions[:, :1]
    network.class_token = nn.Parameter(token.detach(), requires_grad=False)
    nothing = positions[:, :1] * 0
    network.encoder.pos_embedding = nn.Parameter(nothing, requires_grad=False)
    network._process_input = MethodType(_patches, network)


def _patches(network: VisionTransformer, image: Tensor) -> Tensor:
    """(N, 3, H, W) to (N, patches, width of the network)."""
    height, width = image.shape[-2:]
    missing = (-width % network.patch_size, -height % network.patch_size)
    padded = nn.functional.pad(image, (0, missing[0], 0, missing[1]), mode="replicate")
    features = network.conv_proj(padded)
    grid = network.get_buffer("grid_of_positions")
    if grid.shape[-2:] != features.shape[-2:]:
        grid = nn.functional.interpolate(
            grid, features.shape[-2:], mode="bicubic", align_corners=True
        )
    tokens: Tensor = (features + grid).flatten(2).transpose(1, 2)
    return tokens
