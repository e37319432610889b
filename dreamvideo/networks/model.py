"""A network with its weights and its input format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from dreamvideo.networks.fitting import WeightsFit
from dreamvideo.networks.names import imagenet_categories

# Per-channel mean and standard deviation of ImageNet (RGB in [0, 1]), which most networks expect.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Side of the square images that most networks were trained on.
DEFAULT_SIDE_PX = 224
# The value of `--weights` that leaves a network with its random initialisation.
RANDOM_WEIGHTS = "random"

RGB = tuple[float, float, float]
# (height, width) in px.
Size = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Model:
    """A network with its weights, and how it is used."""

    name: str
    network: nn.Module
    """Takes normalised images (N, 3, H, W), or their luma (N, 1, H, W)."""
    mean: RGB = IMAGENET_MEAN
    """The network takes (image − mean) / std of an RGB image in [0, 1]."""
    std: RGB = IMAGENET_STD
    size_px: Size = (DEFAULT_SIDE_PX, DEFAULT_SIDE_PX)
    """(height, width) of the images that it was trained on."""
    is_size_given: bool = False
    """Whether the user gave this size, so that no other has to be tried."""
    default_layer: str | None = None
    """The layer for `--layer auto`; None chooses one by its depth."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """From short names of layers to their full names."""
    has_rotated_layers: bool = False
    """Whether activations (N, C, H, W) of its layers are those of the image rotated by 180°."""
    has_unknown_code: bool = False
    """Whether its code is a third party's, which may not be safe to run in several threads."""
    categories: Callable[[], Sequence[str]] = imagenet_categories
    """Returns the names of its classes."""
    has_given_categories: bool = False
    """Whether the user gave these names."""
    fit: WeightsFit | None = None
    """How the weights of a file fit; None where they do not come from one."""
