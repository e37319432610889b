"""What is known of a frame before the one before it is dreamed. Refuses to know how it is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dreamvideo.dream.dreamer import Level
from dreamvideo.dream.pyramid import Octave
from dreamvideo.settings import Settings
from dreamvideo.settings.keyframes import Schedule
from dreamvideo.temporal.local_boost import BoostInputs
from dreamvideo.types import TargetLevel


@dataclass(frozen=True, eq=False)
class FrameInputs:
    """What a frame's dream needs beside the last one: the source alone decides about it."""

    picture: Tensor
    """(1, 3, H, W) on the dreamer's device."""
    octaves: tuple[Octave, ...]
    """Those that are dreamed on, smallest first."""
    source_values: Mapping[int, float]
    """The objective of the source at octaves by their number, where it was looked at."""
    boost: BoostInputs | None
    """Where what is weak is to be dreamed more."""


# How steps shrink above the level that is held: none is taken an eighth above it. Measured on a
# still picture: after 120 frames the gain is 3 % higher than after 20; it was 26 % unheld.
VIDEO_LEVEL_FIRMNESS = 8.0
# Settings that decide how strong a dream is: where one of them changes over time, so it shall.
LEVEL_OPTIONS = (
    *("layer", "strength", "step_size", "iterations", "octaves", "octave_scale", "smoothing"),
    *("natural_colour", "persistence", "warm_iterations", "warm_octaves"),
)


def uses_level_control(settings: Settings) -> bool:
    """Whether shots are held at the strength with which they begin."""
    varies = any(isinstance(getattr(settings, name), Schedule) for name in LEVEL_OPTIONS)
    return not varies and settings.warm_iterations > 0


def with_remeasured_source(
    target_level: TargetLevel | None, inputs: FrameInputs
) -> TargetLevel | None:
    """How a shot is held from a frame on whose source was perhaps looked at."""
    largest = inputs.octaves[-1].number if inputs.octaves else 0
    if target_level is None or largest not in inputs.source_values:
        return target_level
    return replace(target_level, source_value=inputs.source_values[largest])


def level_function(target_level: TargetLevel, inputs: FrameInputs) -> Level:
    """Where the objective is held: at that of the source, raised as in the shot's first frame."""
    largest = inputs.octaves[-1].number

    def level(octave: Octave) -> Tensor:
        source = inputs.source_values.get(octave.number, target_level.source_value)
        return torch.tensor(source + target_level.gains[largest - octave.number])

    return level
