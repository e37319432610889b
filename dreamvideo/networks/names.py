"""The classes that a network tells apart, by name and number; suggestions for mistyped names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from dreamvideo.errors import UnknownLayerError, UsageError

# Least similarity of a class name that is suggested (see difflib).
CLASS_SIMILARITY = 0.5
MAX_SUGGESTIONS = 4
# A line of a file of class names with the class's number, as in `/a/airfield 0` of Places365, whose
# names begin with their first letter as a folder.
NUMBERED_LINE = re.compile(r"(?P<name>.*\S)\s+(?P<number>\d+)")
LETTER_FOLDER = re.compile(r"/[a-z]/(?=.)")


def imagenet_categories() -> Sequence[str]:
    """The names of ImageNet's thousand classes, in order (Russakovsky et al. 2015)."""
    from torchvision.models import AlexNet_Weights

    categories: Sequence[str] = AlexNet_Weights.DEFAULT.meta["categories"]
    return categories


def read_class_names(path: Path) -> list[str]:
    """The names in a file, one per line in the order of the classes, or each with its number.

    Raises:
        UsageError: the file cannot be read, or names no class.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"cannot read the class names in {path}: {error}; give a text file with one name per "
            "line"
        ) from error
    names = [line.strip() for line in lines if line.strip()]
    numbered = [NUMBERED_LINE.fullmatch(name) for name in names]
    by_number = {int(line["number"]): line["name"] for line in numbered if line}
    if sorted(by_number) == list(range(len(names))):
        names = [by_number[number] for number in range(len(names))]
    if not names:
        raise UsageError(f"{path} names no class; give a text file with one name per line")
    return [LETTER_FOLDER.sub("", name) for name in names]


def class_index(
    name: str, outputs: int, categories: Sequence[str], model: str, *, is_given: bool = False
) -> int:
    """The index of a class among the outputs of a network.

    Args:
        name: of the class, in any case, with spaces or underscores; or its index as text.
        outputs: how many outputs the network has.
        categories: the names of its classes; ignored unless there is one for each output.
        model: the network's name, for messages.
        is_given: whether the user gave these names: then there has to be one for each output.

    Raises:
        UnknownLayerError: no class, or more than one, has that name.
    """
    if is_given and len(categories) != outputs:
        raise UnknownLayerError(
            f"--class-names has {len(categories)} names, and {model} has {outputs} outputs; give "
            "a file with one name for each, in their order"
        )
    known = list(map(_plain, categories)) if len(categories) == outputs else []
    word = _plain(name)
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
    names = "the name of one of its classes" if is_given else "the name of an ImageNet class"
    raise UnknownLayerError(
        f"{model} has no class {name!r}; {suggest_names(word, known, CLASS_SIMILARITY, containing)}"
        f"allowed is a number from 0 to {outputs - 1}, or "
        + (names if known else "a name, with a file of its class names for --class-names")
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


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", " ")
