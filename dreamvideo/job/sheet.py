"""Dreams one image in many ways, onto a contact sheet with labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from dreamvideo.job.image import dream_single, make_dreamer
from dreamvideo.job.output_paths import check_not_input
from dreamvideo.job.outputs import open_image_writer
from dreamvideo.media.opening import Location
from dreamvideo.media.read import open_source
from dreamvideo.media.write.encoder import to_integers
from dreamvideo.networks.extractor import FeatureExtractor, load_extractor
from dreamvideo.runtime.devices import pick_device
from dreamvideo.settings import Settings
from dreamvideo.types import DreamedFrame, FloatArray, Frame, on_black

# Longest side of a tile unless asked otherwise: four of them fit side by side on a page.
TILE_PX = 256
# Tiles of one network are made one after another; of another network the next ones.
CACHED_NETWORKS = 1


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
    check_not_input(photo, str(output))
    settings = replace(tiles[0].settings, size=tiles[0].settings.size or TILE_PX)
    device = pick_device(settings.device)
    with (
        open_source(Location(photo), settings) as source,
        open_image_writer(output, settings, overwrite) as writer,
    ):
        (frame,) = source
        pictures = []
        for done, (tile, picture) in enumerate(_dream_tiles(frame, tiles, device), start=1):
            pictures.append((tile.label, picture))
            if on_tile is not None:
                on_tile(done, tile.label)
        writer.write(DreamedFrame(Frame(0, frame.time_seconds, contact_sheet(pictures))))


def _dream_tiles(
    frame: Frame, tiles: Sequence[Tile], device: torch.device
) -> Iterable[tuple[Tile, FloatArray]]:
    @lru_cache(maxsize=CACHED_NETWORKS)
    def network(key: tuple[object, ...]) -> FeatureExtractor:
        alike = [tile.settings for tile in tiles if _network_key(tile.settings) == key]
        layers = [layer for settings in alike for layer in settings.layers]
        backbone = load_extractor(alike[0], device, layers)
        for settings in alike:
            backbone.check(settings)
        return backbone

    frame = on_black(frame)
    for tile in tiles:
        dreamer = make_dreamer(network(_network_key(tile.settings)), tile.settings, device)
        yield tile, dream_single(frame, dreamer)


def _network_key(settings: Settings) -> tuple[object, ...]:
    """What two tiles must have in common to share a network."""
    return (settings.model, settings.weights, settings.mean, settings.std)


# Shares of a tile's width.
GAP = 0.03
TEXT_HEIGHT = 0.065
MIN_TEXT_PX = 10
BACKGROUND = (18, 18, 18)
FOREGROUND = (235, 235, 235)


def contact_sheet(tiles: Sequence[tuple[str, FloatArray]]) -> FloatArray:
    """One picture (height, width, 3) in [0, 1] with all tiles in rows, as square as can be.

    Args:
        tiles: labels and pictures (height, width, 3) in [0, 1], all of one shape.
    """
    height, width = tiles[0][1].shape[:2]
    gap, text_px = round(width * GAP), max(MIN_TEXT_PX, round(width * TEXT_HEIGHT))
    font = ImageFont.load_default(text_px)
    line = round(text_px * 1.5)
    columns = math.ceil(math.sqrt(len(tiles)))
    rows = math.ceil(len(tiles) / columns)
    across, down = width + gap, height + line + gap
    sheet = Image.new("RGB", (columns * across + gap, rows * down + gap), BACKGROUND)
    drawing = ImageDraw.Draw(sheet)
    for index, (label, picture) in enumerate(tiles):
        left, top = gap + index % columns * across, gap + index // columns * down
        sheet.paste(Image.fromarray(to_integers(picture, 8)), (left, top))
        text = _shortened(label, font, width)
        drawing.text(
            (left + width / 2, top + height + line / 2), text, FOREGROUND, font, anchor="mm"
        )
    return (np.asarray(sheet) / 255).astype(np.float32)


def _shortened(label: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """A label, cut in front where it is too long: the ends of layers' names tell them apart."""
    text = label
    while font.getlength(text) > width and len(text) > 2:
        text = "…" + text[2:]
    return text
