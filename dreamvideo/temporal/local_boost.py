"""More ascent where a dream is weak, in a window of the picture.

Refuses to know why it is weak there, and what came before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from dreamvideo.dream.ascent import (
    BOOST_FIRST_ITERATION,
    Offset,
    ValueAndGradient,
    add_step,
    jitter_offsets,
)
from dreamvideo.dream.conditioning import Conditioning
from dreamvideo.dream.dreamer import Dreamer
from dreamvideo.dream.objectives import MIN_ENERGY, EnergyMaps
from dreamvideo.dream.pyramid import Octave, Size, at_octave_size, resize_smooth

# A side of the window, as a share of the whole picture's: a pass over it takes a fourth of the
# time. Smaller octaves fit in whole.
WINDOW_SHARE = 0.5
# Beside the energy of a place so much of the picture's mean counts: where nothing is seen, anything
# would be infinitely more.
ENERGY_FLOOR = 0.01
# How strongly it is dreamed is found for cells of so many pixels: the default layer's places.
CELL_PX = 16
# All is done where the dream is weaker than a third of the usual, nothing where it is as usual.
DEFICIT_SLOPE = 1.5
# A window in which less than this is wanting, on average, is left alone.
MIN_DEFICIT = 0.05
# Toward its edges, beyond which the network sees nothing, the window's steps fade in so many px.
FADE_PX = 16
# The steps: so many, and so many times as long as usual. Longer ones add no strength, and flicker.
# Measured at 640×360: with none of them, what came into view 5 frames ago has a gain of 1.54, with
# two 1.70; dreamed on its own, 2.03. A third takes a tenth more time on small films.
BOOST_ITERATIONS = 2
BOOST_STEP_RATIO = 1.5
# A step is made longer where little of it falls on what is weak, but not without bound.
MIN_STEP_SHARE = 0.3


@dataclass(frozen=True, eq=False)
class BoostInputs:
    """What is to be known of a source before its weak places are found and dreamed."""

    subject: Tensor
    """(1, 3, H, W), the source at full size."""
    octave: Octave
    """At whose size it is dreamed on."""
    seen_at: Octave
    """At whose size the dream is looked at."""
    places: EnergyMaps
    """What the network sees of the source there."""


@dataclass(frozen=True)
class Window:
    """Rows and columns of a picture."""

    rows: slice
    columns: slice

    def of(self, picture: Tensor) -> Tensor:
        """That part of a picture (N, C, H, W), a view."""
        return picture[..., self.rows, self.columns]


def log_gains(before: EnergyMaps, after: EnergyMaps, size: Size) -> Tensor:
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
        floor = one.mean().clamp(min=MIN_ENERGY) * ENERGY_FLOOR
        both = nn.functional.adaptive_avg_pool2d(torch.stack([one, other])[:, None], cells)
        both = nn.functional.pad(both, (1, 1, 1, 1), mode="replicate")
        seen, dreamed = (nn.functional.avg_pool2d(both, 3, 1) + floor).log()
        total = total.to(one.device) + share * (dreamed - seen)
    return total[None]


def deficit(gains: Tensor, typical_log_gain: float) -> Tensor:
    """How much is wanting in each cell, in [0, 1], given logarithms of gains and the usual one."""
    return (DEFICIT_SLOPE * (1 - gains / typical_log_gain)).clamp(0, 1)


def boost_change(
    dreamer: Dreamer,
    carried: Tensor,
    boost: BoostInputs,
    typical_log_gain: float,
    frame_index: int,
    time_seconds: float = 0.0,
) -> Tensor | None:
    """What is to be added to a residual where its dream is weak; None where nothing is wanting.

    Args:
        dreamer: evaluates the objective.
        carried: (1, 3, H, W), dream minus source.
        boost: what is known of the source.
        typical_log_gain: the logarithm of the gain that is typical in it, above 0.
        frame_index: with the seed, determines the jitter.
        time_seconds: of the frame.
    """
    now = dreamer.settings.at(time_seconds)
    objective = dreamer.objectives.objective(time_seconds, boost.subject)
    with torch.no_grad():
        image = at_octave_size(carried, boost.seen_at)
        seen = dreamer.objectives.places(time_seconds, boost.subject, image)
        return boost_weakest_window(
            carried,
            boost,
            deficit(log_gains(boost.places, seen, boost.seen_at.size), typical_log_gain),
            partial(dreamer.evaluator.value_and_gradient, objective=objective),
            dreamer.conditioning(now),
            jitter_offsets(
                now, frame_index, boost.octave.number, BOOST_ITERATIONS, BOOST_FIRST_ITERATION
            ),
            now.step_size * now.strength,
        )


def boost_weakest_window(
    carried: Tensor,
    boost: BoostInputs,
    weak: Tensor,
    evaluate: ValueAndGradient,
    conditioning: Conditioning,
    shifts: Iterable[Offset],
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
    size = boost.octave.size
    window = _weakest_window(weak, size, _window_size(carried))
    wanting = window.of(nn.functional.interpolate(weak, size=size, mode="bilinear"))
    mean = wanting.mean()
    if mean < MIN_DEFICIT:
        return None
    wanting = wanting * _edge_fade(wanting, size, conditioning.every)
    texture = nn.functional.interpolate(boost.octave.texture, size=size, mode="bilinear")
    image = at_octave_size(carried, boost.octave)
    begin = dream = window.of(image).contiguous(memory_format=torch.channels_last)
    for down, right in shifts:
        _, gradient = evaluate(torch.roll(dream, (down, right), (2, 3)))
        step = conditioning(torch.roll(gradient, (-down, -right), (2, 3)), window.of(texture))
        wanted = nn.functional.interpolate(wanting, size=step.shape[-2:], mode="bilinear")
        square = step.square()
        typical_log_gain = (square.mean() * mean).clamp(
            min=MIN_ENERGY
        )  # nothing, of what is not seen
        prior_residual = ((square * wanted).mean() / typical_log_gain).sqrt()
        step.mul_(
            wanted * (step_size * BOOST_STEP_RATIO / prior_residual.clamp(min=MIN_STEP_SHARE))
        )
        dream = add_step(dream, step, conditioning.every)
    change = torch.zeros_like(image)
    window.of(change).copy_(dream - begin)
    return resize_smooth(change, (carried.shape[-2], carried.shape[-1]))


def _window_size(picture: Tensor) -> Size:
    """(height, width) of the window of a picture."""
    height, width = (max(1, round(side * WINDOW_SHARE)) for side in picture.shape[-2:])
    return height, width


def _weakest_window(weak: Tensor, size: Size, window: Size) -> Window:
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


def _edge_fade(part: Tensor, whole: Size, every: int) -> Tensor:
    """(1, 1, H, W): 1 but toward the edges of a window that is smaller than the picture.

    A step of which every n-th pixel is known has nothing where it is known last: beyond, it stays.
    """
    shares = []
    for side, whole_side in zip(part.shape[-2:], whole, strict=True):
        place = torch.arange(side, device=part.device) + 0.5
        inside = (torch.minimum(place, side - place) - every / 2) / FADE_PX
        shares.append(inside.clamp(0, 1) if side < whole_side else torch.ones_like(place))
    return (shares[0][:, None] * shares[1])[None, None]
