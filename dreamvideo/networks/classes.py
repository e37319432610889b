"""Names of the classes that networks tell apart. Refuses to know why one is wanted."""

from __future__ import annotations

from collections.abc import Sequence

from dreamvideo.errors import UnknownLayerError
from dreamvideo.networks.nearest import nearest_to


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
        f"{model} has no class {wanted!r}; {nearest_to(word, names, 0.5, holding)}"
        f"allowed is a number from 0 to {outputs - 1}"
        + (" or a name of an ImageNet class" if names else "")
    )
