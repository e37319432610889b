"""A parser that knows the options of settings classes. Refuses to know which classes there are."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Collection
from typing import Any, NoReturn, TypeVar

from dreamvideo.errors import SettingsError, UsageError
from dreamvideo.options import Option, options_of, read, spelled
from dreamvideo.settings import Settings

Made = TypeVar("Made")

GROUP_TITLES = {
    "sheet": "the tiles",
    "measure": "the figures",
    "network": "the network",
    "objective": "what of it is raised",
    "dream": "how it is dreamed",
    "blend": "where the dream is shown",
    "coherence": "how it holds together over time (films)",
    "picture": "the picture",
    "camera": "the journey (films made of stills)",
    "film": "the film",
    "files": "settings in files",
    "machine": "the machine",
    "run": "the run",
    "safety": "safety",
}


METAVARS = {int: "N", float: "X"}
# Marks options that take keyframes.
VARIES = "[*]"


class Parser(argparse.ArgumentParser):
    """Knows the options of settings classes, and reports a mistake as an exception.

    So it gets one line like every other error.
    """

    def __init__(self, **facts: Any) -> None:
        super().__init__(allow_abbrev=False, **facts)
        self._own_groups: dict[str, Any] = {}

    def add_options(self, settings_class: type, names: Collection[str] | None = None) -> None:
        """Add a flag for each field, or for some. What is not given is not in the result."""
        for name, (field, described, kind) in options_of(settings_class).items():
            if names is not None and name not in names:
                continue
            title = GROUP_TITLES[described.group]
            if title not in self._own_groups:
                self._own_groups[title] = self.add_argument_group(title)
            _add_flag(self._own_groups[title], name, field, described, kind)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; '{self.prog} --help' lists what there is")


def made(settings_class: type[Made], values: dict[str, Any]) -> Made:
    """An object of a settings class out of what a line gives."""
    names = options_of(settings_class)
    return settings_class(**{name: values[name] for name in names if name in values})


def _add_flag(
    group: Any, name: str, field: dataclasses.Field[Any], described: Option, kind: type
) -> None:
    flag = "--" + spelled(name)
    common: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS}
    if kind is bool:
        is_setting = name in options_of(Settings)  # a file may have set it
        action: Any = argparse.BooleanOptionalAction if is_setting else "store_true"
        group.add_argument(flag, action=action, help=described.help, **common)
        return
    facts = [described.unit, _bounds(described)]
    default: Any = field.default
    if default not in (None, ()):
        facts.append(f"default {','.join(map(str, default)) if kind is tuple else default}")
    notes = ", ".join(fact for fact in facts if fact)
    # argparse reads % as the start of a format.
    help_text = (f"{described.help} ({notes})" if notes else described.help).replace("%", "%%")
    help_text += f" {VARIES}" if described.varies else ""
    group.add_argument(
        flag,
        action="store" if described.join is None else "append",
        type=_reader(described, kind),
        metavar="|".join(described.choices) or _metavar(described, kind),
        help=help_text,
        **common,
    )


def _metavar(described: Option, kind: type) -> str:
    if kind is tuple and described.item is int:
        return "N"
    if kind is tuple:
        return ",".join("XYZ"[: described.length])
    return METAVARS.get(kind, "NAME")


def _reader(described: Option, kind: type) -> Callable[[str], Any]:
    """What reads the value of an option."""

    def read_value(text: str) -> Any:
        try:
            return read(text, described, kind)
        except SettingsError as error:
            raise argparse.ArgumentTypeError(f'cannot read "{text}" {error}') from None
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"cannot read {text!r}: allowed is {described.allowed(kind)}; it means: "
                f"{described.help}"
            ) from None

    return read_value


def _bounds(described: Option) -> str:
    if described.minimum is None or described.maximum is None:
        return ""
    return f"{described.minimum:g} to {described.maximum:g}"
