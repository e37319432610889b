"""What is known of a network's layers before it is used. Refuses to know how that was found out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Classes of modules, by their beginnings, that normalise or pass on what others answer.
NOT_OWN_ANSWERS = ("LayerNorm", "GroupNorm", "Dropout", "Identity", "Permute", "StochasticDepth")


@dataclass(frozen=True)
class Layer:
    """A part of a network that gives an answer of its own."""

    name: str
    """Its path in the network; `output` is the network as a whole."""
    kind: str
    """The name of its class."""
    shape: tuple[int, ...]
    """Of its answer to one picture of the size looked at, as the network has it."""
    channel_axis: int
    """Which axis of the answer holds the channels."""
    calls: int
    """How often it runs in one pass; its answer is the last one's."""
    field_px: float
    """How wide a part of the picture each place of it sees; infinite for all of it."""
    step_px: float
    """How far apart on the picture neighbouring places are."""

    @property
    def channels(self) -> int:
        """How many there are."""
        return self.shape[self.channel_axis]

    @property
    def is_picture(self) -> bool:
        """Whether its answer has rows and columns, of which each sees a part of the picture."""
        is_map = self.channel_axis == 1 and len(self.shape) == 4
        return is_map and math.isfinite(self.field_px)

    @property
    def places(self) -> int:
        """How many there are of each channel."""
        return math.prod(self.shape) // max(1, self.channels)


@dataclass(frozen=True)
class Fold:
    """A batch-norm that can be taken into the convolution before it."""

    convolution: str
    norm: str
    answers: frozenset[str]
    """Layers whose answer is the convolution's, and would become the batch-norm's."""


@dataclass(frozen=True)
class Survey:
    """What is known of a network before it is used."""

    layers: tuple[Layer, ...]
    """In the order in which they have their answers."""
    folds: tuple[Fold, ...]
    """Of convolutions whose answer nothing but the batch-norm takes."""
    size_px: tuple[int, int]
    """(height, width) of the picture that was looked at."""
    is_size_fixed: bool
    """Whether the network takes no other."""

    def worth_dreaming(self) -> list[Layer]:
        """Layers that answer for places, with an energy of their own.

        That of a normalised answer is always the same: nothing raises it.
        """
        return [
            layer
            for layer in self.layers
            if layer.places > 1 < layer.channels and not layer.kind.startswith(NOT_OWN_ANSWERS)
        ]

    def spread(self, count: int) -> list[str]:
        """Names of so many layers worth dreaming with, from the first to the last."""
        fitting = [layer.name for layer in self.worth_dreaming()] or [self.layers[-1].name]
        last = len(fitting) - 1
        places = [round(step * last / max(1, count - 1)) for step in range(count)]
        return [fitting[place] for place in dict.fromkeys(places)]

    def reach(self, layers: Sequence[Layer]) -> tuple[int, tuple[int, ...]] | None:
        """What has to be known to run on a part of a picture as on all of it, px.

        How wide a part each place of some layers sees, and how far apart the places of each layer
        are; None if they do not lie on the picture like a grid that begins at its corner, each
        seeing what is around it.
        """
        if self.is_size_fixed or not all(layer.is_picture for layer in layers):
            return None
        for layer in layers:
            sides = zip(self.size_px, layer.shape[2:], strict=True)
            missing_px = max(abs(side_px - places * layer.step_px) for side_px, places in sides)
            if layer.step_px % 1 or missing_px >= layer.step_px:
                return None
        field_px = math.ceil(max(layer.field_px for layer in layers))
        return field_px, tuple(int(layer.step_px) for layer in layers)
