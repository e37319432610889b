"""A network with its weights and input format; class names; suggestions for mistyped names."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from dreamvideo.errors import UnknownLayerError

# Per-channel mean and standard deviation of ImageNet (RGB in [0, 1]), which most networks expect.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Side of the square images that most networks were trained on.
DEFAULT_SIDE_PX = 224
# The value of `--weights` that leaves a network with its random initialisation.
RANDOM_WEIGHTS = "random"
MAX_SUGGESTIONS = 4
# Least similarity of a class name that is suggested (see difflib).
CLASS_SIMILARITY = 0.5

RGB = tuple[float, float, float]


def imagenet_categories() -> Sequence[str]:
    """The names of ImageNet's thousand classes, in order (Russakovsky et al. 2015)."""
    from torchvision.models import AlexNet_Weights

    categories: Sequence[str] = AlexNet_Weights.DEFAULT.meta["categories"]
    return categories


@dataclass(frozen=True, eq=False)
class Model:
    """A network with its weights, and how it is used."""

    name: str
    network: nn.Module
    """Takes normalised images (N, 3, H, W)."""
    mean: RGB = IMAGENET_MEAN
    """The network takes (image − mean) / std of an RGB image in [0, 1]."""
    std: RGB = IMAGENET_STD
    side_px: int = DEFAULT_SIDE_PX
    """Side of the square images that it was trained on."""
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


def class_index(name: str, outputs: int, categories: Sequence[str], model: str) -> int:
    """The index of a class among the outputs of a network.

    Args:
        name: of the class, in any case, or its index as text.
        outputs: how many outputs the network has.
        categories: the names of its classes; ignored unless there is one for each output.
        model: the network's name, for messages.

    Raises:
        UnknownLayerError: no class, or more than one, has that name.
    """
    known = [category.lower() for category in categories] if len(categories) == outputs else []
    word = name.strip().lower()
    matches = [index for index, category in enumerate(known) if category == word]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise UnknownLayerError(
            f"{model} has {len(matches)} classes named {name!r}; give the number of one of them: "
            f"{', '.join(map(str, matches))}"
        )
    if word.isdecimal() and int(word) < outputs:
        return int(word)
    containing = (category for category in known if word in category)
    raise UnknownLayerError(
        f"{model} has no class {name!r}; {suggest_names(word, known, CLASS_SIMILARITY, containing)}"
        f"allowed is a number from 0 to {outputs - 1}"
        + (" or the name of an ImageNet class" if known else "")
    )


def suggest_names(
    word: str, known: Sequence[str], similarity: float, further: Iterable[str] = ()
) -> str:
    """Part of a message, such as `nearest are a, b; `; empty where no name is similar.

    Args:
        word: the unknown name.
        known: all names.
        similarity: the least similarity of a suggestion, in [0, 1] (see difflib).
        further: suggestions that follow the similar names.
    """
    similar = difflib.get_close_matches(word, known, n=MAX_SUGGESTIONS, cutoff=similarity)
    suggestions = list(dict.fromkeys([*similar, *further]))[:MAX_SUGGESTIONS]
    return f"nearest are {', '.join(suggestions)}; " if suggestions else ""
