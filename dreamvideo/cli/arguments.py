"""Understands a command line: what is to be dreamed into what, and how. Refuses to run it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreamvideo.cli.parser import VARIES, Parser, made
from dreamvideo.media.kinds import FILM_SUFFIXES, has_suffix
from dreamvideo.options import option, options_of
from dreamvideo.schedule import EASINGS
from dreamvideo.settings import Settings, merged
from dreamvideo.settings.file import read_line, read_look, read_settings


@dataclass(frozen=True)
class Files:
    """Where settings come from, beside the command line."""

    look: str | None = option(
        None,
        "a set of settings by its name: 'dreamvideo looks' lists them; what else is given on the "
        "line wins over it",
        group="files",
    )
    settings_: str | None = option(
        None,
        "a TOML file with settings such as octaves = 4, or a film that dreamvideo made; wins "
        "over a look",
        group="files",
    )


@dataclass(frozen=True)
class Shown:
    """What is printed."""

    quiet: bool = option(False, "print nothing but errors", group="run")
    debug: bool = option(False, "show the whole traceback of an error", group="run")


@dataclass(frozen=True)
class Writing(Shown):
    """How the output is treated."""

    overwrite: bool = option(False, "replace an output that already exists", group="run")


@dataclass(frozen=True)
class Run(Writing):
    """How a run works."""

    save_settings: str | None = option(
        None, "when the run is done, write all settings to this TOML file", group="files"
    )
    restart: bool = option(
        False, "begin afresh instead of going on with an unfinished run", group="run"
    )
    keep_partial: bool = option(
        False,
        "when the run fails or is interrupted, leave what there is as a film of its own beside "
        "the output",
        group="run",
    )


@dataclass(frozen=True)
class Command:
    """One command line, understood."""

    inputs: list[str]
    output: str
    settings: Settings
    run: Run


def parse(arguments: Sequence[str], version: str) -> Command:
    """Understand a command line.

    Raises:
        UsageError: it is malformed.
        SettingsError: an option has a value that is not allowed.
    """
    values = vars(_make_parser(version).parse_intermixed_args(arguments))
    return Command(values["inputs"], values["output"], settings_in(values), made(Run, values))


def settings_in(values: dict[str, Any]) -> Settings:
    """The settings that a line gives, with the look and file that it names.

    Raises:
        SettingsError: an option has a value that is not allowed.
    """
    chosen, given = made(Files, values), given_in(values)
    from_look = read_look(chosen.look) if chosen.look is not None else {}
    from_file = _read_file(chosen.settings_, given) if chosen.settings_ is not None else {}
    return Settings(**merged(merged(from_look, from_file), given))


def given_in(values: dict[str, Any]) -> dict[str, Any]:
    """The options of `Settings` that a line gives by themselves.

    Raises:
        SettingsError: several values of one option do not go together.
    """
    given = {name: values[name] for name in options_of(Settings) if name in values}
    for name, (_, described, _) in options_of(Settings).items():
        if name in given and described.join is not None:
            given[name] = described.join(given[name])
    return given


def _read_file(name: str, given: dict[str, Any]) -> dict[str, Any]:
    if not has_suffix(name, FILM_SUFFIXES):
        return read_settings(Path(name), given)
    from dreamvideo.media.signature import signature_of

    return read_line(signature_of(Path(name)), name, given)


def _make_parser(version: str) -> Parser:
    parser = Parser(
        prog="dreamvideo",
        usage="dreamvideo INPUT [INPUT ...] OUTPUT [options]\n"
        "       dreamvideo sheet PHOTO SHEET [options]\n"
        "       dreamvideo measure SOURCE DREAM [options]\n"
        "       dreamvideo layers MODEL\n"
        "       dreamvideo models\n"
        "       dreamvideo looks",
        description="Dream a film, a folder of frames or a still, or fall into stills: "
        "dreamvideo clip.mp4 dream.mp4, dreamvideo frames/ dreamed/, dreamvideo photo.jpg "
        "dream.png, dreamvideo photo.jpg zoom.mp4. The words sheet, measure, layers, models and "
        "looks come first on the line; a folder of such a name is written ./models",
        epilog=f"{VARIES} These also take pairs of seconds and value, between which they change: "
        '--zoom "0:1.0, 3:1.4 smooth, 8:1.1 hold". The word after a value says how it goes on from '
        f"there: {', '.join(EASINGS)}; without one, linear.",
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
    for settings_class in (Settings, Files, Run):
        parser.add_options(settings_class)
    return parser
