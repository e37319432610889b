"""Every option of dreamvideo, each stated once: name, default, help, unit and bounds.

The command line, its help and the checks are made from the fields of `Settings`.
This module refuses to know who reads the settings and what they do with them.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from dataclasses import dataclass
from typing import Any

from dreamvideo.errors import SettingsError

X264_PRESETS = (
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
)


@dataclass(frozen=True)
class Option:
    """What is known of an option beside its name, type and default."""

    help: str
    group: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()

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


@dataclass(frozen=True)
class Settings:
    """How to dream: immutable, and checked when made.

    Raises:
        SettingsError: a value is of the wrong type or out of its bounds.
    """

    layer: str = option(
        "blocks.10.expand",
        "layer of the network whose answer is strengthened; early layers give strokes, "
        "middle ones eyes, late ones animals",
        group="dream",
    )
    octaves: int = option(
        4, "sizes of the picture that are dreamed on", group="dream", minimum=1, maximum=12
    )
    octave_scale: float = option(
        1.4, "ratio of one octave's size to the next", group="dream", minimum=1.05, maximum=4.0
    )
    iterations: int = option(
        10, "steps of ascent per octave in a cold dream", group="dream", minimum=1, maximum=1000
    )
    step_size: float = option(
        0.015,
        "root mean square change of one step, of the range from black to white",
        group="dream",
        minimum=0.0,
        maximum=1.0,
    )
    strength: float = option(
        1.0,
        "scales the whole ascent; 0 leaves the picture exactly as it is",
        group="dream",
        minimum=0.0,
        maximum=10.0,
    )
    jitter: int = option(
        16,
        "largest random shift before each step",
        group="dream",
        unit="px",
        minimum=0,
        maximum=512,
    )
    smoothing: float = option(
        2.0,
        "standard deviation of the blur on the gradient; less gives finer strokes and more noise",
        group="dream",
        unit="px",
        minimum=0.0,
        maximum=32.0,
    )
    natural_colour: float = option(
        0.8,
        "how far the dream's colours follow those of natural pictures: 0 is neon, 1 muted",
        group="dream",
        minimum=0.0,
        maximum=1.0,
    )
    seed: int = option(
        0,
        "start of the random numbers; the same seed gives the same frames",
        group="dream",
        minimum=0,
    )

    flow: str = option(
        "dis",
        "how motion is measured: dis (fast), raft (a network, downloaded on first use), "
        "none (every frame is dreamed on its own and flickers)",
        group="coherence",
        choices=("dis", "raft", "none"),
    )
    persistence: float = option(
        0.95,
        "share of the last frame's dream that is carried along the motion",
        group="coherence",
        minimum=0.0,
        maximum=1.0,
    )
    warm_iterations: int = option(
        1,
        "steps of ascent per octave that refresh a carried dream",
        group="coherence",
        minimum=0,
        maximum=1000,
    )
    warm_octaves: int = option(
        2,
        "octaves, counted from the largest, that refresh a carried dream",
        group="coherence",
        minimum=1,
        maximum=12,
    )

    size: int | None = option(
        None,
        "longest side of the result, made even; the other side keeps the shape (default: as the "
        "source)",
        group="picture",
        unit="px",
        minimum=16,
        maximum=16384,
    )
    crf: int = option(
        18,
        "quality of the film: 0 is lossless, 18 looks it, 28 is small",
        group="film",
        minimum=0,
        maximum=51,
    )
    preset: str = option(
        "medium",
        "x264's effort: slower makes a smaller file",
        group="film",
        choices=X264_PRESETS,
    )
    device: str = option(
        "auto",
        "where to compute: auto (the first of cuda, mps, cpu that is there), cpu, cuda, "
        "cuda:1, mps",
        group="machine",
    )

    def __post_init__(self) -> None:
        check(self)
