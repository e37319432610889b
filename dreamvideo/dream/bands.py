"""Large pictures in bands, for what needs memory of its own. Refuses to know what that is."""

from __future__ import annotations

import torch
from torch import Tensor

# Of a band: what is made of it takes a few tens of megabytes.
BAND_PIXELS = 2**21


def bands_of(picture: Tensor, axis: int) -> tuple[Tensor, ...]:
    """Parts of (1, C, H, W) along axis 2 or 3, views; one where the picture is small."""
    across_px = picture.shape[5 - axis]
    return tuple(torch.split(picture, max(1, BAND_PIXELS // across_px), axis))
