"""A value that changes over time: keys in seconds, and how one key passes into the next.

Refuses to know which options may have one and what their values mean.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from dreamvideo.errors import SettingsError

if TYPE_CHECKING:
    from torch import Tensor


Numbers: TypeAlias = npt.NDArray[np.float64]
# A share of a way, or many of them.
Share = TypeVar("Share", float, Numbers, "Tensor")


def smoothstep(share: Share) -> Share:
    """3s² − 2s³: from 0 to 1 like the share itself, but slow at both ends."""
    return share * share * (3 - 2 * share)


# From the share of the time between two keys that has passed to the share of the way.
EASINGS: dict[str, Callable[[Numbers], Numbers]] = {
    "linear": lambda share: share,
    "smooth": smoothstep,
    "hold": np.zeros_like,
}
SCHEDULE_EXAMPLE = (
    'write pairs of seconds and value in order, such as "0:1.0, 3:1.4 smooth, 8:1.1 hold"'
)


@dataclass(frozen=True)
class Key:
    """What a value is at one time.

    Raises:
        SettingsError: the time or the easing is none.
    """

    time_seconds: float
    value: Any
    """A number, a tuple of numbers or a name."""
    easing: str = "linear"
    """How it goes on from here to the next key: linear, smooth (starts and ends slowly) or hold
    (stays, then jumps)."""

    def __post_init__(self) -> None:
        time = self.time_seconds
        if isinstance(time, bool) or not isinstance(time, (int, float)):
            raise SettingsError(f"its time {time!r} is no number of seconds")
        if not math.isfinite(time) or time < 0:
            raise SettingsError(f"its time {time:g} s is none of the film, which begins at 0")
        if not isinstance(self.easing, str) or self.easing not in EASINGS:
            raise SettingsError(
                f"its easing {self.easing!r} is unknown: allowed is {', '.join(EASINGS)}"
            )

    def __str__(self) -> str:
        value = self.value
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        easing = "" if self.easing == "linear" else f" {self.easing}"
        short = f"{self.time_seconds:g}"
        time = short if float(short) == self.time_seconds else repr(self.time_seconds)
        return f"{time}:{text}{easing}"


@dataclass(frozen=True)
class Schedule:
    """Keys in the order of their times; before the first and after the last the value stays.

    Raises:
        SettingsError: there is no key, or one is not later than the one before.
    """

    keys: tuple[Key, ...]

    def __post_init__(self) -> None:
        if not self.keys:
            raise SettingsError("it has no keys")
        for one, other in pairwise(self.keys):
            if other.time_seconds <= one.time_seconds:
                raise SettingsError(f"it is not later than {one.time_seconds:g} s")

    def __str__(self) -> str:
        return ", ".join(map(str, self.keys))

    @property
    def times_seconds(self) -> list[float]:
        """Of all keys."""
        return [key.time_seconds for key in self.keys]

    def places(self, times_seconds: Numbers) -> tuple[npt.NDArray[np.intp], Numbers]:
        """The key that each time lies behind, and the share of the way to the next one, in [0, 1].

        Args:
            times_seconds: of any shape, which is that of both results.
        """
        last = len(self.keys) - 1
        starts = np.array(self.times_seconds)
        index = np.clip(np.searchsorted(starts, times_seconds, side="right") - 1, 0, last)
        spans = np.append(np.diff(starts), np.inf)  # nothing follows the last key
        passed = np.clip((times_seconds - starts[index]) / spans[index], 0, 1)
        share = np.zeros_like(passed)
        for place in np.unique(index):
            here = index == place
            share[here] = EASINGS[self.keys[place].easing](passed[here])
        return index, share

    def numbers(self, times_seconds: Numbers) -> Numbers:
        """The value at each time, as (…,) or, for tuples of n numbers, (…, n)."""
        index, share = self.places(np.asarray(times_seconds, dtype=np.float64))
        values = np.array([key.value for key in self.keys], dtype=np.float64)
        following = values[np.minimum(index + 1, len(values) - 1)]
        share = share.reshape(share.shape + (1,) * (values.ndim - 1))
        one, other = values[index], following
        # Rounding must not lead beyond what either key allows.
        between = one + (other - one) * share
        return np.clip(between, np.minimum(one, other), np.maximum(one, other))

    def mixture(self, time_seconds: float) -> tuple[tuple[Any, float], ...]:
        """The values at a time with their shares, which add up to 1: one, or two on the way."""
        places, shares = self.places(np.array([time_seconds], dtype=np.float64))
        here, share = int(places[0]), float(shares[0])
        if share == 0 or self.keys[here].value == self.keys[here + 1].value:
            return ((self.keys[here].value, 1.0),)
        return ((self.keys[here].value, 1 - share), (self.keys[here + 1].value, share))


def keyframes(*keys: Sequence[Any]) -> Any:
    """A value for an option that changes over time: `Settings(zoom=keyframes((0, 1), (3, 1.4)))`.

    Args:
        keys: (seconds, value) or (seconds, value, easing), in order.

    Raises:
        SettingsError: they are no schedule; names the place.
    """
    return _build_schedule(keys, _to_key)


def parse_schedule(text: str, parse_value: Callable[[str], Any], has_commas: bool) -> Schedule:
    """A schedule as it is typed: `0:1.0, 3:1.4 smooth, 8:1.1`.

    Args:
        text: pairs of seconds and value, each with an easing or without.
        parse_value: reads a value; raises ValueError.
        has_commas: whether a comma may be part of a value.

    Raises:
        SettingsError: it is none; names the place.
    """
    # Within a value that may have commas, a comma is one before which no new time begins.
    pieces = re.split(r",(?=[^,]*:)" if has_commas else ",", text)
    return _build_schedule(
        [piece.strip() for piece in pieces], lambda key: _parse_key(key, parse_value)
    )


def _build_schedule(keys: Sequence[Any], read: Callable[[Any], Key]) -> Schedule:
    made: list[Key] = []
    for number, key in enumerate(keys, start=1):
        try:
            made.append(read(key))
            Schedule(tuple(made[-2:]))
        except SettingsError as error:
            raise SettingsError(
                f'at pair {number} of {len(keys)}, "{key}": {error}; {SCHEDULE_EXAMPLE}'
            ) from None
    return Schedule(tuple(made))


def _to_key(key: Any) -> Key:
    if not isinstance(key, (list, tuple)) or len(key) not in (2, 3):
        raise SettingsError("it is no (seconds, value) or (seconds, value, easing)")
    time_seconds, value, *easing = key
    return Key(time_seconds, tuple(value) if isinstance(value, list) else value, *easing)


def _parse_key(text: str, parse_value: Callable[[str], Any]) -> Key:
    time, colon, rest = text.partition(":")
    words = rest.split()
    is_easing = len(words) > 1 and words[-1].isalpha() and not words[-2].endswith("+")
    easing = [words.pop()] if is_easing else []
    try:
        return Key(float(time), parse_value(" ".join(words)), *easing)
    except ValueError:
        wrong = f"cannot read {rest.strip()!r} as a value" if colon else "it has no colon"
        if colon and not _is_number(time):
            wrong = f"its time {time!r} is no number of seconds"
        raise SettingsError(wrong) from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
