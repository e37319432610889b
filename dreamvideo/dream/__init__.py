"""Dreaming one picture: pyramid × ascent × objective, with no memory between frames."""

from dreamvideo.dream.dreamer import Dreamer

__all__ = ["Dreamer"]
