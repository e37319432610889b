"""What an ascent raises: functions of activations, and their weighted sum.

Activations are of shape (1, channels, …): what follows the channels are the positions, if any."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

# Keeps the logarithm of no answer at all finite; the weakest answers seen are 1e-4.
MIN_ENERGY = 1e-12
# A channel of which less is seen than this share of the usual energy is asleep: no step wakes it.
INACTIVE_SHARE = 1e-6
# Places whose matches in the guide are looked for at once: bounds the memory that it takes.
MATCH_CHUNK = 4096


def flatten_positions(activations: Tensor) -> Tensor:
    """(1, channels, …) to (channels, places)."""
    return activations.reshape(activations.shape[1], -1)


def l2_energy(activations: Tensor) -> Tensor:
    """Mean square of the activations (any shape), a scalar.

    Its gradient amplifies whatever the layer already sees (Mordvintsev et al. 2015,
    "Inceptionism").
    """
    return activations.square().mean()


def log_energy(energy: Tensor) -> Tensor:
    """log of an energy, a scalar, whose gradient has the direction of the energy's.

    It makes layers comparable: each is pushed by how much its answer grows in proportion.
    """
    return energy.clamp(min=MIN_ENERGY).log()


def mean_activation(activations: Tensor, scale: Tensor) -> Tensor:
    """mean a / scale, a scalar.

    Raises what channels look for (Erhan et al. 2009, "Visualizing higher-layer features of a deep
    network", section 3; for single channels Olah et al. 2017, "Feature Visualization").

    Args:
        activations: (1, channels, …).
        scale: a scalar that makes layers comparable, such as their root mean square.
    """
    return activations.mean() / scale


def guided_similarity(activations: Tensor, guide: Tensor, scale: Tensor) -> Tensor:
    """mean over places i of maxⱼ ⟨aᵢ, gⱼ⟩ / channels / scale, a scalar.

    Its gradient at each place is what the layer sees at the best match in the guide, by dot product
    (Mordvintsev et al. 2015, the published notebook, "Controlling dreams").

    Args:
        activations: (1, channels, …).
        guide: (channels, places) of the guide.
        scale: a scalar that makes layers comparable.
    """
    places = flatten_positions(activations)
    with torch.no_grad():
        matches = torch.cat(
            [(guide.T @ some).argmax(0) for some in torch.split(places, MATCH_CHUNK, dim=1)]
        )
    return (places * guide[:, matches]).mean() / scale


def log_probability(scores: Tensor, channel: int) -> Tensor:
    """The logarithm of a class's probability, given scores (1, classes, …), a scalar.

    Of scores for many places their mean counts.
    """
    return flatten_positions(scores).mean(1).log_softmax(0)[channel]


def channels_by_energy(activations: Tensor) -> Tensor:
    """Numbers of the channels of (1, channels, …) that are awake, from the strongest down."""
    energies = flatten_positions(activations).square().mean(1)
    order = energies.argsort(descending=True, stable=True)
    return order[energies[order] > INACTIVE_SHARE * energies.mean()]


# κ: a ninth of the channels is heard at a time. Half of them see the same figures as the other
# half; with 16 the dream gets weaker.
CONCENTRATION = 8.0


def channel_emphasis(
    activation: Tensor, rate: float, time_seconds: float, seed: int, chosen: Tensor | None = None
) -> Tensor:
    """The weights of an answer's channels, of mean 1 over time.

    e^(κ cos(2π(rate · t + φ))) / I₀(κ), as von Mises' distribution, each channel with a phase φ of
    its own: what is raised passes from some channels to others, and is back after 1 / rate seconds.

    Args:
        answer: (1, channels, …).
        rate: cycles per second.
        time_seconds: t.
        seed: decides about the phases.
        chosen: numbers of the channels that are raised, whose weights are made to be of mean 1 at
            every time; None for all.

    Returns:
        (1, chosen channels, 1, …), to be multiplied with what the chosen ones answer.
    """
    channels = activation.shape[1]
    phases = np.random.default_rng([seed, channels]).random(channels)
    angles = 2 * np.pi * (rate * time_seconds + phases)
    weights = np.exp(CONCENTRATION * np.cos(angles)) / np.i0(CONCENTRATION)
    if chosen is not None:
        weights = weights[chosen.cpu().numpy()]
        weights = weights / weights.mean()
    shape = (1, len(weights), *[1] * (activation.dim() - 2))
    return torch.from_numpy(weights.astype(np.float32)).to(activation.device).view(shape)


# From images (1, 3, H, W) in [0, 1] and names of layers to the layers' activations.
Features: TypeAlias = Callable[[Tensor, Sequence[str]], Sequence[Tensor]]


@dataclass(frozen=True, eq=False)
class ObjectiveTerm:
    """What is raised of one layer: a function of a mean over its places."""

    layer: str
    share: float
    """The weight of this part."""
    mean: Callable[[Tensor], Tensor]
    """From the layer's activations to a scalar, the mean over all places of what is seen there."""
    outer: Callable[[Tensor], Tensor] | None = None
    """From that scalar to another one; None leaves it as it is."""

    def value(self, mean: Tensor) -> Tensor:
        """What the part adds to the goal, given the mean."""
        return self.share * (mean if self.outer is None else self.outer(mean))

    def slope(self, mean: Tensor) -> Tensor:
        """How fast the goal grows with the mean."""
        with torch.enable_grad():
            leaf = mean.detach().requires_grad_()
            return torch.autograd.grad(self.value(leaf), leaf)[0]


@dataclass(frozen=True, eq=False)
class Objective:
    """Σ over the parts, of a network's answers to an image."""

    features: Features
    parts: tuple[ObjectiveTerm, ...]

    def __call__(self, image: Tensor) -> Tensor:
        """A scalar, of an image (1, 3, H, W)."""
        activations = zip(self.parts, self.activations(image), strict=True)
        return torch.stack(
            [part.value(part.mean(activation)) for part, activation in activations]
        ).sum()

    def activations(self, image: Tensor) -> Sequence[Tensor]:
        """The activations of each part's layer."""
        return self.features(image, self.layers)

    @property
    def layers(self) -> tuple[str, ...]:
        """The layer of each part."""
        return tuple(part.layer for part in self.parts)


# The share of each layer, and its energy at each of its places (rows, columns).
EnergyMaps: TypeAlias = Sequence[tuple[float, Tensor]]
