"""Extra steps where a dream is weak, such as on what has just come into view.

In every second frame, the window with the largest deficit gets a short ascent of its own. The
deficit is measured cell by cell: how much less than typical the dream raises the energy of the
layer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from dreamvideo.dream.ascent import Offset, ValueAndGradient, add_step, jitter_offsets
from dreamvideo.dream.conditioning import Conditioning
from dreamvideo.dream.dreamer import Dreamer
from dreamvideo.dream.objectives import MIN_ENERGY, EnergyMaps
from dreamvideo.dream.pyramid import Octave, Size, add_residual, resize_smooth
from dreamvideo.settings.frame_params import FrameParams

# The weakest window gets its steps in one frame of so many.
BOOST_INTERVAL = 2
# The octaves that are boosted, in turn, counted from the largest. Measured at 640×360: what came
# into view 5 frames ago has a gain of 1.69; with both equally often 1.63, with the largest alone
# 1.72, but then figures stay small.
BOOST_OCTAVES = (0, 1, 0)
# The deficit is measured on an image of this share of the size, but within these bounds of the
# longest side: one and a half times as large takes twice as long and finds less; much smaller has
# too few positions.
PROBE_SHARE, PROBE_MIN_PX, PROBE_MAX_PX = 0.5, 160, 640
# Side of the window as a share of the image's: a pass over it takes a quarter of the time.
WINDOW_SHARE = 0.5
# This share of the image's mean energy is added to the energy of each cell: where the source has
# none, any energy would be an infinite gain.
ENERGY_FLOOR = 0.01
# Side of a cell: one position of the default layer.
CELL_PX = 16
# The deficit is full where the log gain is below a third of the typical one, zero where it is
# typical.
DEFICIT_SLOPE = 1.5
# A window with a smaller mean deficit is left alone.
MIN_DEFICIT = 0.05
# Steps fade out over this distance from the edges of the window, beyond which the network has no
# input.
FADE_PX = 16
# How many steps, and how much longer than usual they are. Longer ones add no strength, and flicker.
# Measured at 640×360: without a boost, what came into view 5 frames ago has a gain of 1.54, with
# two steps 1.70; dreamed frame by frame, 2.03. A third step takes a tenth more time on small
# videos.
BOOST_ITERATIONS = 2
BOOST_STEP_RATIO = 1.5
# Steps are lengthened where little of them falls on the deficit, up to 1 / this.
MIN_STEP_SHARE = 0.3
# The jitter of a boost is drawn from iterations that no octave reaches.
BOOST_FIRST_ITERATION = 1_000_000


@dataclass(frozen=True, eq=False)
class BoostInputs:
    """What is measured of a source before its weakest window is found and boosted."""

    source: Tensor
    """(1, 3, H, W) in [0, 1], at full size."""
    octave: Octave
    """At whose size the boost takes place."""
    probe: Octave
    """At whose size the deficit is measured."""
    source_energies: EnergyMaps
    """Energies of the source at the size of the probe."""


@dataclass(frozen=True)
class Window:
    """Rows and columns of an image."""

    rows: slice
    columns: slice

    def crop(self, image: Tensor) -> Tensor:
        """That part of an image (N, C, H, W), a view."""
        return image[..., self.rows, self.columns]


def boost_inputs(
    dreamer: Dreamer, source: Tensor, frame_index: int, params: FrameParams
) -> BoostInputs | None:
    """Measure a source (1, 3, H, W) for a boost; None if the layers have too few positions."""
    wanted_px = round(max(source.shape[-2:]) * PROBE_SHARE)
    probe = dreamer.octave(source, params, 0, min(max(wanted_px, PROBE_MIN_PX), PROBE_MAX_PX))
    energies = dreamer.objectives.energy_maps(params, source, probe.source)
    if not energies:
        return None
    turn = BOOST_OCTAVES[frame_index // BOOST_INTERVAL % len(BOOST_OCTAVES)]
    return BoostInputs(source, dreamer.octave(source, params, turn), probe, energies)


def boost_change(
    dreamer: Dreamer,
    carried: Tensor,
    boost: BoostInputs,
    typical_log_gain: float,
    frame_index: int,
    params: FrameParams,
) -> Tensor | None:
    """What a boost adds to a residual; None if no window is weak.

    Args:
        dreamer: evaluates the objective.
        carried: (1, 3, H, W), the residual: dream minus source.
        boost: measured on the source.
        typical_log_gain: the logarithm of the gain that is typical for the shot, above 0.
        frame_index: with the seed, determines the jitter.
        params: the settings of the frame.
    """
    objective = dreamer.objectives.build(params, boost.source)
    with torch.no_grad():
        dream = add_residual(boost.probe, carried)
        energies = dreamer.objectives.energy_maps(params, boost.source, dream)
        gains = log_gains(boost.source_energies, energies, boost.probe.size)
        return boost_weakest_window(
            carried,
            boost,
            deficit(gains, typical_log_gain),
            partial(dreamer.evaluator.value_and_gradient, objective=objective),
            dreamer.conditioning(params),
            jitter_offsets(
                params, frame_index, boost.octave.number, BOOST_ITERATIONS, BOOST_FIRST_ITERATION
            ),
            params.step_size * params.strength,
        )


def log_gains(source: EnergyMaps, dream: EnergyMaps, size: Size) -> Tensor:
    """How strongly each cell is dreamed: (1, 1, rows, columns), logarithms.

    Σ over layers of weight · log(energy of the dream / energy of the source), energies being means
    over a cell and its eight neighbours, plus a hundredth of the source's mean.

    Args:
        source: energies of the source.
        dream: energies of its dream.
        size: (height, width) in px of the image on which they were measured.
    """
    cells = (-(-size[0] // CELL_PX), -(-size[1] // CELL_PX))
    total = torch.zeros(())
    for (weight, before), (_, after) in zip(source, dream, strict=True):
        floor = before.mean().clamp(min=MIN_ENERGY) * ENERGY_FLOOR
        pair = nn.functional.adaptive_avg_pool2d(torch.stack([before, after])[:, None], cells)
        pair = nn.functional.pad(pair, (1, 1, 1, 1), mode="replicate")
        log_before, log_after = (nn.functional.avg_pool2d(pair, 3, 1) + floor).log()
        total = total.to(before.device) + weight * (log_after - log_before)
    return total[None]


def deficit(gains: Tensor, typical_log_gain: float) -> Tensor:
    """How far each cell is below the typical log gain, in [0, 1]."""
    return (DEFICIT_SLOPE * (1 - gains / typical_log_gain)).clamp(0, 1)


def boost_weakest_window(
    carried: Tensor,
    boost: BoostInputs,
    deficits: Tensor,
    evaluate: ValueAndGradient,
    conditioning: Conditioning,
    offsets: Iterable[Offset],
    step_size: float,
) -> Tensor | None:
    """What a short ascent of the weakest window adds to a residual.

    Args:
        carried: (1, 3, H, W), the residual: dream minus source.
        boost: measured on the source.
        deficits: (1, 1, rows, columns) in [0, 1].
        evaluate: computes the objective and its gradient.
        conditioning: makes a step out of a gradient.
        offsets: the jitter, one per step.
        step_size: root mean square of a step of usual length.

    Returns:
        (1, 3, H, W); None if no window is weak.
    """
    size = boost.octave.size
    window = _weakest_window(deficits, size, _window_size(carried))
    weight = window.crop(nn.functional.interpolate(deficits, size=size, mode="bilinear"))
    mean = weight.mean()
    if mean < MIN_DEFICIT:
        return None
    weight = weight * _edge_fade(weight, size, conditioning.stride)
    texture = nn.functional.interpolate(boost.octave.texture, size=size, mode="bilinear")
    texture = window.crop(texture)
    image = add_residual(boost.octave, carried)
    start = dream = window.crop(image).contiguous(memory_format=torch.channels_last)
    for down, right in offsets:
        _, gradient = evaluate(torch.roll(dream, (down, right), (2, 3)))
        step = conditioning(torch.roll(gradient, (-down, -right), (2, 3)), texture)
        step_weight = nn.functional.interpolate(weight, size=step.shape[-2:], mode="bilinear")
        square = step.square()
        # Nothing is added where the gradient is zero, such as for an inactive channel.
        expected = (square.mean() * mean).clamp(min=MIN_ENERGY)
        share = ((square * step_weight).mean() / expected).sqrt()
        step.mul_(step_weight * (step_size * BOOST_STEP_RATIO / share.clamp(min=MIN_STEP_SHARE)))
        dream = add_step(dream, step, conditioning.stride)
    change = torch.zeros_like(image)
    window.crop(change).copy_(dream - start)
    return resize_smooth(change, (carried.shape[-2], carried.shape[-1]))


def _window_size(image: Tensor) -> Size:
    """(height, width) of the window of an image."""
    height, width = (max(1, round(side * WINDOW_SHARE)) for side in image.shape[-2:])
    return height, width


def _weakest_window(deficits: Tensor, size: Size, window: Size) -> Window:
    """The window with the largest sum of deficits, at an octave of the given size."""
    spans, cells_per_span = [], []
    for side, wanted, cells in zip(size, window, deficits.shape[-2:], strict=True):
        span = min(side, wanted)
        spans.append(span)
        cells_per_span.append(max(1, min(cells, round(cells * span / side))))
    kernel = (cells_per_span[0], cells_per_span[1])
    sums = nn.functional.avg_pool2d(deficits, kernel, stride=1)[0, 0]
    row, column = divmod(int(sums.flatten().argmax()), sums.shape[1])
    slices = []
    for side, span, first, count in zip(size, spans, (row, column), sums.shape, strict=True):
        # From the first possible place to the last one, in as many steps as cells allow.
        begin = round((side - span) * first / max(1, count - 1))
        slices.append(slice(begin, begin + span))
    return Window(*slices)


def _edge_fade(part: Tensor, whole: Size, stride: int) -> Tensor:
    """(1, 1, H, W): 1 except toward the edges of a window that is smaller than the image.

    A step of which every n-th pixel is kept is constant beyond its last pixel, and has to be zero
    there.
    """
    fades = []
    for side, whole_side in zip(part.shape[-2:], whole, strict=True):
        position = torch.arange(side, device=part.device) + 0.5
        inside = (torch.minimum(position, side - position) - stride / 2) / FADE_PX
        fades.append(inside.clamp(0, 1) if side < whole_side else torch.ones_like(position))
    return (fades[0][:, None] * fades[1])[None, None]
