"""Which file names are stills and which are films. Refuses to open any."""

from __future__ import annotations

from pathlib import Path

# Formats that imageio's Pillow plugin both reads and writes.
STILL_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
# Containers that take H.264.
FILM_SUFFIXES = (".mp4", ".mkv", ".mov")


def is_still(path: Path) -> bool:
    """Whether the name is that of a still picture; everything else is taken for a film."""
    return path.suffix.lower() in STILL_SUFFIXES


def is_film(path: Path) -> bool:
    """Whether the name is that of a film which can be written."""
    return path.suffix.lower() in FILM_SUFFIXES
