"""What is known of a frame before the one before it is dreamed. Refuses to know how it is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from dreamvideo.dream import Focus, Octave


@dataclass(frozen=True, eq=False)
class Prepared:
    """What a frame's dream needs beside the last one: the source alone decides about it."""

    picture: Tensor
    """(1, 3, H, W) on the dreamer's device."""
    octaves: tuple[Octave, ...]
    """Those that are dreamed on, smallest first."""
    strengths: Mapping[int, float]
    """The objective of the source at octaves by their number, where it was looked at."""
    focus: Focus | None
    """Where what is weak is to be dreamed more."""
