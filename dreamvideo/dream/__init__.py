"""Dreaming one picture: pyramid × ascent × objective, with no memory between frames."""

from dreamvideo.dream.dreamer import Dreamer, Level
from dreamvideo.dream.palette import Palette, drawn_to
from dreamvideo.dream.reference import Reference

__all__ = ["Dreamer", "Level", "Palette", "Reference", "drawn_to"]
