"""Dreams the frames of a video one after another.

The first frame of a shot is dreamed cold. In all others the carried dream is refreshed: its largest
octave in every frame, the smaller octaves and the weakest window in turn; in fast motion every
octave in every frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

from torch import Tensor

from dreamvideo.dream.dreamer import Dreamer
from dreamvideo.dream.pyramid import Octave
from dreamvideo.motion.warp import CarryMap, carry, carry_freshness
from dreamvideo.runtime.threads import SideWorker
from dreamvideo.settings import Settings
from dreamvideo.settings.frame_params import FrameParams, frame_params
from dreamvideo.temporal.fast_motion import step_weights
from dreamvideo.temporal.level_control import (
    FrameInputs,
    level_control,
    measure_target_level,
    prepare_inputs,
    remeasured,
    uses_level_control,
)
from dreamvideo.temporal.local_boost import boost_change
from dreamvideo.types import TargetLevel, TemporalState

# The step size of a refresh relative to an iteration of a cold dream: with a persistence of 0.97 it
# makes up for what is lost. Measured on Big Buck Bunny.
REFRESH_EFFORT = 0.8


class TemporalDreamer:
    """Dreams frames in order; what a frame needs of the previous one is in a `TemporalState`."""

    def __init__(self, dreamer: Dreamer, settings: Settings, *, is_carried: bool = True) -> None:
        """Prepare.

        Args:
            dreamer: dreams one image.
            settings: how to dream each frame.
            is_carried: whether dreams are carried from frame to frame.
        """
        self.settings = settings
        self._dreamer = dreamer
        self._is_carried = is_carried
        self._is_level_controlled = is_carried and uses_level_control(settings)
        # A class has no positions at which its dream could be weak.
        self._is_boosted = self._is_level_controlled and settings.class_ is None
        self._side_worker = SideWorker(dreamer.device)

    def close(self) -> None:
        """End the thread of the boosts."""
        self._side_worker.close()

    def params(self, time_seconds: float) -> FrameParams:
        """The settings of a frame."""
        return frame_params(self.settings, time_seconds)

    def prepare(
        self, source: Tensor, frame_index: int, time_seconds: float, carry_map: CarryMap | None
    ) -> FrameInputs:
        """What can be computed of a frame before the previous one is dreamed.

        Args:
            source: (1, 3, H, W) in [0, 1].
            frame_index: index of the frame in the video.
            time_seconds: when it is shown.
            carry_map: from where each pixel of the dream is carried; None for the first frame of a
                shot.
        """
        return prepare_inputs(
            self._dreamer,
            source,
            frame_index,
            self.params(time_seconds),
            carry_map,
            is_level_controlled=self._is_level_controlled,
        )

    def dream(self, inputs: FrameInputs, state: TemporalState) -> tuple[Tensor, TemporalState]:
        """The residual (1, 3, H, W) of a frame, and the state for the next one.

        Args:
            inputs: of the frame.
            state: what the previous frame left.
        """
        carry_map = inputs.carry_map
        if carry_map is None or state.carried is None:
            # Inputs without a carry map were prepared for a cold dream.
            octaves = inputs.octaves if carry_map is None else None
            return self._dream_cold(inputs, octaves)
        target_level = remeasured(state.target_level, inputs)
        if target_level is None and inputs.source_values:
            # The shot began flat or black, as in a fade. A cold dream of this frame sets the target
            # level, but is not shown.
            _, cold_state = self._dream_cold(inputs, None)
            target_level = cold_state.target_level
        freshness = carry_freshness(state.freshness, carry_map)
        # Not only beside a boost: what the prefetching threads compute needs the other cores. In
        # fast motion the refresh takes longer than they do.
        is_sharing = self._is_boosted and not inputs.is_fast
        with self._side_worker.sharing_cores() if is_sharing else nullcontext():
            carried = carry(state.carried, carry_map, inputs.params.persistence)
            residual = self._refresh(carried, freshness, target_level, inputs)
        return residual, TemporalState(residual, target_level, freshness)

    def _dream_cold(
        self, inputs: FrameInputs, octaves: Sequence[Octave] | None
    ) -> tuple[Tensor, TemporalState]:
        residual = self._dreamer.dream(
            inputs.source, inputs.frame_index, inputs.params, octaves=octaves
        )
        if not self._is_carried:
            return residual, TemporalState()
        return residual, TemporalState(
            residual, measure_target_level(self._dreamer, inputs, residual)
        )

    def _refresh(
        self,
        carried: Tensor,
        freshness: Tensor | None,
        target_level: TargetLevel | None,
        inputs: FrameInputs,
    ) -> Tensor:
        """A carried residual (1, 3, H, W) after the frame's steps: everywhere, and where it is
        weak.

        Both start from the carried dream and run at the same time: one network does not keep two
        cores busy.
        """

        def refresh() -> Tensor:
            return self._dreamer.dream(
                inputs.source,
                inputs.frame_index,
                inputs.params,
                carried,
                effort=REFRESH_EFFORT,
                octaves=inputs.octaves,
                control=level_control(target_level, inputs),
                weights=None if freshness is None else step_weights(freshness, inputs.octaves),
            )

        if inputs.boost is None or target_level is None or target_level.typical_log_gain is None:
            return refresh()
        with self._side_worker.running(
            boost_change,
            self._dreamer,
            carried,
            inputs.boost,
            target_level.typical_log_gain,
            inputs.frame_index,
            inputs.params,
        ) as boost_result:
            residual, change = refresh(), boost_result()
        if change is None:
            return residual
        source = inputs.source
        return change.add_(residual).add_(source).clamp_(0, 1).sub_(source)
