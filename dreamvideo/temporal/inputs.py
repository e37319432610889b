"""What a frame's dream needs beside the previous frame's dream: computed from its source alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from dreamvideo.dream.dreamer import Dreamer
from dreamvideo.dream.pyramid import Octave
from dreamvideo.settings.frame_params import FrameParams
from dreamvideo.temporal.local_boost import BOOST_INTERVAL, BoostInputs, boost_inputs

# The smaller octaves are refreshed, and the objective of the source is remeasured, in one frame of
# so many: both change slowly. Twice as often takes a tenth more time and changes no figure of three
# videos.
REMEASURE_INTERVAL = 8


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


def prepare_inputs(
    dreamer: Dreamer,
    source: Tensor,
    frame_index: int,
    params: FrameParams,
    *,
    is_warm: bool,
    is_level_controlled: bool,
) -> FrameInputs:
    """Compute the inputs of one frame.

    Args:
        dreamer: evaluates the objective.
        source: (1, 3, H, W) in [0, 1].
        frame_index: decides which of the periodic measurements are due.
        params: the settings of the frame.
        is_warm: whether a dream will be carried to the frame.
        is_level_controlled: whether the frame belongs to a shot with a target level.
    """
    remeasures = not is_warm or frame_index % REMEASURE_INTERVAL == 0
    octaves = dreamer.octaves(source, params, is_warm=is_warm, every_octave=remeasures)
    boost, source_values = None, {}
    if is_level_controlled and octaves:
        if remeasures:
            # A cold dream is compared with its source at the octaves that later frames refresh, and
            # at two of them at least.
            measured = octaves if is_warm else octaves[-max(2, params.warm_octaves) :]
            objective = dreamer.objectives.build(params, source)
            source_values = {
                octave.number: float(dreamer.value(octave.source, objective)) for octave in measured
            }
        if not is_warm or frame_index % BOOST_INTERVAL == 1:
            boost = boost_inputs(dreamer, source, frame_index, params)
    return FrameInputs(source, frame_index, params, tuple(octaves), source_values, boost)
