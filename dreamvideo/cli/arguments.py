"""The argument parser, made from the option definitions, and what a command line says."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from dreamvideo.errors import SettingsError, UsageError
from dreamvideo.media.formats import VIDEO_SUFFIXES, has_suffix
from dreamvideo.settings import Settings, merge_options
from dreamvideo.settings.files import read_look, read_settings, read_settings_json
from dreamvideo.settings.keyframes import EASINGS
from dreamvideo.settings.options import Option, flag_name, option, options_of, parse_value

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
KEYFRAMES_MARK = "[*]"


class Parser(argparse.ArgumentParser):
    """Knows the options of settings classes, and reports a mistake as an exception.

    So it gets one line like every other error.
    """

    def __init__(self, **facts: Any) -> None:
        super().__init__(allow_abbrev=False, **facts)
        self._own_groups: dict[str, Any] = {}

    def add_options(self, settings_class: type, names: Collection[str] | None = None) -> None:
        """Add a flag for each field, or for some. What is not given is not in the result."""
        for name, (field, spec, kind) in options_of(settings_class).items():
            if names is not None and name not in names:
                continue
            title = GROUP_TITLES[spec.group]
            if title not in self._own_groups:
                self._own_groups[title] = self.add_argument_group(title)
            _add_flag(self._own_groups[title], name, field, spec, kind)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; '{self.prog} --help' lists what there is")


def build(settings_class: type[Made], values: dict[str, Any]) -> Made:
    """An object of a settings class out of what a line gives."""
    names = options_of(settings_class)
    return settings_class(**{name: values[name] for name in names if name in values})


def _add_flag(
    group: Any, name: str, field: dataclasses.Field[Any], spec: Option, kind: type
) -> None:
    flag = "--" + flag_name(name)
    common: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS}
    if kind is bool:
        is_setting = name in options_of(Settings)  # a file may have set it
        action: Any = argparse.BooleanOptionalAction if is_setting else "store_true"
        group.add_argument(flag, action=action, help=spec.help, **common)
        return
    facts = [spec.unit, _bounds(spec)]
    default: Any = field.default
    if default not in (None, ()):
        facts.append(f"default {','.join(map(str, default)) if kind is tuple else default}")
    notes = ", ".join(fact for fact in facts if fact)
    # argparse reads % as the start of a format.
    help_text = (f"{spec.help} ({notes})" if notes else spec.help).replace("%", "%%")
    help_text += f" {KEYFRAMES_MARK}" if spec.varies else ""
    group.add_argument(
        flag,
        action="store" if spec.join is None else "append",
        type=_reader(spec, kind),
        metavar="|".join(spec.choices) or _metavar(spec, kind),
        help=help_text,
        **common,
    )


def _metavar(spec: Option, kind: type) -> str:
    if kind is tuple and spec.item is int:
        return "N"
    if kind is tuple:
        return ",".join("XYZ"[: spec.length])
    return METAVARS.get(kind, "NAME")


def _reader(spec: Option, kind: type) -> Callable[[str], Any]:
    """What reads the value of an option."""

    def read_value(text: str) -> Any:
        try:
            return parse_value(text, spec, kind)
        except SettingsError as error:
            raise argparse.ArgumentTypeError(f'cannot read "{text}" {error}') from None
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"cannot read {text!r}: allowed is {spec.allowed(kind)}; it means: {spec.help}"
            ) from None

    return read_value


def _bounds(spec: Option) -> str:
    if spec.minimum is None or spec.maximum is None:
        return ""
    return f"{spec.minimum:g} to {spec.maximum:g}"


@dataclass(frozen=True)
class SettingsSources:
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
class OutputVerbosity:
    """What is printed."""

    quiet: bool = option(False, "print nothing but errors", group="run")
    debug: bool = option(False, "show the whole traceback of an error", group="run")


@dataclass(frozen=True)
class WriteOptions(OutputVerbosity):
    """How the output is treated."""

    overwrite: bool = option(False, "replace an output that already exists", group="run")


@dataclass(frozen=True)
class RunOptions(WriteOptions):
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
    run: RunOptions


def parse(arguments: Sequence[str], version: str) -> Command:
    """Understand a command line.

    Raises:
        UsageError: it is malformed.
        SettingsError: an option has a value that is not allowed.
    """
    values = vars(_make_parser(version).parse_intermixed_args(arguments))
    return Command(
        values["inputs"], values["output"], settings_from(values), build(RunOptions, values)
    )


def settings_from(values: dict[str, Any]) -> Settings:
    """The settings that a line gives, with the look and file that it names.

    Raises:
        SettingsError: an option has a value that is not allowed.
    """
    chosen, given = build(SettingsSources, values), options_from(values)
    from_look = read_look(chosen.look) if chosen.look is not None else {}
    from_file = _read_settings_file(chosen.settings_, given) if chosen.settings_ is not None else {}
    return Settings(**merge_options(merge_options(from_look, from_file), given))


def options_from(values: dict[str, Any]) -> dict[str, Any]:
    """The options of `Settings` that a line gives by themselves.

    Raises:
        SettingsError: several values of one option do not go together.
    """
    given = {name: values[name] for name in options_of(Settings) if name in values}
    for name, (_, spec, _) in options_of(Settings).items():
        if name in given and spec.join is not None:
            given[name] = spec.join(given[name])
    return given


def _read_settings_file(name: str, given: dict[str, Any]) -> dict[str, Any]:
    if not has_suffix(name, VIDEO_SUFFIXES):
        return read_settings(Path(name), given)
    from dreamvideo.media.metadata import read_signature

    return read_settings_json(read_signature(Path(name)), name, given)


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
        epilog=f"{KEYFRAMES_MARK} These also take pairs of seconds and value, between which they "
        'change: --zoom "0:1.0, 3:1.4 smooth, 8:1.1 hold". The word after a value says how it goes '
        "on from "
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
    for settings_class in (Settings, SettingsSources, RunOptions):
        parser.add_options(settings_class)
    return parser
