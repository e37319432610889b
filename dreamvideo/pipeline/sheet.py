"""Dreams one picture in many ways, for people to choose from. Refuses to know the ways' names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch

from dreamvideo.frames import Dreamed, FloatArray, Frame
from dreamvideo.media.opaque import on_black
from dreamvideo.media.opening import Location
from dreamvideo.networks import Backbone, load_backbone, pick_device
from dreamvideo.pipeline.dreaming import make_dreamer
from dreamvideo.pipeline.picture import dream_alone
from dreamvideo.pipeline.request import check_is_not_input
from dreamvideo.settings import Settings
from dreamvideo.sinks import contact_sheet, open_still
from dreamvideo.sources import open_source

# Longest side of a tile unless asked otherwise: four of them fit side by side on a page.
TILE_PX = 256
# Tiles of one network are made one after another; of another network the next ones.
NETWORKS_AT_HAND = 1


@dataclass(frozen=True)
class Tile:
    """One way to dream."""

    label: str
    settings: Settings


def dream_sheet(
    photo: str,
    output: Path,
    tiles: Sequence[Tile],
    overwrite: bool = False,
    on_tile: Callable[[int, str], None] | None = None,
) -> None:
    """Dream a still once for each tile, into one picture with labels.

    Args:
        photo: the name of a still.
        output: the name of the picture to write.
        tiles: the ways to dream it; all of one size.
        overwrite: whether an existing output is replaced.
        on_tile: called after each tile with how many there are, and its label.

    Raises:
        UsageError: a network, layer, channel or class does not exist.
        InputError: the still cannot be read.
        OutputError: the sheet cannot be written.
    """
    check_is_not_input(photo, str(output))
    settings = replace(tiles[0].settings, size=tiles[0].settings.size or TILE_PX)
    device = pick_device(settings.device)
    with (
        open_source(Location(photo), settings) as source,
        open_still(output, settings, overwrite) as sink,
    ):
        (frame,) = source
        pictures = []
        for done, (tile, picture) in enumerate(_dreams(frame, tiles, device), start=1):
            pictures.append((tile.label, picture))
            if on_tile is not None:
                on_tile(done, tile.label)
        sink.write(Dreamed(Frame(0, frame.time_seconds, contact_sheet(pictures))))


def _dreams(
    frame: Frame, tiles: Sequence[Tile], device: torch.device
) -> Iterable[tuple[Tile, FloatArray]]:
    @lru_cache(maxsize=NETWORKS_AT_HAND)
    def network(key: tuple[object, ...]) -> Backbone:
        alike = [tile.settings for tile in tiles if _network_of(tile.settings) == key]
        layers = [layer for settings in alike for layer in settings.layers]
        backbone = load_backbone(alike[0], device, layers)
        for settings in alike:
            backbone.check(settings)
        return backbone

    frame = on_black(frame)
    for tile in tiles:
        dreamer = make_dreamer(network(_network_of(tile.settings)), tile.settings, device)
        yield tile, dream_alone(frame, dreamer)


def _network_of(settings: Settings) -> tuple[object, ...]:
    """What two tiles must have in common to share a network."""
    return (settings.model, settings.weights, settings.mean, settings.std)
