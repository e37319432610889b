"""What an option is: a dataclass field with its help, unit and bounds, and the check of a value.

Refuses to know which options there are.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np

from dreamvideo.errors import SettingsError
from dreamvideo.settings.keyframes import Schedule, keyframes, parse_schedule

TYPE_NOUNS = {
    int: "whole numbers",
    float: "numbers",
    bool: "true or false",
    tuple: "numbers with commas between, each",
}


LENGTH_WORDS = {2: "two", 3: "three"}


@dataclass(frozen=True)
class Option:
    """What is known of an option beside its name, type and default."""

    help: str
    group: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    parse: Callable[[str], Any] | None = None
    """Reads what is typed, where the type of the option does not; raises ValueError."""
    join: Callable[[Sequence[Any]], Any] | None = None
    """Makes one value of several that were given one after another; None takes the last."""
    length: int | None = None
    """Of a tuple; None for any."""
    item: type = float
    """Of a tuple."""
    varies: bool = False
    """Whether it also takes keyframes, so that it changes over time."""
    decides_result: bool = True
    """Whether another value would give another film, so that a run cannot go on with it."""

    def allowed(self, kind: type) -> str:
        """The values that the option takes, in words."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        noun = TYPE_NOUNS.get(kind, "a text")
        if kind is tuple and self.length:
            noun = f"{LENGTH_WORDS[self.length]} {noun}"
        if self.minimum is not None and self.maximum is not None:
            return f"{noun} from {self.minimum:g} to {self.maximum:g}"
        return noun if self.minimum is None else f"{noun} from {self.minimum:g} up"


def option(default: Any, help: str, *, group: str, **facts: Any) -> Any:
    """A dataclass field that carries its `Option`."""
    return dataclasses.field(
        default=default, metadata={"option": Option(help=help, group=group, **facts)}
    )


def varying(default: Any, help: str, *, group: str, **facts: Any) -> Any:
    """An option that also takes keyframes."""
    return option(default, help, group=group, varies=True, **facts)


Options: TypeAlias = Mapping[str, tuple[dataclasses.Field[Any], Option, type]]


def options_of(settings_class: type) -> Options:
    """The fields of a settings class by name: the field, its option, and its type less None."""
    return _cached_options(settings_class)


@functools.cache
def _cached_options(settings_class: Hashable) -> Options:
    assert isinstance(settings_class, type)
    hints = typing.get_type_hints(settings_class)
    return {
        field.name: (field, field.metadata["option"], _plain_type(hints[field.name]))
        for field in dataclasses.fields(settings_class)
        if "option" in field.metadata
    }


def flag_name(name: str) -> str:
    """The name of an option as it is typed: `octave-scale`, and `class`, a word of Python's."""
    return name.strip("_").replace("_", "-")


def parse_value(text: str, spec: Option, kind: type) -> Any:
    """The value of an option as it is typed.

    Raises:
        ValueError: it is none of the option's type.
        SettingsError: it is a bad schedule; names the place.
    """
    if kind is bool:
        raise ValueError("it is a text")
    parse = spec.parse or kind
    if spec.varies and ":" in text:
        return parse_schedule(text, parse, kind is tuple)
    return parse(text)


def validate(settings: object) -> None:
    """Refuse a settings object that has a value which its options do not allow.

    Plain lists of keys become schedules.

    Raises:
        SettingsError: names the option, the value received and the values allowed.
    """
    for name, (field, spec, kind) in options_of(type(settings)).items():
        value = getattr(settings, name)
        if value is None and field.default is None:
            continue
        flag = flag_name(name)
        try:
            value = _normalize_value(value, spec, kind)
        except SettingsError as error:
            raise SettingsError(f"{flag} cannot be {value!r}: {error}") from None
        object.__setattr__(settings, name, value)  # it is frozen, but just being made
        keys = value.keys if spec.varies and isinstance(value, Schedule) else ()
        for key in keys:
            if not _fits(key.value, spec, kind):
                raise SettingsError(
                    f'{flag} cannot be {key.value!r} at {key.time_seconds:g} s (of "{value}"): '
                    f"allowed is {spec.allowed(kind)}"
                )
        if keys and kind is not str:
            exact = (replace(key, value=_cast(key.value, kind)) for key in keys)
            object.__setattr__(settings, name, Schedule(tuple(exact)))
        if not keys and not _fits(value, spec, kind):
            raise SettingsError(
                f"{flag} cannot be {value!r}: allowed is "
                f"{spec.allowed(kind)} (default {field.default})"
            )


def flags_set(settings: object, settings_class: type) -> list[str]:
    """The flags of the options of a class, such as a base of the settings', that are not usual."""
    return [
        f"--{flag_name(name)}"
        for name, (field, _, _) in options_of(settings_class).items()
        if getattr(settings, name) != field.default
    ]


def values_at(settings: object, time_seconds: float) -> dict[str, Any]:
    """Of the options that change over time, the numbers at one time."""
    values: dict[str, Any] = {}
    for name, (_, _, kind) in options_of(type(settings)).items():
        value = getattr(settings, name)
        if isinstance(value, Schedule) and kind is not str:
            number = value.numbers(np.array(time_seconds))
            if kind is tuple:
                values[name] = tuple(number.tolist())
            else:
                values[name] = kind(round(float(number)) if kind is int else number)
    return values


def parse_seconds(text: str) -> float:
    """Seconds from `90`, `1:30` or `0:01:30.5`."""
    total = 0.0
    for part in text.split(":"):
        total = total * 60 + float(part)
    return total


def parse_rate(text: str) -> float:
    """Frames per second from `24`, `23.976` or `24000/1001`."""
    try:
        return float(Fraction(text))
    except ZeroDivisionError:
        raise ValueError(text) from None


def parse_pair(text: str) -> tuple[float, float]:
    """Two numbers from `0.5,0.25`."""
    one, other = map(float, text.split(","))
    return one, other


def parse_triple(text: str) -> tuple[float, ...]:
    """Three numbers from `0.5,0.5,0.5`."""
    return tuple(map(float, text.split(",")))


def parse_indices(text: str) -> tuple[int, ...]:
    """Whole numbers from `12` or `12,40`."""
    return tuple(map(int, text.split(",")))


def _cast(value: Any, kind: type) -> Any:
    """A value in the type of its option: 1 and 1.0 are the same."""
    return tuple(map(float, value)) if kind is tuple else kind(value)


def _normalize_value(value: Any, spec: Option, kind: type) -> Any:
    """What settings files and callers write as plain lists, in its own type."""
    if kind is tuple and type(value) is spec.item and spec.length is None:
        return (value,)
    if not isinstance(value, (list, tuple)):
        return value
    is_schedule = not value or any(isinstance(key, (list, tuple)) for key in value)
    if spec.varies and is_schedule:
        return keyframes(*value)
    if kind is tuple:
        return tuple(value)
    is_alike = all(isinstance(one, kind) for one in value)
    return spec.join(value) if spec.join and is_alike else value


def _plain_type(hint: Any) -> type:
    if isinstance(hint, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not types.NoneType)
    return typing.cast(type, typing.get_origin(hint) or hint)


def _fits(value: Any, spec: Option, kind: type) -> bool:
    if kind is tuple:
        is_long = isinstance(value, tuple) and spec.length in (None, len(value))
        return is_long and all(_fits(number, spec, spec.item) for number in value)
    if kind is float:
        well_typed = isinstance(value, (int, float)) and not isinstance(value, bool)
    else:
        well_typed = type(value) is kind
    if not well_typed or (spec.choices and value not in spec.choices):
        return False
    if isinstance(value, (int, float)):
        too_small = spec.minimum is not None and value < spec.minimum
        too_large = spec.maximum is not None and value > spec.maximum
        return not too_small and not too_large and math.isfinite(value)
    return True
