"""More ascent where a dream is weak, in a window of the picture.

Refuses to know why it is weak there, and what came before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from dreamvideo.dream.ascent import Gradient, Shift
from dreamvideo.dream.conditioning import Conditioning
from dreamvideo.dream.objective import SMALLEST_ENERGY
from dreamvideo.dream.octaves import Octave
from dreamvideo.dream.pyramid import Size, resize_smooth
from dreamvideo.dream.stepping import step_within_range

# The share of each layer, and its energy at each of its places (rows, columns).
Places: TypeAlias = Sequence[tuple[float, Tensor]]

# A side of the window, as a share of the whole picture's: a pass over it takes a fourth of the
# time. Smaller octaves fit in whole.
WINDOW_SHARE = 0.5
# Beside the energy of a place so much of the picture's mean counts: where nothing is seen, anything
# would be infinitely more.
ENERGY_FLOOR = 0.01
# How strongly it is dreamed is found for cells of so many pixels: the default layer's places.
CELL_PX = 16
# All is done where the dream is weaker than a third of the usual, nothing where it is as usual.
SLOPE = 1.5
# A window in which less than this is wanting, on average, is left alone.
LEAST_WEAKNESS = 0.05
# Toward its edges, beyond which the network sees nothing, the window's steps fade in so many px.
FADE_PX = 16
# The steps: so many, and so many times as long as usual. Longer ones add no strength, and flicker.
# Measured at 640×360: with none of them, what came into view 5 frames ago has a gain of 1.54, with
# two 1.70; dreamed on its own, 2.03. A third takes a tenth more time on small films.
ITERATIONS = 2
STEP_RATIO = 1.5
# A step is made longer where little of it falls on what is weak, but not without bound.
SMALLEST_SIZE = 0.3


@dataclass(frozen=True, eq=False)
class Focus:
    """What is to be known of a source before its weak places are found and dreamed."""

    subject: Tensor
    """(1, 3, H, W), the source at full size."""
    octave: Octave
    """At whose size it is dreamed on."""
    seen_at: Octave
    """At whose size the dream is looked at."""
    places: Places
    """What the network sees of the source there."""


@dataclass(frozen=True)
class Window:
    """Rows and columns of a picture."""

    rows: slice
    columns: slice

    def of(self, picture: Tensor) -> Tensor:
        """That part of a picture (N, C, H, W), a view."""
        return picture[..., self.rows, self.columns]


def log_gains(before: Places, after: Places, size: Size) -> Tensor:
    """How strongly each cell is dreamed: (1, 1, rows, columns), logarithms.

    Σ over layers of share · log(energy of the dream / energy of the source), energies being means
    over a cell and its eight neighbours, plus a hundredth of the source's mean.

    Args:
        before: energies of the source.
        after: energies of its dream.
        size: (height, width) of the picture that was looked at.
    """
    cells = (-(-size[0] // CELL_PX), -(-size[1] // CELL_PX))
    total = torch.zeros(())
    for (share, one), (_, other) in zip(before, after, strict=True):
        floor = one.mean().clamp(min=SMALLEST_ENERGY) * ENERGY_FLOOR
        both = nn.functional.adaptive_avg_pool2d(torch.stack([one, other])[:, None], cells)
        both = nn.functional.pad(both, (1, 1, 1, 1), mode="replicate")
        seen, dreamed = (nn.functional.avg_pool2d(both, 3, 1) + floor).log()
        total = total.to(one.device) + share * (dreamed - seen)
    return total[None]


def weakness(gains: Tensor, usual: float) -> Tensor:
    """How much is wanting in each cell, in [0, 1], given logarithms of gains and the usual one."""
    return (SLOPE * (1 - gains / usual)).clamp(0, 1)


def focused(
    carried: Tensor,
    focus: Focus,
    weak: Tensor,
    climb: Gradient,
    conditioning: Conditioning,
    shifts: Iterable[Shift],
    step_size: float,
) -> Tensor | None:
    """What a short ascent of the weakest window adds to a residual.

    Args:
        carried: (1, 3, H, W), the residual: dream minus source.
        focus: facts on the source.
        weak: (1, 1, rows, columns) in [0, 1], how much is wanting.
        climb: from an image to the objective and its gradient.
        conditioning: makes a step out of a gradient.
        shifts: one per step, px.
        step_size: root mean square of a usual step.

    Returns:
        (1, 3, H, W); None where nothing is wanting.
    """
    size = focus.octave.size
    window = _weakest(weak, size, _window_size(carried))
    wanting = window.of(nn.functional.interpolate(weak, size=size, mode="bilinear"))
    mean = wanting.mean()
    if mean < LEAST_WEAKNESS:
        return None
    wanting = wanting * _faded(wanting, size, conditioning.every)
    texture = nn.functional.interpolate(focus.octave.texture, size=size, mode="bilinear")
    image = at_size(carried, focus.octave)
    begin = dream = window.of(image).contiguous(memory_format=torch.channels_last)
    for down, right in shifts:
        _, gradient = climb(torch.roll(dream, (down, right), (2, 3)))
        step = conditioning(torch.roll(gradient, (-down, -right), (2, 3)), window.of(texture))
        wanted = nn.functional.interpolate(wanting, size=step.shape[-2:], mode="bilinear")
        square = step.square()
        usual = (square.mean() * mean).clamp(min=SMALLEST_ENERGY)  # nothing, of what is not seen
        there = ((square * wanted).mean() / usual).sqrt()
        step.mul_(wanted * (step_size * STEP_RATIO / there.clamp(min=SMALLEST_SIZE)))
        dream = step_within_range(dream, step, conditioning.every)
    change = torch.zeros_like(image)
    window.of(change).copy_(dream - begin)
    return resize_smooth(change, (carried.shape[-2], carried.shape[-1]))


def _window_size(picture: Tensor) -> Size:
    """(height, width) of the window of a picture."""
    height, width = (max(1, round(side * WINDOW_SHARE)) for side in picture.shape[-2:])
    return height, width


def _weakest(weak: Tensor, size: Size, window: Size) -> Window:
    """Where a window holds the most weakness."""
    spans, places = [], []
    for side, wanted, cells in zip(size, window, weak.shape[-2:], strict=True):
        span = min(side, wanted)
        spans.append(span)
        places.append(max(1, min(cells, round(cells * span / side))))
    sums = nn.functional.avg_pool2d(weak, (places[0], places[1]), stride=1)[0, 0]
    row, column = divmod(int(sums.flatten().argmax()), sums.shape[1])
    slices = []
    for side, span, first, count in zip(size, spans, (row, column), sums.shape, strict=True):
        # From the first possible place to the last one, in as many steps as cells allow.
        begin = round((side - span) * first / max(1, count - 1))
        slices.append(slice(begin, begin + span))
    return Window(*slices)


def _faded(part: Tensor, whole: Size, every: int) -> Tensor:
    """(1, 1, H, W): 1 but toward the edges of a window that is smaller than the picture.

    A step of which every n-th pixel is known has nothing where it is known last: beyond, it stays.
    """
    shares = []
    for side, whole_side in zip(part.shape[-2:], whole, strict=True):
        place = torch.arange(side, device=part.device) + 0.5
        inside = (torch.minimum(place, side - place) - every / 2) / FADE_PX
        shares.append(inside.clamp(0, 1) if side < whole_side else torch.ones_like(place))
    return (shares[0][:, None] * shares[1])[None, None]


def at_size(carried: Tensor, source: Octave) -> Tensor:
    """A source with a residual (1, 3, H, W) of any size, at the octave's size, in [0, 1]."""
    return (source.source + resize_smooth(carried, source.size)).clamp_(0, 1)
