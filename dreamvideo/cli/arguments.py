"""The argument parser, made from the options' definitions, and the result of parsing."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from dreamvideo.errors import SettingsError, UsageError
from dreamvideo.media.formats import (
    IMAGE_SUFFIXES,
    OUTPUT_FORMATS,
    STREAM_NAME,
    VIDEO_SUFFIXES,
    has_suffix,
)
from dreamvideo.settings import Settings, merge_options
from dreamvideo.settings.files import read_look, read_settings, read_settings_json
from dreamvideo.settings.keyframes import EASINGS
from dreamvideo.settings.options import Option, option, options_of, parse_value, plain_number
from dreamvideo.settings.video_options import RUN

SettingsT = TypeVar("SettingsT")

SETTINGS_FILES = "settings files"
# Marks the options that take keyframes in --help.
KEYFRAMES_MARK = "[*]"
# What follows it on a command line are names, even if they begin like options.
END_OF_OPTIONS = "--"


class Parser(argparse.ArgumentParser):
    """An argument parser with the options of settings classes.

    Mistakes raise a UsageError, so that they are reported in one line like every other error.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(allow_abbrev=False, **arguments)
        self._headings: dict[str, Any] = {}

    def add_options(self, settings_class: type, names: Collection[str] | None = None) -> None:
        """Add flags for the options of a class; options that are not given get no value.

        Args:
            settings_class: a dataclass whose fields are options.
            names: the fields to add; None adds all.
        """
        for name, spec in options_of(settings_class).items():
            if names is None or name in names:
                if spec.group not in self._headings:
                    self._headings[spec.group] = self.add_argument_group(spec.group)
                _add_flag(self._headings[spec.group], spec)

    def values(self, words: Sequence[str]) -> dict[str, Any]:
        """The values of a command line by name; options that are not given have none.

        Options and names may come in any order. All that follows `--` are names.

        Raises:
            UsageError: it is malformed.
        """
        options_end = words.index(END_OF_OPTIONS) if END_OF_OPTIONS in words else len(words)
        names = [_as_name(word) for word in words[options_end + 1 :]]
        return vars(self.parse_intermixed_args([*words[:options_end], *names]))

    def error(self, message: str) -> NoReturn:
        """Report a malformed command line.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"{message}; '{self.prog} --help' lists the options")


def _as_name(word: str) -> str:
    """The name of a file such that argparse does not take it for an option."""
    return f".{os.sep}{word}" if word.startswith("-") and word != STREAM_NAME else word


def build(settings_class: type[SettingsT], values: dict[str, Any]) -> SettingsT:
    """An object of a settings class with the parsed values, and defaults for the others."""
    names = options_of(settings_class)
    return settings_class(**{name: values[name] for name in names if name in values})


def _add_flag(group: Any, option: Option) -> None:
    # Options that are not given are left out of the result, so that they do not override files.
    common: dict[str, Any] = {"dest": option.name, "default": argparse.SUPPRESS}
    if option.value_type is bool:
        # A settings file may have switched an option on, so that --no-… has a use.
        can_be_in_file = option.name in options_of(Settings)
        action: Any = argparse.BooleanOptionalAction if can_be_in_file else "store_true"
        group.add_argument(option.flag, action=action, help=option.help, **common)
        return
    group.add_argument(
        option.flag,
        action="store" if option.join is None else "append",
        type=_value_parser(option),
        metavar=_metavar(option),
        help=_help(option),
        **common,
    )


def _help(option: Option) -> str:
    """The help text, with unit, bounds, default and the mark of options that take keyframes."""
    facts = [option.unit]
    if option.minimum is not None and option.maximum is not None:
        facts.append(f"{plain_number(option.minimum)} to {plain_number(option.maximum)}")
    if option.default_in_words:
        facts.append(f"default: {option.default_in_words}")
    notes = ", ".join(filter(None, facts))
    text = f"{option.help} ({notes})" if notes else option.help
    mark = f" {KEYFRAMES_MARK}" if option.varies else ""
    return text.replace("%", "%%") + mark  # argparse formats the text with %


def _metavar(option: Option) -> str:
    if option.choices:
        return "|".join(option.choices)
    if option.names_file:
        return "FILE"
    if option.value_type is tuple and option.length is not None:
        return ",".join("XYZ"[: option.length])
    item_type = option.item_type if option.value_type is tuple else option.value_type
    return {int: "N", float: "X"}.get(item_type, "NAME")


def _value_parser(option: Option) -> Callable[[str], Any]:
    """The function with which argparse reads an option's value."""

    def read_value(text: str) -> Any:
        try:
            return parse_value(text, option)
        except SettingsError as error:
            raise argparse.ArgumentTypeError(f'cannot read "{text}" {error}') from None
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"cannot read {text!r}: allowed is {option.allowed} ({option.help})"
            ) from None

    return read_value


@dataclass(frozen=True)
class SettingsSources:
    """Where settings come from, besides the command line."""

    look: str | None = option(
        None,
        "named settings that come with dreamvideo ('dreamvideo looks' lists them); --settings and "
        "options on the command line override them",
        group=SETTINGS_FILES,
    )
    settings_: str | None = option(
        None,
        "TOML file with lines such as octaves = 4, or a video that dreamvideo wrote; options on "
        "the command line override it",
        group=SETTINGS_FILES,
        names_file=True,
    )


@dataclass(frozen=True)
class OutputVerbosity:
    """What is printed."""

    quiet: bool = option(False, "print only errors", group=RUN)
    debug: bool = option(False, "print the traceback of an error", group=RUN)


@dataclass(frozen=True)
class WriteOptions(OutputVerbosity):
    """How files are written."""

    overwrite: bool = option(False, "replace an output that already exists", group=RUN)


@dataclass(frozen=True)
class RunOptions(WriteOptions):
    """How a run works."""

    save_settings: str | None = option(
        None,
        "when the run has finished, write its settings to this TOML file",
        group=SETTINGS_FILES,
        names_file=True,
    )
    restart: bool = option(False, "discard an unfinished run instead of resuming it", group=RUN)
    keep_partial: bool = option(
        False,
        "if the run fails or is interrupted, save the frames so far as NAME.partial next to the "
        "output",
        group=RUN,
    )


@dataclass(frozen=True)
class Command:
    """A parsed command line."""

    inputs: list[str]
    output: str
    settings: Settings
    run: RunOptions


def parse(arguments: Sequence[str], version: str) -> Command:
    """Parse a command line.

    Raises:
        UsageError: it is malformed.
        SettingsError: an option has a value that is not allowed.
    """
    values = _make_parser(version).values(arguments)
    return Command(
        values["inputs"], values["output"], settings_from(values), build(RunOptions, values)
    )


def settings_from(values: dict[str, Any]) -> Settings:
    """The settings of a command line, including those of its look and settings file.

    Raises:
        SettingsError: an option has a value that is not allowed.
    """
    sources, given = build(SettingsSources, values), options_from(values)
    from_look = {} if sources.look is None else read_look(sources.look)
    from_file = {} if sources.settings_ is None else _read_settings(sources.settings_, given)
    return Settings(**merge_options(merge_options(from_look, from_file), given))


def options_from(values: dict[str, Any]) -> dict[str, Any]:
    """The options of `Settings` that are on the command line itself, by field name.

    Raises:
        SettingsError: an option was given several times with values that cannot be joined.
    """
    given = {}
    for name, spec in options_of(Settings).items():
        if name in values:
            given[name] = spec.join(values[name]) if spec.join else values[name]
    return given


def _read_settings(name: str, overridden: Collection[str]) -> dict[str, Any]:
    if not has_suffix(name, VIDEO_SUFFIXES):
        return read_settings(Path(name), overridden)
    from dreamvideo.media.metadata import read_signature

    return read_settings_json(read_signature(Path(name)), name, overridden)


def _make_parser(version: str) -> Parser:
    parser = Parser(
        prog="dreamvideo",
        usage="dreamvideo INPUT [INPUT ...] OUTPUT [options]\n"
        "       dreamvideo sheet IMAGE SHEET [options]\n"
        "       dreamvideo measure SOURCE DREAM [options]\n"
        "       dreamvideo layers MODEL\n"
        "       dreamvideo models\n"
        "       dreamvideo looks",
        description="Make a DeepDream of a video, a folder of images or a still image, or zoom "
        "into still images. Examples: dreamvideo clip.mp4 dream.mp4; dreamvideo frames/ dreamed/; "
        "dreamvideo photo.jpg dream.png; dreamvideo photo.jpg zoom.mp4. If an input folder has the "
        "name of a command, such as models, write ./models; names that begin with - come last, "
        "after --.",
        epilog=f"{KEYFRAMES_MARK} takes keyframes, too: pairs of seconds and value, between which "
        'the value is interpolated, as in --zoom "0:1.0, 3:1.4 smooth, 8:1.1 hold". A word after a '
        f"value chooses the interpolation from there: {', '.join(EASINGS)} (default linear).",
    )
    parser.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="+",
        help="a video or an animated image; a folder of images; one or more still images; "
        "noise:WIDTHxHEIGHT; or - for a video on standard input. What a file is, is found by "
        "looking inside, not by its suffix",
    )
    parser.add_argument(
        "output",
        metavar="OUTPUT",
        help=f"a video: {', '.join(OUTPUT_FORMATS)}; a folder; a still image: "
        f"{', '.join(IMAGE_SUFFIXES)}; or - for Matroska on standard output",
    )
    parser.add_argument("--version", action="version", version=f"dreamvideo {version}")
    for settings_class in (Settings, SettingsSources, RunOptions):
        parser.add_options(settings_class)
    return parser
