"""Dreaming one picture: pyramid × ascent × objective, with no memory between frames."""

from dreamvideo.dream.dreamer import Dreamer, Level
from dreamvideo.dream.evaluation import Evaluation
from dreamvideo.dream.octaves import Octave
from dreamvideo.dream.palette import Palette, drawn_to
from dreamvideo.dream.reference import Reference
from dreamvideo.dream.tiles import Reach

__all__ = ["Dreamer", "Evaluation", "Level", "Octave", "Palette", "Reach", "Reference", "drawn_to"]
