"""Figures of one frame, by itself or beside its source. Refuses to know of motion and networks.

Pictures are (1, 3, H, W) in [0, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dreamvideo.colour import LUMA_BT709
from dreamvideo.dream import texture

# Where a patch of the source has less texture than this, in [0, 1], it is flat.
FLAT_TEXTURE = 0.5
# Cycles per pixel: half of the highest frequency that a picture can hold.
FINE_FREQUENCY = 0.25


def clipped_share(picture: Tensor) -> float:
    """Share of the values that are black or white to the last bit of 8."""
    values = (picture * 255).round()
    return float(((values <= 0) | (values >= 255)).float().mean())


def luma(picture: Tensor) -> float:
    """Mean brightness, weighted as in ITU-R BT.709, section 3.2, in [0, 1]."""
    weights = torch.tensor(LUMA_BT709, device=picture.device).view(1, 3, 1, 1)
    return float((picture * weights).sum(1).mean())


def saturation(picture: Tensor) -> float:
    """Mean over pixels of the largest minus the smallest channel (chroma of HSV), in [0, 1]."""
    return float((picture.amax(1) - picture.amin(1)).mean())


def fine_noise(source: Tensor, dream: Tensor) -> tuple[float, float]:
    """Energy of the residual on flat areas, above half the Nyquist frequency and in all.

    The residual r is dream minus source, less its mean; h is that part of it whose frequency
    √(fx² + fy²) is above 0.25 cycles per pixel. What is flat in the source, `dream.texture` says.

    Returns:
        Σ h² and Σ r² over the flat pixels, by the number of all pixels.
    """
    residual = dream - source
    residual = residual - residual.mean((2, 3), keepdim=True)
    height, width = residual.shape[-2:]
    # Beside its mirror image it goes on at its edges, where a jump would be of all frequencies.
    residual = torch.cat([residual, residual.flip(2)], 2)
    residual = torch.cat([residual, residual.flip(3)], 3)
    down = torch.fft.fftfreq(2 * height, device=residual.device)[:, None]
    across = torch.fft.rfftfreq(2 * width, device=residual.device)
    is_fine = down.square() + across.square() > FINE_FREQUENCY**2
    fine = torch.fft.irfft2(torch.fft.rfft2(residual) * is_fine, s=(2 * height, 2 * width))
    residual, fine = residual[..., :height, :width], fine[..., :height, :width]
    flat = (texture(source) < FLAT_TEXTURE).float()
    flat = nn.functional.interpolate(flat, size=(height, width), mode="nearest")
    return float((fine.square() * flat).mean()), float((residual.square() * flat).mean())
