"""The subcommands: models, looks, layers, sheet, and measure, which has a module of its own."""

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
from dreamvideo.cli.progress import ProgressDisplay
from dreamvideo.errors import UsageError
from dreamvideo.media.formats import MediaKind, output_kind
from dreamvideo.runtime.process import keep_freed_memory
from dreamvideo.settings import Settings
from dreamvideo.settings.files import look_description, look_names
from dreamvideo.settings.options import check_conflicts, option

# Tiles of a contact sheet of layers, by default.
SHEET_LAYERS = 12
SHEET = "tiles of the contact sheet"


@dataclass(frozen=True)
class SheetOptions:
    """What the tiles of a contact sheet show."""

    layers: str | None = option(
        None,
        "one tile for each of these layers, separated by commas; a number N chooses N layers, "
        "spread over the network",
        group=SHEET,
        default_text=str(SHEET_LAYERS),
    )
    channels: str | None = option(
        None,
        "one tile for each of these channels of --layer, such as 0-11 or 3,14,15",
        group=SHEET,
        conflicts_with=("layers",),
    )
    looks: bool = option(
        False, "one tile for each look", group=SHEET, conflicts_with=("layers", "channels")
    )


def models(words: Sequence[str]) -> None:
    """List the networks, and which of them would be downloaded first."""
    _parse_no_arguments("models", models, words)
    from dreamvideo.networks.registry import model_entries

    entries = model_entries()
    width = max(len(entry.name) for entry in entries)
    for entry in sorted(entries, key=lambda entry: not entry.is_available):
        print(f"{'yes' if entry.is_available else 'no ':3}  {entry.name:{width}}  {entry.remark}")


def looks(words: Sequence[str]) -> None:
    """List the looks: named settings that come with dreamvideo."""
    _parse_no_arguments("looks", looks, words)
    names = look_names()
    width = max(map(len, names))
    for name in names:
        print(f"{name:{width}}  {look_description(name)}")


def layers(words: Sequence[str]) -> None:
    """List the layers of a network, from the input to the output."""
    parser = _parser("layers", layers, "dreamvideo layers MODEL")
    parser.add_argument("model", metavar="MODEL", help="a network, as for --model")
    parser.add_options(OutputVerbosity)
    name = parser.values(words)["model"]
    from dreamvideo.networks.introspection import cost_shares
    from dreamvideo.networks.registry import describe_model

    model, summary = describe_model(name)
    shares = cost_shares(model.network, summary)
    aliases = {layer: alias for alias, layer in model.aliases.items()}
    name_width = max(len(layer.name) for layer in summary.layers)
    kind_width = max(len(layer.kind) for layer in summary.layers)
    height, width = summary.image.size_px
    print(
        f"{'layer':{name_width}}  {'kind':{kind_width}}  {f'output at {width}x{height}':>17}   "
        f"{'receptive field px':>18}   {'cost up to here':>15}"
    )
    for layer in summary.layers:
        shape = "x".join(map(str, layer.shape[1:]))
        field = "all" if math.isinf(layer.receptive_field_px) else f"{layer.receptive_field_px:.0f}"
        print(
            f"{layer.name:{name_width}}  {layer.kind:{kind_width}}  {shape:>17}   {field:>18}   "
            f"{shares[layer.name]:>15.1%}  {aliases.get(layer.name, '')}".rstrip()
        )


def sheet(words: Sequence[str]) -> None:
    """Dream a still image in many ways, and write the results as tiles of one image."""
    parser = _parser("sheet", sheet, "dreamvideo sheet IMAGE SHEET [options]")
    parser.add_argument("image", metavar="IMAGE", help="a still image, or noise:WIDTHxHEIGHT")
    parser.add_argument("output", metavar="SHEET", help="the image to write: .png, .jpg …")
    for settings_class in (SheetOptions, Settings, SettingsSources, WriteOptions):
        parser.add_options(settings_class)
    values = parser.values(words)
    writing: WriteOptions = build(WriteOptions, values)
    _check_kinds(values["image"], values["output"])
    from dreamvideo.job.sheet import Tile, dream_sheet

    tiles = [Tile(label, settings) for label, settings in _tiles(values)]
    keep_freed_memory()
    with closing(ProgressDisplay("tile", writing.quiet)) as display:
        dream_sheet(
            values["image"],
            Path(values["output"]),
            tiles,
            writing.overwrite,
            lambda done, label: display.update(done, len(tiles), label),
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
    options: SheetOptions = build(SheetOptions, values)
    check_conflicts(options)
    if options.looks:
        return [(name, settings_from({**values, "look": name})) for name in look_names()]
    settings = settings_from(values)
    if options.channels:
        return [
            (f"channel {channel}", replace(settings, channel=(channel,)))
            for channel in _numbers(options.channels)
        ]
    names = _layer_names(options.layers or str(SHEET_LAYERS), settings.model)
    return [(name, replace(settings, layer=name)) for name in names]


def _layer_names(text: str, model: str) -> list[str]:
    """The names in a text; for a number, that many layers spread over the network."""
    if not text.isdecimal():
        return [name.strip() for name in text.split(",")]
    if int(text) == 0:
        raise UsageError("--layers cannot be 0: allowed is a number of tiles, or layer names")
    from dreamvideo.networks.registry import describe_model

    return describe_model(model)[1].spread_layers(int(text))


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
        raise UsageError(
            f"--channels cannot be {text!r}: allowed is a list such as 0-11 or 3,14,15"
        )
    return numbers


def _check_kinds(image: str, output: str) -> None:
    from dreamvideo.media.opening import Location
    from dreamvideo.media.read.contents import contents_of

    kind = contents_of(Location(image)).kind
    if kind is not MediaKind.STILL:
        raise UsageError(
            f"cannot make a contact sheet of {image}, which is {kind.value}; give a still image"
        )
    if output_kind(output) is not MediaKind.STILL:
        raise UsageError(
            f"cannot write a contact sheet as {output}; give the name of a still image, such as "
            "sheet.png"
        )


def _parser(name: str, command: Callable[..., None], usage: str) -> Parser:
    return Parser(prog=f"dreamvideo {name}", usage=usage, description=command.__doc__)


def _parse_no_arguments(name: str, command: Callable[..., None], words: Sequence[str]) -> None:
    parser = _parser(name, command, f"dreamvideo {name}")
    parser.add_options(OutputVerbosity)
    parser.values(words)
