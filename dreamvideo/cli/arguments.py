"""Builds the parser from the fields of the settings. Refuses to run anything."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from dreamvideo.errors import SettingsError, UsageError
from dreamvideo.options import Option, option, options_of, read
from dreamvideo.schedule import EASINGS
from dreamvideo.settings import Settings

GROUP_TITLES = {
    "dream": "what is dreamed",
    "coherence": "how it holds together over time (films)",
    "picture": "the picture",
    "camera": "the journey (films made of stills)",
    "film": "the film",
    "machine": "the machine",
    "run": "the run",
    "safety": "safety",
}


METAVARS = {int: "N", float: "X", tuple: "X,Y"}
# Marks options that take keyframes.
VARIES = "[*]"


@dataclass(frozen=True)
class Command:
    """One command line, understood."""

    inputs: list[str]
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
    values = vars(_make_parser(version).parse_intermixed_args(arguments))
    settings = Settings(**{name: values.pop(name) for name in options_of(Settings)})
    return Command(settings=settings, **values)


def _make_parser(version: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="dreamvideo",
        usage="dreamvideo INPUT [INPUT ...] OUTPUT [options]",
        description="Dream a film, a folder of frames or a still, or fall into stills: "
        "dreamvideo clip.mp4 dream.mp4, dreamvideo frames/ dreamed/, dreamvideo photo.jpg "
        "dream.png, dreamvideo photo.jpg zoom.mp4",
        epilog=f"{VARIES} These also take pairs of seconds and value, between which they change: "
        '--zoom "0:1.0, 3:1.4 smooth, 8:1.1 hold". The word after a value says how it goes on from '
        f"there: {', '.join(EASINGS)}; without one, linear.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="+",
        help="a film, a folder of frames, a still or several, noise:WIDTHxHEIGHT, or - for a "
        "stream",
    )
    parser.add_argument(
        "output",
        metavar="OUTPUT",
        help=".mp4, .mkv, .mov, .webm, .gif, .apng, .webp; a folder; .png, .jpg … for a still; - "
        "for a stream (Matroska)",
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
    default: Any = field.default
    if default is not None:
        facts.append(f"default {','.join(map(str, default)) if kind is tuple else default}")
    notes = ", ".join(fact for fact in facts if fact)
    # argparse reads % as the start of a format.
    help_text = (f"{described.help} ({notes})" if notes else described.help).replace("%", "%%")
    help_text += f" {VARIES}" if described.varies else ""
    metavar = "|".join(described.choices) or METAVARS.get(kind, "NAME")
    group.add_argument(
        flag, type=_reader(described, kind), default=field.default, metavar=metavar, help=help_text
    )


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
