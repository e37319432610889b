"""What an ascent raises, as functions of activations. Refuses to know where these come from.

Activations are of shape (1, channels, …): what follows the channels are the places, if any.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Keeps the logarithm of no answer at all finite; the weakest answers seen are 1e-4.
SMALLEST_ENERGY = 1e-12
# A channel of which less is seen than this share of the usual energy is asleep: no step wakes it.
ASLEEP = 1e-6
# Places whose matches in the guide are looked for at once: bounds the memory that it takes.
MATCHED_AT_ONCE = 4096


def by_channel(activations: Tensor) -> Tensor:
    """(1, channels, …) to (channels, places)."""
    return activations.reshape(activations.shape[1], -1)


def l2_energy(activations: Tensor) -> Tensor:
    """Mean square of the activations (any shape), a scalar.

    Its gradient amplifies whatever the layer already sees (Mordvintsev et al. 2015,
    "Inceptionism").
    """
    return activations.square().mean()


def logarithm(energy: Tensor) -> Tensor:
    """log of an energy, a scalar, whose gradient has the direction of the energy's.

    It makes layers comparable: each is pushed by how much its answer grows in proportion.
    """
    return energy.clamp(min=SMALLEST_ENERGY).log()


def mean_answer(activations: Tensor, scale: Tensor) -> Tensor:
    """mean a / scale, a scalar.

    Raises what channels look for (Erhan et al. 2009, "Visualizing higher-layer features of a deep
    network", section 3; for single channels Olah et al. 2017, "Feature Visualization").

    Args:
        activations: (1, channels, …).
        scale: a scalar that makes layers comparable, such as their root mean square.
    """
    return activations.mean() / scale


def guided_answer(activations: Tensor, guide: Tensor, scale: Tensor) -> Tensor:
    """mean over places i of maxⱼ ⟨aᵢ, gⱼ⟩ / channels / scale, a scalar.

    Its gradient at each place is what the layer sees at the best match in the guide, by dot product
    (Mordvintsev et al. 2015, the published notebook, "Controlling dreams").

    Args:
        activations: (1, channels, …).
        guide: (channels, places) of the guide.
        scale: a scalar that makes layers comparable.
    """
    places = by_channel(activations)
    with torch.no_grad():
        matches = torch.cat(
            [(guide.T @ some).argmax(0) for some in torch.split(places, MATCHED_AT_ONCE, dim=1)]
        )
    return (places * guide[:, matches]).mean() / scale


def log_probability(scores: Tensor, channel: int) -> Tensor:
    """The logarithm of a class's probability, given scores (1, classes, …), a scalar.

    Of scores for many places their mean counts.
    """
    return by_channel(scores).mean(1).log_softmax(0)[channel]


def by_energy(activations: Tensor) -> Tensor:
    """Numbers of the channels of (1, channels, …) that are awake, from the strongest down."""
    energies = by_channel(activations).square().mean(1)
    order = energies.argsort(descending=True, stable=True)
    return order[energies[order] > ASLEEP * energies.mean()]
