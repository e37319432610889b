"""What a network is to the rest: the module, what goes in, and how its layers are called.

Refuses to know where it came from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from dreamvideo.networks.classes import imagenet_categories

# Mean and deviation of the pictures that most networks were trained on (ImageNet, RGB in [0, 1]).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
# Of the square pictures that most networks were trained on.
USUAL_SIDE_PX = 224
# `--weights` of this name are none: the network stays as it was made.
RANDOM_WEIGHTS = "random"

Colour = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Model:
    """A network, ready to be looked at."""

    name: str
    network: nn.Module
    """From a normalised picture (N, 3, H, W) to an answer."""
    mean: Colour = IMAGENET_MEAN
    """Of the pictures that it was trained on; it takes (picture − mean) / deviation."""
    deviation: Colour = IMAGENET_DEVIATION
    side_px: int = USUAL_SIDE_PX
    """Of square pictures that it takes."""
    default_layer: str | None = None
    """The layer to dream with unless another one is asked for; None lets its depth decide."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Short names of layers."""
    is_foreign: bool = False
    """Whether nothing is known of its code."""
    categories: Callable[[], Sequence[str]] = imagenet_categories
    """Gives the names of the classes that it tells apart."""
