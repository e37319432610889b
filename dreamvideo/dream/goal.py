"""What an ascent raises, in a form that can also be reckoned part by part of a picture.

Refuses to know how a picture is changed, and which network answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

# From images (1, 3, H, W) in [0, 1] and names of layers to the layers' activations.
Features: TypeAlias = Callable[[Tensor, Sequence[str]], Sequence[Tensor]]


@dataclass(frozen=True, eq=False)
class Part:
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
class Goal:
    """Σ over the parts, of a network's answers to an image."""

    features: Features
    parts: tuple[Part, ...]

    def __call__(self, image: Tensor) -> Tensor:
        """A scalar, of an image (1, 3, H, W)."""
        answers = zip(self.parts, self.answers(image), strict=True)
        return torch.stack([part.value(part.mean(answer)) for part, answer in answers]).sum()

    def answers(self, image: Tensor) -> Sequence[Tensor]:
        """The activations of each part's layer."""
        return self.features(image, self.layers)

    @property
    def layers(self) -> tuple[str, ...]:
        """The layer of each part."""
        return tuple(part.layer for part in self.parts)
