"""Builds the parser from the fields of the settings. Refuses to run anything."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from dreamvideo.errors import UsageError
from dreamvideo.options import Option, option, options_of
from dreamvideo.settings import Settings

GROUP_TITLES = {
    "dream": "what is dreamed",
    "coherence": "how it holds together over time (films)",
    "picture": "the picture",
    "film": "the film",
    "machine": "the machine",
    "run": "the run",
    "safety": "safety",
}


@dataclass(frozen=True)
class Command:
    """One command line, understood."""

    input: str
    output: str
    settings: Settings
    overwrite: bool = option(False, "replace an output that already exists", group="run")
    restart: bool = option(
        False, "begin afresh instead of going on with an unfinished run", group="run"
    )
    keep_partial: bool = option(
        False,
        "when the run fails or is interrupted, leave what there is as a film of its own beside "
        "the output",
        group="run",
    )
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
        description="Dream a film, a folder of frames or a still: dreamvideo clip.mp4 dream.mp4, "
        "dreamvideo frames/ dreamed/, dreamvideo photo.jpg dream.png",
        allow_abbrev=False,
    )
    parser.add_argument(
        "input", metavar="INPUT", help="a film, a folder of frames, a still, or - for a stream"
    )
    parser.add_argument(
        "output",
        metavar="OUTPUT",
        help=".mp4, .mkv, .mov, .webm, .gif; a folder; .png, .jpg … for a still; - for a stream "
        "(Matroska)",
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
    notes = ", ".join(fact for fact in facts if fact)
    # argparse reads % as the start of a format.
    help_text = (f"{described.help} ({notes})" if notes else described.help).replace("%", "%%")
    metavar = "|".join(described.choices) or {int: "N", float: "X"}.get(kind, "NAME")
    read = kind if described.parse is None else _reader(described)
    group.add_argument(flag, type=read, default=field.default, metavar=metavar, help=help_text)


def _reader(described: Option) -> Callable[[str], Any]:
    """What reads the value of an option that has a form of its own."""

    def read(text: str) -> Any:
        assert described.parse is not None  # such options only come here
        try:
            return described.parse(text)
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"cannot read {text!r}; it means: {described.help}"
            ) from None

    return read


def _bounds(described: Option) -> str:
    if described.minimum is None or described.maximum is None:
        return ""
    return f"{described.minimum:g} to {described.maximum:g}"
