"""A network and what goes into it; class names; suggestions for mistyped names."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from dreamvideo.errors import UnknownLayerError

MAX_SUGGESTIONS = 4


def suggest_names(
    word: str, known: Sequence[str], likeness: float, also: Iterable[str] = ()
) -> str:
    """A part of a message, such as `nearest are a, b; `; nothing where no name is near.

    Args:
        word: as it was given.
        known: the names that there are.
        likeness: how alike names have to be, in [0, 1] (see difflib).
        also: names that come after those that are alike.
    """
    close = difflib.get_close_matches(word, known, n=MAX_SUGGESTIONS, cutoff=likeness)
    nearest = list(dict.fromkeys([*close, *also]))[:MAX_SUGGESTIONS]
    return f"nearest are {', '.join(nearest)}; " if nearest else ""


def imagenet_categories() -> Sequence[str]:
    """The thousand classes of ImageNet, in order (Russakovsky et al. 2015)."""
    from torchvision.models import AlexNet_Weights

    categories: Sequence[str] = AlexNet_Weights.DEFAULT.meta["categories"]
    return categories


def class_index(wanted: str, outputs: int, categories: Sequence[str], model: str) -> int:
    """The place of a class among the outputs of a network.

    Args:
        wanted: its name, whatever the case, or its number.
        outputs: how many the network has.
        categories: their names, or none.
        model: the network's name, for messages.

    Raises:
        UnknownLayerError: there is no such class, or more than one of that name.
    """
    names = [name.lower() for name in categories] if len(categories) == outputs else []
    word = wanted.strip().lower()
    places = [index for index, name in enumerate(names) if name == word]
    if len(places) == 1:
        return places[0]
    if len(places) > 1:
        raise UnknownLayerError(
            f"{model} has {len(places)} classes called {wanted!r}: give the number, one of "
            f"{', '.join(map(str, places))}"
        )
    if word.isdecimal() and int(word) < outputs:
        return int(word)
    holding = (name for name in names if word in name)
    raise UnknownLayerError(
        f"{model} has no class {wanted!r}; {suggest_names(word, names, 0.5, holding)}"
        f"allowed is a number from 0 to {outputs - 1}"
        + (" or a name of an ImageNet class" if names else "")
    )


# Mean and deviation of the pictures that most networks were trained on (ImageNet, RGB in [0, 1]).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Of the square pictures that most networks were trained on.
DEFAULT_SIDE_PX = 224
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
    std: Colour = IMAGENET_STD
    side_px: int = DEFAULT_SIDE_PX
    """Of square pictures that it takes."""
    default_layer: str | None = None
    """The layer to dream with unless another one is asked for; None lets its depth decide."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Short names of layers."""
    has_unknown_code: bool = False
    """Whether nothing is known of its code."""
    categories: Callable[[], Sequence[str]] = imagenet_categories
    """Gives the names of the classes that it tells apart."""
