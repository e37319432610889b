"""A contact sheet: one image dreamed in several ways, as labelled tiles of one image."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from dreamvideo.job.image import dream_frame, make_dreamer
from dreamvideo.job.output_paths import check_not_input
from dreamvideo.job.outputs import open_image_writer
from dreamvideo.media.opening import Location
from dreamvideo.media.pixels import on_black, to_integers
from dreamvideo.media.read import open_source
from dreamvideo.networks.extractor import FeatureExtractor, load_extractor
from dreamvideo.runtime.devices import pick_device
from dreamvideo.settings import Settings
from dreamvideo.settings.options import Selection, option_values
from dreamvideo.types import DreamedFrame, FloatArray, Frame

# Longest side of a tile by default: four of them fit side by side on a page.
TILE_PX = 256
# Tiles of the same network follow each other, so that one network at a time is enough.
CACHED_NETWORKS = 1


@dataclass(frozen=True)
class Tile:
    """One way to dream the image."""

    label: str
    settings: Settings


def dream_sheet(
    photo: str,
    output: Path,
    tiles: Sequence[Tile],
    overwrite: bool = False,
    on_tile: Callable[[int, str], None] | None = None,
) -> None:
    """Dream a still image once for each tile, and write all tiles as one image.

    Args:
        photo: the name of the still image.
        output: the image file to write.
        tiles: the ways to dream it, all with the same `size`.
        overwrite: whether to replace an existing output.
        on_tile: called after each tile with the number of finished tiles and its label.

    Raises:
        UsageError: there is no such network, layer, channel or class.
        WeightsError: the weights of a network are missing or do not fit.
        InputError: the still image cannot be read.
        OutputError: the output cannot be written.
    """
    check_not_input(photo, str(output))
    settings = replace(tiles[0].settings, size=tiles[0].settings.size or TILE_PX)
    device = pick_device(settings.device)
    with (
        open_source(Location(photo), settings) as source,
        open_image_writer(output, settings, overwrite) as writer,
    ):
        (frame,) = source
        labelled_images = []
        for done, (tile, image) in enumerate(_dream_tiles(frame, tiles, device), start=1):
            labelled_images.append((tile.label, image))
            if on_tile is not None:
                on_tile(done, tile.label)
        sheet = contact_sheet(labelled_images)
        writer.write(DreamedFrame(Frame(0, frame.time_seconds, sheet)))


def _dream_tiles(
    frame: Frame, tiles: Sequence[Tile], device: torch.device
) -> Iterable[tuple[Tile, FloatArray]]:
    """Each tile with its image (height, width, 3) in [0, 1]."""

    @lru_cache(maxsize=CACHED_NETWORKS)
    def load_shared_extractor(key: tuple[object, ...]) -> FeatureExtractor:
        sharing = [tile.settings for tile in tiles if _network_key(tile.settings) == key]
        layers = [layer for settings in sharing for layer in settings.layers]
        extractor = load_extractor(sharing[0], device, layers)
        for settings in sharing:
            extractor.check_channels(settings)
        return extractor

    frame = on_black(frame)
    for tile in tiles:
        extractor = load_shared_extractor(_network_key(tile.settings))
        dreamer = make_dreamer(extractor, tile.settings, device)
        yield tile, dream_frame(frame, dreamer, tile.settings)


def _network_key(settings: Settings) -> tuple[object, ...]:
    """The settings that two tiles must share to share a network."""
    return tuple(
        value for option, value in option_values(settings) if option.selects is Selection.NETWORK
    )


# Shares of a tile's width.
GAP_SHARE = 0.03
TEXT_HEIGHT_SHARE = 0.065
MIN_TEXT_PX = 10
# Height of a line of text, in text heights.
LINE_HEIGHT = 1.5
BACKGROUND = (18, 18, 18)
FOREGROUND = (235, 235, 235)


def contact_sheet(tiles: Sequence[tuple[str, FloatArray]]) -> FloatArray:
    """Arrange labelled images in rows, as nearly square as possible; (height, width, 3) in [0, 1].

    Args:
        tiles: labels and images (height, width, 3) in [0, 1], all of one shape.
    """
    height, width = tiles[0][1].shape[:2]
    gap, text_px = round(width * GAP_SHARE), max(MIN_TEXT_PX, round(width * TEXT_HEIGHT_SHARE))
    font = ImageFont.load_default(text_px)
    line = round(text_px * LINE_HEIGHT)
    columns = math.ceil(math.sqrt(len(tiles)))
    rows = math.ceil(len(tiles) / columns)
    column_width, row_height = width + gap, height + line + gap
    sheet = Image.new("RGB", (columns * column_width + gap, rows * row_height + gap), BACKGROUND)
    drawing = ImageDraw.Draw(sheet)
    for index, (label, image) in enumerate(tiles):
        row, column = divmod(index, columns)
        left, top = gap + column * column_width, gap + row * row_height
        sheet.paste(Image.fromarray(to_integers(image, 8)), (left, top))
        centre = (left + width / 2, top + height + line / 2)
        drawing.text(centre, _shortened(label, font, width), FOREGROUND, font, anchor="mm")
    return (np.asarray(sheet) / 255).astype(np.float32)


def _shortened(label: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, max_px: int) -> str:
    """A label cut at its beginning where it is too long: names of layers differ at their ends."""
    text = label
    while font.getlength(text) > max_px and len(text) > 2:
        text = "…" + text[2:]
    return text
