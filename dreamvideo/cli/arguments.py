"""Builds the parser from the fields of the settings. Refuses to run anything."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from dreamvideo.errors import UsageError
from dreamvideo.settings import Option, Settings, option, options_of

GROUP_TITLES = {
    "dream": "what is dreamed",
    "coherence": "how it holds together over time (films)",
    "picture": "the picture",
    "film": "the film file",
    "machine": "the machine",
    "run": "the run",
}


@dataclass(frozen=True)
class Command:
    """One command line, understood."""

    input: Path
    output: Path
    settings: Settings
    overwrite: bool = option(False, "replace an output that already exists", group="run")
    quiet: bool = option(False, "print nothing but errors", group="run")
    debug: bool = option(False, "show the whole traceback of an error", group="run")


class _Parser(argparse.ArgumentParser):
    """Reports a mistake as an exception, so that it gets one line like every other error."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; 'dreamvideo --help' lists what there is")


def parse(arguments: Sequence[str], version: str) -> Command:
    """Understand a command line.

    Raises:
        UsageError: it is malformed.
        SettingsError: an option has a value that is not allowed.
    """
    values = vars(_make_parser(version).parse_args(arguments))
    settings = Settings(**{name: values.pop(name) for name in options_of(Settings)})
    return Command(settings=settings, **values)


def _make_parser(version: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="dreamvideo",
        usage="dreamvideo INPUT OUTPUT [options]",
        description="Dream a film into a film, or a still into a still: "
        "dreamvideo clip.mp4 dream.mp4, dreamvideo photo.jpg dream.png",
        allow_abbrev=False,
    )
    parser.add_argument("input", type=Path, metavar="INPUT", help="a film or a still")
    parser.add_argument(
        "output", type=Path, metavar="OUTPUT", help=".mp4, .mkv or .mov; .png, .jpg … for a still"
    )
    parser.add_argument("--version", action="version", version=f"dreamvideo {version}")
    groups = {name: parser.add_argument_group(title) for name, title in GROUP_TITLES.items()}
    for settings_class in (Settings, Command):
        for name, (field, described, kind) in options_of(settings_class).items():
            _add_flag(groups[described.group], name, field, described, kind)
    return parser


def _add_flag(
    group: Any, name: str, field: dataclasses.Field[Any], described: Option, kind: type
) -> None:
    flag = "--" + name.replace("_", "-")
    if kind is bool:
        group.add_argument(flag, action="store_true", help=described.help)
        return
    facts = [described.unit, _bounds(described)]
    if field.default is not None:
        facts.append(f"default {field.default}")
    # argparse reads % as the start of a format.
    help_text = f"{described.help} ({', '.join(fact for fact in facts if fact)})".replace("%", "%%")
    metavar = "|".join(described.choices) or {int: "N", float: "X"}.get(kind, "NAME")
    group.add_argument(flag, type=kind, default=field.default, metavar=metavar, help=help_text)


def _bounds(described: Option) -> str:
    if described.minimum is None or described.maximum is None:
        return ""
    return f"{described.minimum:g} to {described.maximum:g}"
