"""What is to be known of a source at each size before it is dreamed.

It depends on the source alone, so that it can be found out ahead of the dream. Refuses to know the
dream.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from dreamvideo.dream.pyramid import Size, resize
from dreamvideo.dream.texture import texture


@dataclass(frozen=True, eq=False)
class Octave:
    """A source at one of its sizes."""

    number: int
    """From 0, the smallest."""
    source: Tensor
    """(1, 3, height, width) in [0, 1]."""
    texture: Tensor
    """(1, 1, rows, columns) in [0, 1], where the source is textured."""

    @property
    def size(self) -> Size:
        """(height, width)."""
        height, width = self.source.shape[-2:]
        return height, width


def octaves_of(source: Tensor, sizes: Iterable[tuple[int, Size]]) -> list[Octave]:
    """A source (1, 3, H, W) in [0, 1] at some of its numbered sizes."""
    octaves = []
    for number, size in sizes:
        # Bicubic resizing overshoots at edges.
        there = resize(source, size).clamp(0, 1) if size != source.shape[-2:] else source
        octaves.append(Octave(number, there, texture(there)))
    return octaves
