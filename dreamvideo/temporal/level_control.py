"""Measures each source frame, and keeps a shot as strongly dreamed as its first frame.

What is measured depends on the source alone, so that it is computed ahead of the dream. With a
target level, what does not move comes to rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dreamvideo.dream.ascent import LevelControl
from dreamvideo.dream.dreamer import Dreamer
from dreamvideo.dream.pyramid import Octave, add_residual
from dreamvideo.motion.warp import CarryMap
from dreamvideo.settings import Settings
from dreamvideo.settings.frame_params import FrameParams
from dreamvideo.settings.keyframes import Schedule
from dreamvideo.settings.options import option_values
from dreamvideo.temporal.fast_motion import OCTAVES_FACTOR
from dreamvideo.temporal.local_boost import BOOST_INTERVAL, BoostInputs, boost_inputs, log_gains
from dreamvideo.types import TargetLevel

# The smaller octaves are refreshed, and the objective of the source is remeasured, in one frame of
# so many: both change slowly. Twice as often takes a tenth more time and changes no figure of three
# videos.
REMEASURE_INTERVAL = 8
# How steps shrink above the target level: none is taken an eighth above it. Measured on a still
# image: after 120 frames the gain is 3 % higher than after 20; without level control 26 %.
VIDEO_LEVEL_FIRMNESS = 8.0
# The dream of a flat image, such as the black one with which a video fades in, does not tell how
# strongly its shot is to be dreamed: below this mean texture it sets no target level.
MIN_TEXTURE = 0.1
# Nor does a cold dream that raised the objective by less.
MIN_LOG_GAIN = 0.01


@dataclass(frozen=True, eq=False)
class FrameInputs:
    """A source frame on the device, and what is measured on it."""

    source: Tensor
    """(1, 3, H, W) in [0, 1]."""
    frame_index: int
    params: FrameParams
    octaves: tuple[Octave, ...]
    """Those that are dreamed, smallest first."""
    source_values: Mapping[int, float]
    """The objective of the source by the number of the octave, where it was measured."""
    boost: BoostInputs | None
    """For a boost of the weakest window, if the frame gets one."""
    carry_map: CarryMap | None = None
    """From the previous frame; None for a frame that is dreamed cold."""

    @property
    def is_fast(self) -> bool:
        """Whether much of the frame has just come into view."""
        return self.carry_map is not None and self.carry_map.is_fast


def prepare_inputs(
    dreamer: Dreamer,
    source: Tensor,
    frame_index: int,
    params: FrameParams,
    carry_map: CarryMap | None,
    *,
    is_level_controlled: bool,
) -> FrameInputs:
    """Compute the inputs of one frame.

    Args:
        dreamer: evaluates the objective.
        source: (1, 3, H, W) in [0, 1].
        frame_index: decides which of the periodic measurements are due.
        params: the settings of the frame.
        carry_map: along which a dream will be carried to the frame; None for a cold dream.
        is_level_controlled: whether the frame belongs to a shot with a target level.
    """
    is_warm = carry_map is not None
    is_fast = carry_map is not None and carry_map.is_fast
    remeasures = not is_warm or frame_index % REMEASURE_INTERVAL == 0
    count = None
    if is_fast:
        count = _fast_octaves(params)
    elif is_warm:
        count = params.warm_octaves if remeasures else 1
    octaves = dreamer.octaves(source, params, count)
    boost, source_values = None, {}
    if is_level_controlled and octaves:
        if remeasures:
            # A cold dream is compared with its source at the octaves that later frames refresh.
            measured = octaves if is_warm else octaves[-_fast_octaves(params) :]
            objective = dreamer.objectives.build(params, source)
            source_values = {
                octave.number: float(dreamer.value(octave.source, objective)) for octave in measured
            }
        if not is_warm or (frame_index % BOOST_INTERVAL == 1 and not is_fast):
            boost = boost_inputs(dreamer, source, frame_index, params)
    return FrameInputs(source, frame_index, params, tuple(octaves), source_values, boost, carry_map)


def uses_level_control(settings: Settings) -> bool:
    """Whether shots are kept at the strength of their first dream."""
    if settings.warm_iterations == 0:
        return False
    # Where the strength is meant to change over time, a target level would work against it.
    return not any(
        option.affects_level and isinstance(value, Schedule)
        for option, value in option_values(settings)
    )


def measure_target_level(
    dreamer: Dreamer, inputs: FrameInputs, residual: Tensor
) -> TargetLevel | None:
    """The target level of a shot, given a cold dream of one of its frames.

    Args:
        dreamer: evaluates the objective.
        inputs: of the frame, prepared for a cold dream or remeasured.
        residual: (1, 3, H, W), dream minus source.

    Returns:
        None if the frame does not tell, because it is flat or was not measured.
    """
    if not inputs.source_values:
        return None
    measured = [octave for octave in inputs.octaves if octave.number in inputs.source_values]
    largest = measured[-1]
    if float(largest.texture.mean()) < MIN_TEXTURE:
        return None
    objective = dreamer.objectives.build(inputs.params, inputs.source)
    gains = tuple(
        float(dreamer.value(add_residual(octave, residual), objective))
        - inputs.source_values[octave.number]
        for octave in reversed(measured)
    )
    source_values = tuple(inputs.source_values[octave.number] for octave in reversed(measured))
    # Those that every frame refreshes, or every eighth, and two at least.
    if min(gains[: max(2, inputs.params.warm_octaves)]) < MIN_LOG_GAIN:
        return TargetLevel((), source_values, None)
    return TargetLevel(gains, source_values, _typical_log_gain(dreamer, inputs, residual))


def remeasured(target_level: TargetLevel | None, inputs: FrameInputs) -> TargetLevel | None:
    """The target level with the newest values of the source, if this frame measured them."""
    if target_level is None or not inputs.source_values:
        return target_level
    largest = inputs.octaves[-1].number
    source_values = tuple(
        inputs.source_values.get(largest - from_largest, before)
        for from_largest, before in enumerate(target_level.source_values)
    )
    return replace(target_level, source_values=source_values)


def level_control(target_level: TargetLevel | None, inputs: FrameInputs) -> LevelControl | None:
    """Shrinks steps above the value of the source plus the gain of the shot's first dream."""
    if target_level is None or not target_level.gains:
        return None
    largest = inputs.octaves[-1].number

    def level(octave: Octave) -> Tensor:
        # Where the number of octaves has grown since, the smallest that was measured counts.
        index = min(largest - octave.number, len(target_level.gains) - 1)
        return torch.tensor(target_level.source_values[index] + target_level.gains[index])

    return LevelControl(level, VIDEO_LEVEL_FIRMNESS)


def _fast_octaves(params: FrameParams) -> int:
    """How many octaves a frame of fast motion refreshes."""
    return OCTAVES_FACTOR * params.warm_octaves


def _typical_log_gain(dreamer: Dreamer, inputs: FrameInputs, residual: Tensor) -> float | None:
    """The mean over the cells of the image, as a logarithm; None if it is too small to compare."""
    boost = inputs.boost or boost_inputs(dreamer, inputs.source, 0, inputs.params)
    if boost is None:
        return None
    dream = add_residual(boost.probe, residual)
    energies = dreamer.objectives.energy_maps(inputs.params, inputs.source, dream)
    mean = float(log_gains(boost.source_energies, energies, boost.probe.size).mean())
    return mean if mean >= MIN_LOG_GAIN else None
