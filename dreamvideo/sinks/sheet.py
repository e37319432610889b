"""Puts pictures on a sheet, each with its label. Refuses to know what the pictures show."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dreamvideo.frames import FloatArray
from dreamvideo.sinks.pixels import to_bits

# Shares of a tile's width.
GAP = 0.03
TEXT_HEIGHT = 0.065
SMALLEST_TEXT_PX = 10
PAPER = (18, 18, 18)
INK = (235, 235, 235)


def contact_sheet(tiles: Sequence[tuple[str, FloatArray]]) -> FloatArray:
    """One picture (height, width, 3) in [0, 1] with all tiles in rows, as square as can be.

    Args:
        tiles: labels and pictures (height, width, 3) in [0, 1], all of one shape.
    """
    height, width = tiles[0][1].shape[:2]
    gap, text_px = round(width * GAP), max(SMALLEST_TEXT_PX, round(width * TEXT_HEIGHT))
    font = ImageFont.load_default(text_px)
    line = round(text_px * 1.5)
    columns = math.ceil(math.sqrt(len(tiles)))
    rows = math.ceil(len(tiles) / columns)
    across, down = width + gap, height + line + gap
    sheet = Image.new("RGB", (columns * across + gap, rows * down + gap), PAPER)
    drawing = ImageDraw.Draw(sheet)
    for index, (label, picture) in enumerate(tiles):
        left, top = gap + index % columns * across, gap + index // columns * down
        sheet.paste(Image.fromarray(to_bits(picture, 8)), (left, top))
        text = _fitting(label, font, width)
        drawing.text((left + width / 2, top + height + line / 2), text, INK, font, anchor="mm")
    return (np.asarray(sheet) / 255).astype(np.float32)


def _fitting(label: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """A label, cut in front where it is too long: the ends of layers' names tell them apart."""
    text = label
    while font.getlength(text) > width and len(text) > 2:
        text = "…" + text[2:]
    return text
