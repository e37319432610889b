"""Dreaming one picture: pyramid × ascent × objective, with no memory between frames."""

from dreamvideo.dream.dreamer import Dreamer, Level
from dreamvideo.dream.evaluation import Evaluation
from dreamvideo.dream.focus import Focus, Places, at_size, log_gains
from dreamvideo.dream.octaves import Octave
from dreamvideo.dream.palette import Palette, drawn_to
from dreamvideo.dream.reference import Reference
from dreamvideo.dream.texture import texture
from dreamvideo.dream.tiles import Reach

__all__ = [
    "Dreamer",
    "Evaluation",
    "Focus",
    "Level",
    "Octave",
    "Palette",
    "Places",
    "Reach",
    "Reference",
    "at_size",
    "drawn_to",
    "log_gains",
    "texture",
]
