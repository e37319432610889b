"""Reads which layers are strengthened, and how much each.

Refuses to know which layers there are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from dreamvideo.errors import SettingsError
from dreamvideo.schedule import Schedule

# The layer that each network is usually dreamed with.
AUTO_LAYER = "auto"
# The network as a whole: its scores for classes.
OUTPUT_LAYER = "output"
BETWEEN = "+"

Shares = tuple[tuple[str, float], ...]


def shares_of(text: str) -> Shares:
    """Names of layers with their shares, whose sizes add up to 1; negative ones push away.

    Args:
        text: `NAME`, `NAME=WEIGHT`, or several of these with `+` between.

    Raises:
        SettingsError: it is none of these; names the place.
    """
    weights: dict[str, float] = {}
    for part in text.split(BETWEEN):
        name, _, number = (word.strip() for word in part.partition("="))
        if not name:
            raise SettingsError(f"layer cannot be {text!r}: a name is missing; {_FORM}")
        try:
            weight = float(number) if "=" in part else 1.0
        except ValueError:
            weight = math.nan
        if not math.isfinite(weight):
            raise SettingsError(
                f"layer cannot be {text!r}: the weight of {name} is {number!r}, which is no "
                f"number; {_FORM}"
            )
        weights[name] = weights.get(name, 0.0) + weight
    total = sum(map(abs, weights.values()))
    if total == 0:
        raise SettingsError(f"layer cannot be {text!r}: its weights are all 0; {_FORM}")
    return tuple((name, weight / total) for name, weight in weights.items())


_FORM = "write NAME, NAME=WEIGHT, or several with + between, such as blocks.8=1+blocks.4=0.3"


def mixed(mixture: Sequence[tuple[str, float]]) -> Shares:
    """The shares of a mixture of texts, each with its own share."""
    shares: dict[str, float] = {}
    for text, part in mixture:
        for name, share in shares_of(text):
            shares[name] = shares.get(name, 0.0) + part * share
    return tuple(shares.items())


def joined(given: Sequence[Any]) -> Any:
    """Several layers that were given one by one, as one text.

    Raises:
        SettingsError: they change over time, so that it is unclear how they go together.
    """
    if len(given) == 1:
        return given[0]
    if any(isinstance(one, Schedule) for one in given):
        raise SettingsError(
            "several --layer cannot be keyframes: give one, with + between the layers of a time, "
            'such as "0:blocks.8+blocks.4=0.3, 5:blocks.10"'
        )
    return BETWEEN.join(given)
