"""Keyframes: values at times in seconds, and the interpolation between them."""

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
# A fraction, or an array of them.
Share = TypeVar("Share", float, Numbers, "Tensor")


def smoothstep(share: Share) -> Share:
    """3s² − 2s³, which eases from 0 to 1: its slope is 0 at both ends."""
    return share * share * (3 - 2 * share)


# By name: functions from the elapsed share of the time between two keys to the interpolated share
# of the difference of their values, both in [0, 1].
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
    """The value at one time.

    Raises:
        SettingsError: the time or the easing is not valid.
    """

    time_seconds: float
    value: Any
    """A number, a tuple of numbers, or a text."""
    easing: str = "linear"
    """How the value changes from here to the next key: linear, smooth (starts and ends slowly), or
    hold (stays, then jumps)."""

    def __post_init__(self) -> None:
        time = self.time_seconds
        if isinstance(time, bool) or not isinstance(time, (int, float)):
            raise SettingsError(f"its time {time!r} is not a number of seconds")
        if not math.isfinite(time) or time < 0:
            raise SettingsError(f"its time {time:g} s is before the start of the video, 0 s")
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
    """Keys in order of time. Before the first and after the last key, the value is constant.

    Raises:
        SettingsError: there is no key, or a key is not later than the one before it.
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
        """The times of all keys."""
        return [key.time_seconds for key in self.keys]

    def interpolate(self, times_seconds: Numbers) -> Numbers:
        """The value at each time of an array, for numbers and tuples of numbers.

        Args:
            times_seconds: of any shape.

        Returns:
            That shape; for tuples of n numbers, that shape and n.
        """
        index, share = self._locate(np.asarray(times_seconds, dtype=np.float64))
        values = np.array([key.value for key in self.keys], dtype=np.float64)
        before, after = values[index], values[np.minimum(index + 1, len(values) - 1)]
        share = share.reshape(share.shape + (1,) * (values.ndim - 1))
        # Rounding must not lead out of the range of the two keys, which might be out of bounds.
        between = before + (after - before) * share
        return np.clip(between, np.minimum(before, after), np.maximum(before, after))

    def mixture(self, time_seconds: float) -> tuple[tuple[Any, float], ...]:
        """The values at a time with weights that add up to 1: one value, or two between keys."""
        indices, shares = self._locate(np.array([time_seconds], dtype=np.float64))
        index, share = int(indices[0]), float(shares[0])
        before = self.keys[index].value
        if share == 0 or before == self.keys[index + 1].value:
            return ((before, 1.0),)
        return ((before, 1 - share), (self.keys[index + 1].value, share))

    def _locate(self, times_seconds: Numbers) -> tuple[npt.NDArray[np.intp], Numbers]:
        """The index of the last key at or before each time, and the eased share after it.

        Args:
            times_seconds: of any shape, which is also that of both results.

        Returns:
            The indices, and the shares in [0, 1] of the next key's value.
        """
        last = len(self.keys) - 1
        starts = np.array(self.times_seconds)
        index = np.clip(np.searchsorted(starts, times_seconds, side="right") - 1, 0, last)
        durations = np.append(np.diff(starts), np.inf)  # the last key's value stays
        elapsed = np.clip((times_seconds - starts[index]) / durations[index], 0, 1)
        share = np.zeros_like(elapsed)
        for key_index in np.unique(index):
            selected = index == key_index
            share[selected] = EASINGS[self.keys[key_index].easing](elapsed[selected])
        return index, share


def keyframes(*keys: Sequence[Any]) -> Any:
    """A value that changes over time, as in `Settings(zoom=keyframes((0, 1), (3, 1.4)))`.

    Args:
        keys: (seconds, value) or (seconds, value, easing), in order of time; the easing is linear,
            smooth or hold.

    Raises:
        SettingsError: a key is malformed; the message names it.
    """
    return _build_schedule(keys, _to_key)


def parse_schedule(text: str, parse_value: Callable[[str], Any], has_commas: bool) -> Schedule:
    """A schedule from text such as `0:1.0, 3:1.4 smooth, 8:1.1`.

    Args:
        text: pairs of seconds and value, optionally followed by an easing.
        parse_value: reads one value; raises ValueError.
        has_commas: whether values can contain commas.

    Raises:
        SettingsError: a pair is malformed; the message names it.
    """
    # If values can contain commas, only those before a new time, "12:", separate pairs.
    pieces = re.split(r",(?=[^,]*:)" if has_commas else ",", text)
    return _build_schedule(
        [piece.strip() for piece in pieces], lambda key: _parse_key(key, parse_value)
    )


def _build_schedule(keys: Sequence[Any], read: Callable[[Any], Key]) -> Schedule:
    done: list[Key] = []
    for number, key in enumerate(keys, start=1):
        try:
            done.append(read(key))
            Schedule(tuple(done[-2:]))  # raises if the key is not later than the one before
        except SettingsError as error:
            raise SettingsError(
                f'at pair {number} of {len(keys)}, "{key}": {error}; {SCHEDULE_EXAMPLE}'
            ) from None
    return Schedule(tuple(done))


def _to_key(key: Any) -> Key:
    if not isinstance(key, (list, tuple)) or len(key) not in (2, 3):
        raise SettingsError("it is not (seconds, value) or (seconds, value, easing)")
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
        problem = f"cannot read {rest.strip()!r} as a value" if colon else "it has no colon"
        if colon and not _is_number(time):
            problem = f"its time {time!r} is not a number of seconds"
        raise SettingsError(problem) from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
