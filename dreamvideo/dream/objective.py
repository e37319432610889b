"""What an ascent raises. Refuses to know which network the activations come from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Keeps the logarithm of no answer at all finite; the weakest answers seen are 1e-4.
SMALLEST_ENERGY = 1e-12


def l2_energy(activations: Tensor) -> Tensor:
    """Mean square of the activations (any shape), a scalar.

    Its gradient amplifies whatever the layer already sees (Mordvintsev et al. 2015,
    "Inceptionism").
    """
    return activations.square().mean()


def log_energy(activations: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    """Σ shareᵢ · log(energy of layer i), a scalar.

    For one layer its gradient has the direction of the energy's. For several the logarithm makes
    them comparable: a layer is pushed by how much its answer grows in proportion.
    """
    energies = [l2_energy(answer).clamp(min=SMALLEST_ENERGY).log() for answer in activations]
    return torch.stack([share * one for share, one in zip(shares, energies, strict=True)]).sum()
