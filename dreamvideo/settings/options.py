"""What an option is: a dataclass field with all facts about it, and the checks of its values."""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
import types
import typing
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dreamvideo.errors import SettingsError
from dreamvideo.settings.keyframes import Schedule, keyframes, parse_schedule


class JobKind(enum.Flag):
    """What a run makes out of what, as far as options depend on it."""

    STILL = enum.auto()
    """A still image becomes a still image."""
    VIDEO = enum.auto()
    """A video file becomes a video or a folder of images, or a folder becomes a video."""
    FOLDER = enum.auto()
    """A folder of images becomes a folder of images."""
    STREAM = enum.auto()
    """Frames that are read or written only once: a pipe, or a network address."""
    ZOOM = enum.auto()
    """Still images become a video."""


# Jobs whose input is a sequence of frames.
SEQUENCES = JobKind.VIDEO | JobKind.FOLDER | JobKind.STREAM
ALL_JOBS = SEQUENCES | JobKind.STILL | JobKind.ZOOM

# The jobs in error messages.
_JOB_NAMES = {
    JobKind.STILL: "still images",
    JobKind.VIDEO: "videos",
    JobKind.FOLDER: "folders of images",
    JobKind.STREAM: "streams",
    JobKind.ZOOM: "zooms into still images",
}


def job_names(jobs: JobKind) -> str:
    """Some jobs in words, such as "videos, folders of images and streams"."""
    *names, last = (name for job, name in _JOB_NAMES.items() if job in jobs)
    return f"{', '.join(names)} and {last}" if names else last


class Selection(enum.Enum):
    """What an option selects, alone or together with the others of the same selection.

    `dreamvideo measure` reads these options from a dreamed video, to compare it with the right part
    of the source on the right layer.
    """

    NETWORK = enum.auto()
    """The network and its weights. Options of another selected network do not apply to it."""
    LAYER = enum.auto()
    """Layers and channels. They belong to one network."""
    SOURCE_RANGE = enum.auto()
    """The frames of the source that are dreamed."""


@dataclass(frozen=True)
class Option:
    """All facts about one option, stated once, where it is defined.

    A settings class is a dataclass whose fields are made by `option` or `varying`. Everything else
    (flags and their help, settings files, checks, resuming) reads the facts by `options_of`.
    """

    help: str
    """What it does, for --help, where unit, bounds and default are added."""
    group: str
    """The heading that it stands under, in --help and in settings files."""

    name: str = ""
    """The name of the dataclass field. `options_of` fills in this and the next two."""
    value_type: type = str
    """The type of its values other than None."""
    default: Any = None
    """The field's default."""

    default_text: str = ""
    """What applies by default, in words, for options whose default is None or ()."""
    unit: str = ""
    """The unit of its value, such as `px`."""
    minimum: float | None = None
    """The smallest value, or item of a tuple, that is allowed; None for no bound."""
    maximum: float | None = None
    """The largest one; None for no bound."""
    choices: tuple[str, ...] = ()
    """The texts allowed; empty allows any."""
    parse: Callable[[str], Any] | None = None
    """Reads the value from text, where calling its type does not; raises ValueError."""
    join: Callable[[Sequence[Any]], Any] | None = None
    """Makes one value of several given one after another; None takes the last one."""
    length: int | None = None
    """How many items a tuple has; None for any number."""
    item_type: type = float
    """The type of a tuple's items."""

    applies_to: JobKind = ALL_JOBS
    """Which jobs it has an effect on; others refuse it, or ignore it (see `job.request`)."""
    conflicts_with: tuple[str, ...] = ()
    """Field names of options that cannot be given together with it; stated at one of the two."""
    varies: bool = False
    """Whether it takes keyframes, which make it change over time."""
    affects_level: bool = False
    """Whether keyframes for it switch level control off, since they change the dream's strength on
    purpose. Every varying option has to state it."""
    affects_cold_gain: bool = False
    """Whether the gain of a still's cold dream depends on it, so that a zoom measures this gain
    at each of its keyframes. Every varying option has to state it."""
    decides_result: bool = True
    """Whether another value gives another result, so that an unfinished run with another value
    cannot be resumed."""
    in_settings_files: bool = True
    """Whether a settings file, a look or a video's metadata may set it. They may not set options of
    the machine and of its safety limits."""
    names_file: bool = False
    """Whether its value is the path of a file or folder; the content of input files is then part
    of the run's identity."""
    names_code: Callable[[str], bool] | None = None
    """Whether a value would run code; such values are taken from the command line only."""
    for_encoder: bool = False
    """Whether it configures a video encoder; .gif, .webp and .apng have none and refuse it."""
    selects: Selection | None = None
    """What it selects; None for options that say how to dream, encode or compute."""

    @property
    def key(self) -> str:
        """Its name in settings files and messages, such as `octave-scale`."""
        return option_key(self.name)

    @property
    def flag(self) -> str:
        """Its name on the command line, such as `--octave-scale`."""
        return f"--{self.key}"

    @property
    def default_in_words(self) -> str:
        """The default, for messages and --help; empty if there is none."""
        if self.default in (None, ()):
            return self.default_text
        is_tuple = isinstance(self.default, tuple)
        return ",".join(map(str, self.default)) if is_tuple else str(self.default)

    @property
    def allowed(self) -> str:
        """The allowed values in words, for messages."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        kinds = {int: "whole number", float: "number"}
        bounds = self._bounds()
        if self.value_type is tuple:
            count = {None: "", 2: "two ", 3: "three "}[self.length]
            return f"a list of {count}{kinds[self.item_type]}s{bounds}"
        if self.value_type is bool:
            return "true or false"
        return f"a {kinds[self.value_type]}{bounds}" if self.value_type in kinds else "a text"

    def _bounds(self) -> str:
        if self.minimum is None:
            return ""
        if self.maximum is None:
            return f" of at least {plain_number(self.minimum)}"
        return f" from {plain_number(self.minimum)} to {plain_number(self.maximum)}"

    def is_set(self, value: Any) -> bool:
        """Whether a value differs from the default."""
        return bool((tuple(value) if isinstance(value, list) else value) != self.default)


def plain_number(number: float) -> str:
    """A number without exponent, and without decimals that are 0."""
    return str(int(number)) if number == int(number) else str(number)


def option_key(name: str) -> str:
    """An option's name in files and messages, from its field name: `class_` becomes `class`."""
    return name.strip("_").replace("_", "-")


def option(default: Any, help: str, *, group: str, **facts: Any) -> Any:
    """A dataclass field that is an option; the facts are the fields of `Option`."""
    return dataclasses.field(
        default=default, metadata={"option": Option(help=help, group=group, **facts)}
    )


def varying(
    default: Any,
    help: str,
    *,
    group: str,
    affects_level: bool,
    affects_cold_gain: bool,
    **facts: Any,
) -> Any:
    """An option that also takes keyframes; the two facts about its effect have to be stated."""
    facts.update(affects_level=affects_level, affects_cold_gain=affects_cold_gain)
    return option(default, help, group=group, varies=True, **facts)


def options_of(settings_class: type) -> Mapping[str, Option]:
    """The options of a settings class by field name, in the order of their definition."""
    return _options_of(settings_class)


@functools.cache
def _options_of(settings_class: Hashable) -> Mapping[str, Option]:
    assert isinstance(settings_class, type)
    hints = typing.get_type_hints(settings_class)
    return {
        field.name: replace(
            field.metadata["option"],
            name=field.name,
            value_type=_without_none(hints[field.name]),
            default=field.default,
        )
        for field in dataclasses.fields(settings_class)
        if "option" in field.metadata
    }


def option_values(settings: object) -> Iterator[tuple[Option, Any]]:
    """Each option of a settings object with its value."""
    for name, option in options_of(type(settings)).items():
        yield option, getattr(settings, name)


def options_set(settings: object) -> list[Option]:
    """The options of a settings object whose values are not the defaults."""
    return [option for option, value in option_values(settings) if option.is_set(value)]


def conflicting_options(settings_class: type) -> tuple[tuple[Option, Option], ...]:
    """The pairs of options that cannot be given together."""
    options = options_of(settings_class)
    return tuple(
        (options[other], option) for option in options.values() for other in option.conflicts_with
    )


def parse_value(text: str, option: Option) -> Any:
    """The value of an option from text, such as a word of the command line.

    Raises:
        ValueError: the text is not of the option's type.
        SettingsError: the text is a malformed schedule.
    """
    if option.value_type is bool:
        raise ValueError(f"{text!r} is a text, not true or false")
    parse = option.parse or option.value_type
    if option.varies and ":" in text:
        return parse_schedule(text, parse, has_commas=option.value_type is tuple)
    return parse(text)


def validate(settings: object) -> None:
    """Check the values of a settings object that is being made, and turn lists into schedules.

    Raises:
        SettingsError: names the option, the value received and the values allowed.
    """
    for option, value in option_values(settings):
        if value is None and option.default is None:
            continue
        # The object is frozen, but its __post_init__, which calls this, may still set fields.
        object.__setattr__(settings, option.name, _checked(value, option))
    check_conflicts(settings)


def check_conflicts(settings: object) -> None:
    """Refuse two options that exclude each other.

    Raises:
        SettingsError: names both.
    """
    given = {option.name for option in options_set(settings)}
    for one, other in conflicting_options(type(settings)):
        if one.name in given and other.name in given:
            raise SettingsError(
                f"{one.flag} and {other.flag} cannot be given together; leave one of them out"
            )


def values_at(settings: object, time_seconds: float) -> dict[str, Any]:
    """The interpolated values of the options that have numeric keyframes, by field name."""
    values: dict[str, Any] = {}
    for option, value in option_values(settings):
        if not isinstance(value, Schedule) or option.value_type is str:
            continue
        number = value.interpolate(np.array(time_seconds))
        if option.value_type is tuple:
            values[option.name] = tuple(number.tolist())
        elif option.value_type is int:
            values[option.name] = round(float(number))
        else:
            values[option.name] = float(number)
    return values


def _without_none(hint: Any) -> type:
    """The type `X` of a hint `X` or `X | None`, without its parameters."""
    if isinstance(hint, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not types.NoneType)
    return typing.cast(type, typing.get_origin(hint) or hint)


def _checked(value: Any, option: Option) -> Any:
    """An allowed value in the option's own type.

    Raises:
        SettingsError: the value is not allowed.
    """
    try:
        value = _from_lists(value, option)
    except SettingsError as error:
        raise SettingsError(f"{option.key} cannot be {value!r}: {error}") from None
    if option.varies and isinstance(value, Schedule):
        for key in value.keys:
            if not _is_allowed(key.value, option):
                raise SettingsError(
                    f'{option.key} cannot be {key.value!r} at {key.time_seconds:g} s (in "{value}")'
                    f": allowed is {option.allowed}"
                )
        if option.value_type is str:
            return value
        return Schedule(
            tuple(replace(key, value=_as_own_type(key.value, option)) for key in value.keys)
        )
    if not _is_allowed(value, option):
        default = option.default_in_words
        raise SettingsError(
            f"{option.key} cannot be {value!r}: allowed is {option.allowed}"
            + (f" (default {default})" if default else "")
        )
    return value


def _from_lists(value: Any, option: Option) -> Any:
    """The tuple, schedule or joined value that settings files and callers write as a list."""
    is_tuple = option.value_type is tuple
    if is_tuple and option.length is None and type(value) is option.item_type:
        return (value,)
    if not isinstance(value, (list, tuple)):
        return value
    is_schedule = not value or any(isinstance(key, (list, tuple)) for key in value)
    if option.varies and is_schedule:
        return keyframes(*value)
    if is_tuple:
        return tuple(value)
    is_joinable = all(isinstance(item, option.value_type) for item in value)
    return option.join(value) if option.join and is_joinable else value


def _as_own_type(value: Any, option: Option) -> Any:
    """A keyframe's value in the option's type, so that schedules with 1 and 1.0 are equal."""
    if option.value_type is tuple:
        return tuple(map(option.item_type, value))
    return option.value_type(value)


def _is_allowed(value: Any, option: Option) -> bool:
    if option.value_type is tuple:
        has_length = isinstance(value, tuple) and option.length in (None, len(value))
        return has_length and all(_is_within(item, option.item_type, option) for item in value)
    return _is_within(value, option.value_type, option)


def _is_within(value: Any, value_type: type, option: Option) -> bool:
    """Whether a single value is of a type, within the bounds and among the choices."""
    if value_type is float:
        has_type = isinstance(value, (int, float)) and not isinstance(value, bool)
    else:
        has_type = type(value) is value_type
    if not has_type or (option.choices and value not in option.choices):
        return False
    if isinstance(value, (int, float)):
        too_small = option.minimum is not None and value < option.minimum
        too_large = option.maximum is not None and value > option.maximum
        return not too_small and not too_large and math.isfinite(value)
    return True
