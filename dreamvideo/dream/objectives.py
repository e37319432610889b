"""What an ascent maximizes: objectives of one layer, and their weighted sum.

Activations are (1, channels, …): the axes after the channels are the positions, if any. Each
objective of a layer is a function of a mean over positions, so that it can also be computed tile by
tile. To add an objective, write a class and enter it in `OBJECTIVES`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np
import torch
from torch import Tensor

# From an image (1, 3, H, W) in [0, 1] and layer names to the layers' activations.
Features: TypeAlias = Callable[[Tensor, Sequence[str]], Sequence[Tensor]]
# Of each layer, its weight and its energy at each position (rows, columns).
EnergyMaps: TypeAlias = Sequence[tuple[float, Tensor]]

# Keeps the logarithm of zero energy finite; the smallest energies seen in practice are 1e-4.
MIN_ENERGY = 1e-12
# A channel with less than this share of the mean energy is inactive: no step can activate it.
INACTIVE_SHARE = 1e-6
# Positions that are matched with the guide at once: bounds the memory that this takes.
MATCH_CHUNK = 4096
# κ of the channel emphasis: about a ninth of the channels dominates at a time. With 16 the dream
# gets weaker.
EMPHASIS_CONCENTRATION = 8.0


@dataclass(frozen=True, eq=False)
class LayerContext:
    """What the objective of one layer may depend on besides the activations."""

    channels: Tensor | None = None
    """Indices of the channels that are maximized; None for all."""
    rms: Tensor | None = None
    """Root mean square of the layer on the source, a scalar: makes layers comparable."""
    emphasis: Callable[[Tensor, Tensor | None], Tensor] | None = None
    """From activations and channels to weights of the channels; None weights them equally."""
    guide: Tensor | None = None
    """(channels, positions): activations of the guide image, of unit root mean square."""
    class_channel: int | None = None
    """Index of the class in the network's output."""

    def select(self, activations: Tensor, power: float = 1.0) -> Tensor:
        """The chosen channels of (1, channels, …), times their emphasis to a power."""
        chosen = select_channels(activations, self.channels)
        if self.emphasis is None:
            return chosen
        return chosen * self.emphasis(activations, self.channels).pow(power)


@dataclass(frozen=True, eq=False)
class LayerObjective(ABC):
    """What is maximized of one layer: `outer` of a `mean` over positions."""

    context: LayerContext
    needs_rms: ClassVar[bool] = True

    @abstractmethod
    def mean(self, activations: Tensor) -> Tensor:
        """From activations (1, channels, …) to a scalar, a mean over the positions."""

    def outer(self, mean: Tensor) -> Tensor:
        """From that scalar to the value."""
        return mean


class L2Energy(LayerObjective):
    """log of the mean square of the activations.

    The gradient of the mean square amplifies whatever the layer already responds to (Mordvintsev et
    al. 2015, "Inceptionism"). The logarithm makes layers comparable: each is pushed by its relative
    growth.
    """

    needs_rms = False

    def mean(self, activations: Tensor) -> Tensor:
        """See `LayerObjective`."""
        return energy(self.context.select(activations, 0.5))  # energies are squares

    def outer(self, mean: Tensor) -> Tensor:
        """See `LayerObjective`."""
        return mean.clamp(min=MIN_ENERGY).log()


class MeanActivation(LayerObjective):
    """mean a / rms: amplifies what the channels respond to.

    Erhan et al. 2009, "Visualizing higher-layer features of a deep network", section 3; for single
    channels Olah et al. 2017, "Feature Visualization".
    """

    def mean(self, activations: Tensor) -> Tensor:
        """See `LayerObjective`."""
        assert self.context.rms is not None
        return self.context.select(activations).mean() / self.context.rms


class GuidedSimilarity(LayerObjective):
    """mean over positions i of maxⱼ ⟨aᵢ, gⱼ⟩ / channels / rms, with g the activations of the guide.

    Its gradient at each position is the activation at the best match in the guide, by dot product
    (Mordvintsev et al. 2015, the published notebook, "Controlling dreams").
    """

    def mean(self, activations: Tensor) -> Tensor:
        """See `LayerObjective`."""
        context = self.context
        assert context.guide is not None
        assert context.rms is not None
        guide = context.guide if context.channels is None else context.guide[context.channels]
        positions = flatten_positions(context.select(activations))
        with torch.no_grad():
            matches = torch.cat(
                [
                    (guide.T @ chunk).argmax(0)
                    for chunk in torch.split(positions, MATCH_CHUNK, dim=1)
                ]
            )
        return (positions * guide[:, matches]).mean() / context.rms


class ClassScore(LayerObjective):
    """The network's score for one class.

    Scores and not probabilities, which other classes could raise by falling (Simonyan et al. 2013,
    "Deep inside convolutional networks", section 2).
    """

    needs_rms = False

    def mean(self, activations: Tensor) -> Tensor:
        """See `LayerObjective`."""
        assert self.context.class_channel is not None
        return activations[:, self.context.class_channel].mean()


class ClassLogProbability(LayerObjective):
    """The logarithm of a class's probability: a measure, not an objective to choose.

    Of scores at many positions the mean counts.
    """

    needs_rms = False

    def mean(self, activations: Tensor) -> Tensor:
        """See `LayerObjective`."""
        assert self.context.class_channel is not None
        scores = flatten_positions(activations).mean(1)
        return scores.log_softmax(0)[self.context.class_channel]


# By the name in `settings.frame_params.ObjectiveParams`.
OBJECTIVES: dict[str, type[LayerObjective]] = {
    "l2": L2Energy,
    "mean": MeanActivation,
    "guide": GuidedSimilarity,
    "class": ClassScore,
}


@dataclass(frozen=True, eq=False)
class ObjectiveTerm:
    """The objective of one layer and its weight."""

    layer: str
    weight: float
    objective: LayerObjective

    def value(self, mean: Tensor) -> Tensor:
        """What the term adds to the sum, given the mean over positions."""
        return self.weight * self.objective.outer(mean)

    def slope(self, mean: Tensor) -> Tensor:
        """The derivative of `value` with respect to the mean."""
        with torch.enable_grad():
            leaf = mean.detach().requires_grad_()
            return torch.autograd.grad(self.value(leaf), leaf)[0]


@dataclass(frozen=True, eq=False)
class Objective:
    """Σ over the terms of weight · objective, as a function of an image."""

    features: Features
    terms: tuple[ObjectiveTerm, ...]

    def __call__(self, image: Tensor) -> Tensor:
        """The value for an image (1, 3, H, W), a scalar."""
        pairs = zip(self.terms, self.activations(image), strict=True)
        values = [term.value(term.objective.mean(activations)) for term, activations in pairs]
        return torch.stack(values).sum()

    def activations(self, image: Tensor) -> Sequence[Tensor]:
        """The activations of each term's layer."""
        return self.features(image, self.layers)

    @property
    def layers(self) -> tuple[str, ...]:
        """The layer of each term."""
        return tuple(term.layer for term in self.terms)


def select_channels(activations: Tensor, channels: Tensor | None) -> Tensor:
    """Some channels of (1, channels, …), by their indices; all for None."""
    return activations if channels is None else activations.index_select(1, channels)


def flatten_positions(activations: Tensor) -> Tensor:
    """(1, channels, …) to (channels, positions)."""
    return activations.reshape(activations.shape[1], -1)


def energy(activations: Tensor) -> Tensor:
    """Mean square of activations of any shape, a scalar."""
    return activations.square().mean()


def root_mean_square(activations: Tensor) -> Tensor:
    """Of activations of any shape, a scalar above 0."""
    return energy(activations).clamp(min=MIN_ENERGY).sqrt()


def channels_by_energy(activations: Tensor) -> Tensor:
    """Indices of the active channels of (1, channels, …), by falling energy."""
    energies = flatten_positions(activations).square().mean(1)
    order = energies.argsort(descending=True, stable=True)
    return order[energies[order] > INACTIVE_SHARE * energies.mean()]


def channel_emphasis(
    activations: Tensor, cycles: float, seed: int, channels: Tensor | None = None
) -> Tensor:
    """Weights of channels that take turns, of mean 1 over a cycle.

    e^(κ cos(2π(cycles + φ))) / I₀(κ), as in the von Mises distribution, with a phase φ for each
    channel: the emphasis moves from channel to channel and returns after one cycle.

    Args:
        activations: (1, channels, …).
        cycles: how many cycles have passed.
        seed: determines the phases.
        channels: indices of the channels that are maximized, whose weights are scaled to a mean of
            1 at every time; None for all.

    Returns:
        (1, chosen channels, 1, …), to be multiplied with the chosen activations.
    """
    count = activations.shape[1]
    phases = np.random.default_rng([seed, count]).random(count)
    angles = 2 * np.pi * (cycles + phases)
    weights = np.exp(EMPHASIS_CONCENTRATION * np.cos(angles)) / np.i0(EMPHASIS_CONCENTRATION)
    if channels is not None:
        weights = weights[channels.cpu().numpy()]
        weights = weights / weights.mean()
    shape = (1, len(weights), *[1] * (activations.dim() - 2))
    return torch.from_numpy(weights.astype(np.float32)).to(activations.device).view(shape)
