"""The colours of a picture as a whole, and how another one is drawn to them.

Refuses to know why a picture should have other colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

Matrix = npt.NDArray[np.float64]

# What is added to every variance: two steps of 8 bits. Without it a grey picture could not be
# drawn to a colourful one but by blowing up its rounding errors.
SMALLEST_VARIANCE = (2 / 255) ** 2


@dataclass(frozen=True, eq=False)
class Palette:
    """Mean and covariance of the colours of a picture."""

    mean: Matrix
    """(3,), RGB in [0, 1]."""
    covariance: Matrix
    """(3, 3)."""

    @classmethod
    def of(cls, picture: Tensor) -> Palette:
        """That of a picture (1, 3, H, W)."""
        values = picture[0].flatten(1)
        mean = values.mean(1, keepdim=True)
        spread = values - mean
        covariance = (spread @ spread.T) / values.shape[1]
        return cls(_numbers(mean[:, 0]), _numbers(covariance))

    @classmethod
    def mixed(cls, palettes: Sequence[Palette], shares: Sequence[float]) -> Palette:
        """One between several, given their shares, which add up to 1."""
        return cls(
            sum((p.mean * s for p, s in zip(palettes, shares, strict=True)), np.zeros(3)),
            sum(
                (p.covariance * s for p, s in zip(palettes, shares, strict=True)), np.zeros((3, 3))
            ),
        )


def drawn_to(picture: Tensor, present: Palette, wanted: Palette, share: float) -> Tensor:
    """A picture whose colours have gone a share of the way to those of a palette.

    The linear map with the least displacement that takes one covariance C to another, W, is
    C^(-1/2) · (C^(1/2) · W · C^(1/2))^(1/2) · C^(-1/2) (Pitié and Kokaram 2007, "The linear
    Monge-Kantorovitch linear colour mapping"); it is mixed with the identity.

    Args:
        picture: (1, 3, H, W) in [0, 1].
        present: its palette.
        wanted: where it is drawn.
        share: in [0, 1].

    Returns:
        (1, 3, H, W) in [0, 1].
    """
    noise = np.eye(3) * SMALLEST_VARIANCE
    root = _root(present.covariance + noise)
    back = np.linalg.inv(root)
    whole = back @ _root(root @ (wanted.covariance + noise) @ root) @ back
    matrix = np.eye(3) * (1 - share) + whole * share
    mean = present.mean * (1 - share) + wanted.mean * share
    offset = mean - matrix @ present.mean
    weight, bias = (
        torch.from_numpy(values.astype(np.float32)).to(picture.device)
        for values in (matrix[:, :, None, None], offset)
    )
    return nn.functional.conv2d(picture, weight, bias).clamp(0, 1)


def _root(matrix: Matrix) -> Matrix:
    """The square root of a symmetric matrix without negative eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    root: Matrix = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    return root


def _numbers(values: Tensor) -> Matrix:
    return values.cpu().numpy().astype(np.float64)
