"""Says which names are nearest to a mistaken one. Refuses to know what they are names of."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

NEAREST_NAMES = 4


def nearest_to(word: str, known: Sequence[str], likeness: float, also: Iterable[str] = ()) -> str:
    """A part of a message, such as `nearest are a, b; `; nothing where no name is near.

    Args:
        word: as it was given.
        known: the names that there are.
        likeness: how alike names have to be, in [0, 1] (see difflib).
        also: names that come after those that are alike.
    """
    close = difflib.get_close_matches(word, known, n=NEAREST_NAMES, cutoff=likeness)
    nearest = list(dict.fromkeys([*close, *also]))[:NEAREST_NAMES]
    return f"nearest are {', '.join(nearest)}; " if nearest else ""
