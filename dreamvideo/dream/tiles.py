"""Where to cut a picture, and what of a network's answer to each part counts.

Refuses to know networks and objectives.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from torch import Tensor

from dreamvideo.dream.pyramid import Size


@dataclass(frozen=True)
class Reach:
    """How the places of some layers lie on a picture."""

    field_px: int
    """How wide a part of the picture each place sees."""
    steps_px: tuple[int, ...]
    """Of each layer, how far apart its places are."""

    @property
    def margin_px(self) -> int:
        """How far around what it stands for a tile has to see, a multiple of every step.

        Half of the field; and one step, since the middle of a field lies anywhere within it.
        """
        step_px = self.step_px
        return (math.ceil(self.field_px / 2 / step_px) + 1) * step_px

    @property
    def step_px(self) -> int:
        """What the corners of tiles are multiples of, so that all places stay where they are."""
        return math.lcm(*self.steps_px)


@dataclass(frozen=True)
class Span:
    """A tile along one side of a picture, px."""

    begin: int
    """Of what the network is shown."""
    end: int
    core_begin: int
    """Of what the tile stands for."""
    core_end: int | None
    """None for the end of the picture."""

    def places(self, step_px: int) -> slice:
        """Those of a layer's places, out of its answer to the tile, that the tile stands for."""
        first = (self.core_begin - self.begin) // step_px
        return slice(first, self.core_end and (self.core_end - self.begin) // step_px)


@dataclass(frozen=True)
class Tile:
    """A part of a picture."""

    rows: Span
    columns: Span

    def cut(self, picture: Tensor) -> Tensor:
        """What the network is shown, a view of (1, C, H, W)."""
        rows, columns = self.rows, self.columns
        return picture[..., rows.begin : rows.end, columns.begin : columns.end]

    def own(self, answer: Tensor, step_px: int) -> Tensor:
        """Of a layer's answer to the tile the places that it stands for."""
        return answer[..., self.rows.places(step_px), self.columns.places(step_px)]


def tiles_of(size: Size, side_px: int, reach: Reach) -> list[Tile]:
    """Tiles that together stand for every place once.

    Args:
        size: (height, width) of the picture, px.
        side_px: of what a tile stands for, at most; at least one step.
        reach: of the layers that are asked for.
    """
    rows, columns = (list(_spans(length_px, side_px, reach)) for length_px in size)
    return [Tile(*both) for both in product(rows, columns)]


def _spans(length_px: int, side_px: int, reach: Reach) -> Iterator[Span]:
    """All of one length, so that memory that one took is right for the next."""
    step_px, margin_px = reach.step_px, reach.margin_px
    count = math.ceil(length_px / max(step_px, side_px // step_px * step_px))
    core_px = math.ceil(length_px / count / step_px) * step_px
    # Networks pad by whether sides are even, at each size that halving leads to: so the rest of the
    # division by the step has to be that of the whole.
    shown_px = min(length_px, core_px + 2 * margin_px + length_px % step_px)
    # Less than a step need not hold a place.
    begins = range(0, max(1, length_px - step_px + 1), core_px)
    for begin, following in zip(begins, [*begins[1:], None], strict=True):
        first = min(max(0, begin - margin_px), length_px - shown_px)
        yield Span(first, first + shown_px, begin, following)
