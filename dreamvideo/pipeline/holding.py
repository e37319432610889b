"""Holds a shot as strong as its first frame was dreamed. Refuses to know how frames are dreamed."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from dreamvideo.dream import Level, Octave
from dreamvideo.frames import Hold
from dreamvideo.pipeline.prepared import Prepared
from dreamvideo.schedule import Schedule
from dreamvideo.settings import Settings

# How steps shrink above the level that is held: none is taken an eighth above it. Measured on a
# still picture: after 120 frames the gain is 3 % higher than after 20; it was 26 % unheld.
HOLD_FIRMNESS = 8.0
# Settings that decide how strong a dream is: where one of them changes over time, so it shall.
DECIDING = (
    *("layer", "strength", "step_size", "iterations", "octaves", "octave_scale", "smoothing"),
    *("natural_colour", "persistence", "warm_iterations", "warm_octaves"),
)


def is_held(settings: Settings) -> bool:
    """Whether shots are held at the strength with which they begin."""
    varies = any(isinstance(getattr(settings, name), Schedule) for name in DECIDING)
    return not varies and settings.warm_iterations > 0


def looked(hold: Hold | None, prepared: Prepared) -> Hold | None:
    """How a shot is held from a frame on whose source was perhaps looked at."""
    largest = prepared.octaves[-1].number if prepared.octaves else 0
    if hold is None or largest not in prepared.strengths:
        return hold
    return replace(hold, source=prepared.strengths[largest])


def level_of(hold: Hold, prepared: Prepared) -> Level:
    """Where the objective is held: at that of the source, raised as in the shot's first frame."""
    largest = prepared.octaves[-1].number

    def level(octave: Octave) -> Tensor:
        source = prepared.strengths.get(octave.number, hold.source)
        return torch.tensor(source + hold.gains[largest - octave.number])

    return level
