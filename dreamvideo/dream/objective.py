"""What an ascent raises. Refuses to know which network the activations come from."""

from __future__ import annotations

from torch import Tensor


def l2_energy(activations: Tensor) -> Tensor:
    """Mean square of the activations (any shape), a scalar.

    Its gradient amplifies whatever the layer already sees (Mordvintsev et al. 2015,
    "Inceptionism").
    """
    return activations.square().mean()
