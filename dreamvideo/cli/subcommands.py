"""The commands that are words: models, layers, looks, sheet, and measure of a module of its own.

Refuses to know how dreams are made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dreamvideo.cli.arguments import (
    OutputVerbosity,
    Parser,
    SettingsSources,
    WriteOptions,
    build,
    settings_from,
)
from dreamvideo.cli.measure import measure
from dreamvideo.cli.progress import ProgressBar
from dreamvideo.errors import UsageError
from dreamvideo.media.formats import MediaKind, input_kind, output_kind
from dreamvideo.runtime.process import keep_freed_memory
from dreamvideo.settings import Settings
from dreamvideo.settings.files import look_description, look_names
from dreamvideo.settings.options import option

# Layers of a sheet, unless asked otherwise.
SHEET_LAYERS = 12


@dataclass(frozen=True)
class SheetTiles:
    """What the tiles of a sheet differ in."""

    layers: str | None = option(
        None,
        "one tile for each of these layers, with commas between, or for so many of them from the "
        f"first to the last (default: {SHEET_LAYERS})",
        group="sheet",
    )
    channels: str | None = option(
        None,
        "one tile for each of these channels of --layer, such as 0-11 or 3,14,15",
        group="sheet",
    )
    looks: bool = option(False, "one tile for each look", group="sheet")


def models(words: Sequence[str]) -> None:
    """List the networks that can be used now, and what would be downloaded."""
    _parse_no_arguments("models", models, words)
    from dreamvideo.networks.registry import model_entries

    entries = model_entries()
    wide = max(len(entry.name) for entry in entries)
    for entry in sorted(entries, key=lambda entry: not entry.is_here):
        print(f"{'yes' if entry.is_here else 'no ':3}  {entry.name:{wide}}  {entry.remark}")


def looks(words: Sequence[str]) -> None:
    """List the looks that come along."""
    _parse_no_arguments("looks", looks, words)
    names = look_names()
    wide = max(map(len, names))
    for name in names:
        print(f"{name:{wide}}  {look_description(name)}")


def layers(words: Sequence[str]) -> None:
    """List the layers of a network, from the picture to its output."""
    parser = _parser("layers", layers, "dreamvideo layers MODEL")
    parser.add_argument("model", metavar="MODEL", help="as for --model")
    parser.add_options(OutputVerbosity)
    name = parser.parse_args(words).model
    from dreamvideo.networks.introspection import cost_shares
    from dreamvideo.networks.registry import describe_model

    model, known = describe_model(name)
    shares = cost_shares(model.network, known)
    short = {layer: alias for alias, layer in model.aliases.items()}
    wide = max(len(layer.name) for layer in known.layers)
    kinds = max(len(layer.kind) for layer in known.layers)
    side = model.side_px
    print(
        f"{'layer':{wide}}  {'kind':{kinds}}  answer to {side}x{side}   sees px   cost up to there"
    )
    for layer in known.layers:
        shape = "x".join(map(str, layer.shape[1:]))
        field = "all" if math.isinf(layer.receptive_field_px) else f"{layer.receptive_field_px:.0f}"
        print(
            f"{layer.name:{wide}}  {layer.kind:{kinds}}  {shape:>17}   {field:>7}   "
            f"{shares[layer.name]:>16.1%}  {short.get(layer.name, '')}".rstrip()
        )


def sheet(words: Sequence[str]) -> None:
    """Dream a still in many ways, one tile each, into one picture to choose from."""
    parser = _parser("sheet", sheet, "dreamvideo sheet PHOTO SHEET [options]")
    parser.add_argument("photo", metavar="PHOTO", help="a still, or noise:WIDTHxHEIGHT")
    parser.add_argument("output", metavar="SHEET", help="the picture to write: .png, .jpg …")
    for settings_class in (SheetTiles, Settings, SettingsSources, WriteOptions):
        parser.add_options(settings_class)
    values = vars(parser.parse_intermixed_args(words))
    writing: WriteOptions = build(WriteOptions, values)
    _check_kinds(values["photo"], values["output"])
    from dreamvideo.job.sheet import Tile, dream_sheet

    tiles = [Tile(label, settings) for label, settings in _tiles(values)]
    keep_freed_memory()
    with closing(ProgressBar("tile", writing.quiet)) as bar:
        dream_sheet(
            values["photo"],
            Path(values["output"]),
            tiles,
            writing.overwrite,
            lambda done, label: bar.show(done, len(tiles), label),
        )
    if not writing.quiet:
        print(f"{values['output']}: {len(tiles)} tiles")


SUBCOMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "models": models,
    "looks": looks,
    "layers": layers,
    "sheet": sheet,
    "measure": measure,
}


def _tiles(values: dict[str, Any]) -> list[tuple[str, Settings]]:
    """Labels and settings of a sheet's tiles."""
    wanted: SheetTiles = build(SheetTiles, values)
    given = [word for word in ("layers", "channels", "looks") if getattr(wanted, word)]
    if len(given) > 1:
        raise UsageError(
            f"--{given[0]} and --{given[1]} cannot be given together: the tiles of a sheet differ "
            "in one of them"
        )
    if wanted.looks:
        return [(name, settings_from({**values, "look": name})) for name in look_names()]
    settings = settings_from(values)
    if wanted.channels:
        return [
            (f"channel {channel}", replace(settings, channel=(channel,)))
            for channel in _numbers(wanted.channels)
        ]
    names = _layers(wanted.layers or str(SHEET_LAYERS), settings.model)
    return [(name, replace(settings, layer=name)) for name in names]


def _layers(wanted: str, model: str) -> list[str]:
    if wanted.isdecimal() and int(wanted) == 0:
        raise UsageError(
            "--layers cannot be 0: allowed is how many tiles there are to be, or names"
        )
    if not wanted.isdecimal():
        return [name.strip() for name in wanted.split(",")]
    from dreamvideo.networks.registry import describe_model

    return describe_model(model)[1].spread(int(wanted))


def _numbers(text: str) -> list[int]:
    """Whole numbers from `0-11` or `3,14,15`."""
    numbers: list[int] = []
    try:
        for part in text.split(","):
            first, dash, last = part.partition("-")
            numbers += range(int(first), int(last if dash else first) + 1)
    except ValueError:
        numbers = []
    if not numbers:
        raise UsageError(f"cannot read --channels {text!r}: allowed is such as 0-11 or 3,14,15")
    return numbers


def _check_kinds(photo: str, output: str) -> None:
    if input_kind(photo) is not MediaKind.STILL:
        raise UsageError(
            f"{photo} is taken for {input_kind(photo).value}, by its name; a sheet is made of "
            "a still"
        )
    if output_kind(output) is not MediaKind.STILL:
        raise UsageError(f"{output} is no name of a still; a sheet is a .png, .jpg or the like")


def _parser(word: str, command: Callable[..., None], usage: str) -> Parser:
    return Parser(prog=f"dreamvideo {word}", usage=usage, description=command.__doc__)


def _parse_no_arguments(word: str, command: Callable[..., None], words: Sequence[str]) -> None:
    parser = _parser(word, command, f"dreamvideo {word}")
    parser.add_options(OutputVerbosity)
    parser.parse_args(words)
