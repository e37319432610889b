"""Dreams the frames of a film one after another, each shot as strongly as it began.

A shot's first frame is dreamed cold. In all others the carried dream is refreshed: its largest
octave in every frame; by turns, the smaller octaves and what is weak, such as a figure that has
just come into view. Refuses to know how motion is measured and where frames come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial

from torch import Tensor

from dreamvideo.dream.dreamer import Dreamer
from dreamvideo.dream.pyramid import Octave, at_octave_size
from dreamvideo.motion.warp import CarryMap, carry
from dreamvideo.runtime.threads import SideWorker
from dreamvideo.temporal.level_control import (
    VIDEO_LEVEL_FIRMNESS,
    FrameInputs,
    level_function,
    uses_level_control,
    with_remeasured_source,
)
from dreamvideo.temporal.local_boost import BoostInputs, boost_change, log_gains
from dreamvideo.types import TargetLevel, TemporalState

# The smaller octaves are refreshed, and the strength of the source is looked at, in one frame of
# so many; in every second one, between them, the weakest part is. What both look at changes slowly:
# looking twice as often takes a tenth more time, and changes no figure of three films.
REMEASURE_INTERVAL, BOOST_INTERVAL = 8, 2
# What is weak is looked for in a picture of this share of the size, but within these bounds of the
# longest side: one and a half times as large, it takes twice as long and finds less of it; much
# smaller, there are too few places.
BOOST_PROBE_SHARE, BOOST_PROBE_MIN_PX, BOOST_PROBE_MAX_PX = 0.5, 160, 640
# The octaves on which what is weak is dreamed, by turns, counted from the largest. Measured at
# 640×360: what came into view 5 frames ago has a gain of 1.69; with both as often it is 1.63, with
# the largest alone 1.72, but figures stay small.
BOOST_OCTAVES = (0, 1, 0)
# A refresh steps so many times as far as a cold dream's iteration: with a persistence of 0.97 it
# makes up for what is lost. Measured on Big Buck Bunny.
REFRESH_EFFORT = 0.8
# The dream of a picture that is flat, such as the black one with which a film fades in, tells
# nothing of how strong the shot's is to be: below this mean texture it is not held.
MIN_TEXTURE = 0.1
# Nor is it held by a cold dream that raised the objective by less.
MIN_LOG_GAIN = 0.01


class TemporalDreamer:
    """Dreams frames in order; what it needs of the last one is in a `Memory`."""

    def __init__(self, dreamer: Dreamer, *, is_carried: bool = True) -> None:
        """Args:
        dreamer: dreams one picture, as its settings say.
        is_carried: whether any dream is carried from frame to frame.
        """
        self._dreamer = dreamer
        self._is_carried = is_carried
        self._is_held = is_carried and uses_level_control(dreamer.settings)
        # Of a class, nobody knows where it is weak.
        self._is_mended = self._is_held and dreamer.settings.class_ is None
        self._beside = SideWorker(dreamer.device)

    def prepare(
        self, picture: Tensor, frame_index: int, time_seconds: float, *, is_warm: bool
    ) -> FrameInputs:
        """All that can be known of a frame before the one before it is dreamed.

        Args:
            picture: (1, 3, H, W) in [0, 1], the source.
            frame_index: which of all frames it is: decides about the turns.
            time_seconds: of the frame.
            is_warm: whether a dream will be carried to it.
        """
        dreamer = self._dreamer
        looks = not is_warm or frame_index % REMEASURE_INTERVAL == 0
        octaves = dreamer.octaves(picture, time_seconds, is_warm=is_warm, every_octave=looks)
        boost, source_values = None, {}
        if self._is_held and octaves:
            # The strengths of a cold frame's source say what its dream gains.
            known = octaves[-self._count(time_seconds) :] if not is_warm else octaves
            if looks:
                source_values = {
                    o.number: self._strength(o.source, picture, time_seconds) for o in known
                }
            if not is_warm or frame_index % BOOST_INTERVAL == 1:
                boost = self._boost(picture, frame_index, time_seconds)
        return FrameInputs(picture, tuple(octaves), source_values, boost)

    def dream(
        self,
        inputs: FrameInputs,
        frame_index: int,
        time_seconds: float,
        state: TemporalState,
        path: CarryMap | None,
    ) -> tuple[Tensor, TemporalState]:
        """The residual (1, 3, H, W) of a frame, and what the next one needs of it.

        Args:
            prepared: what is known of it.
            frame_index: which of all frames it is.
            time_seconds: of the frame.
            memory: what the frame before left.
            path: the way from there; None for the first frame of a shot.
        """
        if path is None or state.carried is None:
            # Without a path, the octaves are a cold dream's.
            octaves = inputs.octaves if path is None else None
            return self._cold(inputs, frame_index, time_seconds, octaves)
        target_level = with_remeasured_source(state.target_level, inputs)
        if target_level is None and inputs.source_values:
            # The shot began flat or black, as in a fade. What a cold dream of it would be like now
            # is looked at, but not shown.
            _, would_be = self._cold(inputs, frame_index, time_seconds, None)
            target_level = would_be.target_level
        persistence = self._dreamer.settings.at(time_seconds).persistence
        # In every frame: what comes from threads ahead needs the others' cores.
        with self._beside.leaving_half() if self._is_mended else nullcontext():
            carried = carry(state.carried, path, persistence)
            residual = self._refreshed(carried, target_level, inputs, frame_index, time_seconds)
        return residual, TemporalState(residual, target_level)

    def _cold(
        self,
        inputs: FrameInputs,
        frame_index: int,
        time_seconds: float,
        octaves: Sequence[Octave] | None,
    ) -> tuple[Tensor, TemporalState]:
        """What `dream` returns, of a frame that is dreamed cold."""
        residual = self._dreamer.dream(
            inputs.picture, frame_index, time_seconds=time_seconds, octaves=octaves
        )
        if not self._is_carried:
            return residual, TemporalState()
        return residual, TemporalState(residual, self._held(inputs, residual, time_seconds))

    def _refreshed(
        self,
        carried: Tensor,
        target_level: TargetLevel | None,
        inputs: FrameInputs,
        frame_index: int,
        time_seconds: float,
    ) -> Tensor:
        """A carried residual (1, 3, H, W) with the frame's steps: everywhere, and where it is weak.

        Neither waits for the other: a network does not keep two cores busy, two do.
        """
        picture = inputs.picture

        def refreshed() -> Tensor:
            return self._dreamer.dream(
                *(picture, frame_index, carried),
                time_seconds=time_seconds,
                effort=REFRESH_EFFORT,
                octaves=inputs.octaves,
                level=level_function(target_level, inputs)
                if target_level is not None and target_level.gains
                else None,
                firmness=VIDEO_LEVEL_FIRMNESS,
            )

        if inputs.boost is None or target_level is None or target_level.typical_log_gain is None:
            return refreshed()
        weak = partial(
            boost_change, self._dreamer, carried, inputs.boost, target_level.typical_log_gain
        )
        with self._beside.doing(weak, frame_index, time_seconds) as weak_change:
            residual, change = refreshed(), weak_change()
        if change is None:
            return residual
        return change.add_(residual).add_(picture).clamp_(0, 1).sub_(picture)

    def _count(self, time_seconds: float) -> int:
        """How many octaves a shot is held at: those that are refreshed, and one to look at."""
        return max(2, self._dreamer.settings.at(time_seconds).warm_octaves)

    def _strength(self, image: Tensor, picture: Tensor, time_seconds: float) -> float:
        objective = self._dreamer.objectives.objective(time_seconds, picture)
        return float(self._dreamer.value(image, objective))

    def _boost(self, picture: Tensor, frame_index: int, time_seconds: float) -> BoostInputs | None:
        dreamer = self._dreamer
        wanted_px = round(max(picture.shape[-2:]) * BOOST_PROBE_SHARE)
        max_px = min(max(wanted_px, BOOST_PROBE_MIN_PX), BOOST_PROBE_MAX_PX)
        seen_at = dreamer.octave(picture, 0, time_seconds, max_px)
        places = dreamer.objectives.places(time_seconds, picture, seen_at.source)
        if not places:
            return None
        turn = BOOST_OCTAVES[frame_index // BOOST_INTERVAL % len(BOOST_OCTAVES)]
        return BoostInputs(picture, dreamer.octave(picture, turn, time_seconds), seen_at, places)

    def _held(
        self, inputs: FrameInputs, residual: Tensor, time_seconds: float
    ) -> TargetLevel | None:
        """How a shot is held, given a cold dream of it; None if that does not tell."""
        if not inputs.source_values:
            return None
        picture = inputs.picture
        known = [octave for octave in inputs.octaves if octave.number in inputs.source_values]
        if float(known[-1].texture.mean()) < MIN_TEXTURE:
            return None
        gains = tuple(
            self._strength(at_octave_size(residual, octave), picture, time_seconds)
            - inputs.source_values[octave.number]
            for octave in reversed(known)
        )
        source = inputs.source_values[known[-1].number]
        if min(gains) < MIN_LOG_GAIN:
            return TargetLevel((), source, None)
        typical_log_gain, boost = None, inputs.boost or self._boost(picture, 0, time_seconds)
        if boost is not None:
            seen = self._dreamer.objectives.places(
                time_seconds, picture, at_octave_size(residual, boost.seen_at)
            )
            mean = float(log_gains(boost.places, seen, boost.seen_at.size).mean())
            typical_log_gain = mean if mean >= MIN_LOG_GAIN else None
        return TargetLevel(gains, source, typical_log_gain)
