"""What an option is: a dataclass field with its help, unit and bounds, and the check of a value.

Refuses to know which options there are.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from dreamvideo.errors import SettingsError


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
    decides_result: bool = True
    """Whether another value would give another film, so that a run cannot go on with it."""

    def allowed(self, kind: type) -> str:
        """The values that the option takes, in words."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        noun = {int: "whole numbers", float: "numbers", bool: "true or false"}.get(kind, "a text")
        if self.minimum is not None and self.maximum is not None:
            return f"{noun} from {self.minimum:g} to {self.maximum:g}"
        return noun if self.minimum is None else f"{noun} from {self.minimum:g} up"


def option(default: Any, help: str, *, group: str, **facts: Any) -> Any:
    """A dataclass field that carries its `Option`."""
    return dataclasses.field(
        default=default, metadata={"option": Option(help=help, group=group, **facts)}
    )


def options_of(settings_class: type) -> dict[str, tuple[dataclasses.Field[Any], Option, type]]:
    """The fields of a settings class by name: the field, its option, and its type less None."""
    hints = typing.get_type_hints(settings_class)
    return {
        field.name: (field, field.metadata["option"], _plain_type(hints[field.name]))
        for field in dataclasses.fields(settings_class)
        if "option" in field.metadata
    }


def check(settings: object) -> None:
    """Refuse a settings object that has a value which its options do not allow.

    Raises:
        SettingsError: names the option, the value received and the values allowed.
    """
    for name, (field, described, kind) in options_of(type(settings)).items():
        value = getattr(settings, name)
        if value is None and field.default is None:
            continue
        if not _fits(value, described, kind):
            raise SettingsError(
                f"{name.replace('_', '-')} cannot be {value!r}: allowed is "
                f"{described.allowed(kind)} (default {field.default})"
            )


def seconds_of(text: str) -> float:
    """Seconds from `90`, `1:30` or `0:01:30.5`."""
    total = 0.0
    for part in text.split(":"):
        total = total * 60 + float(part)
    return total


def rate_of(text: str) -> float:
    """Frames per second from `24`, `23.976` or `24000/1001`."""
    try:
        return float(Fraction(text))
    except ZeroDivisionError:
        raise ValueError(text) from None


def _plain_type(hint: Any) -> type:
    if isinstance(hint, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not types.NoneType)
    return typing.cast(type, hint)


def _fits(value: object, described: Option, kind: type) -> bool:
    if kind is float:
        well_typed = isinstance(value, (int, float)) and not isinstance(value, bool)
    else:
        well_typed = type(value) is kind
    if not well_typed or (described.choices and value not in described.choices):
        return False
    if isinstance(value, (int, float)):
        too_small = described.minimum is not None and value < described.minimum
        too_large = described.maximum is not None and value > described.maximum
        return not too_small and not too_large and math.isfinite(value)
    return True
