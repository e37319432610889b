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

from dreamvideo.dream import Dreamer, Focus, Octave, at_size, log_gains
from dreamvideo.frames import Hold, Memory
from dreamvideo.motion import Path, carry
from dreamvideo.pipeline.holding import HOLD_FIRMNESS, is_held, level_of, looked
from dreamvideo.pipeline.prepared import Prepared
from dreamvideo.pipeline.threads import Beside

# The smaller octaves are refreshed, and the strength of the source is looked at, in one frame of
# so many; in every second one, between them, the weakest part is. What both look at changes slowly:
# looking twice as often takes a tenth more time, and changes no figure of three films.
LOOK_EVERY, FOCUS_EVERY = 8, 2
# What is weak is looked for in a picture of this share of the size, but within these bounds of the
# longest side: one and a half times as large, it takes twice as long and finds less of it; much
# smaller, there are too few places.
LOOK_SHARE, LOOK_LEAST_PX, LOOK_MOST_PX = 0.5, 160, 640
# The octaves on which what is weak is dreamed, by turns, counted from the largest. Measured at
# 640×360: what came into view 5 frames ago has a gain of 1.69; with both as often it is 1.63, with
# the largest alone 1.72, but figures stay small.
FOCUS_OCTAVES = (0, 1, 0)
# A refresh steps so many times as far as a cold dream's iteration: with a persistence of 0.97 it
# makes up for what is lost. Measured on Big Buck Bunny.
REFRESH_EFFORT = 0.8
# The dream of a picture that is flat, such as the black one with which a film fades in, tells
# nothing of how strong the shot's is to be: below this mean texture it is not held.
LEAST_TEXTURE = 0.1
# Nor is it held by a cold dream that raised the objective by less.
LEAST_GAIN = 0.01


class Steady:
    """Dreams frames in order; what it needs of the last one is in a `Memory`."""

    def __init__(self, dreamer: Dreamer, *, is_carried: bool = True) -> None:
        """Args:
        dreamer: dreams one picture, as its settings say.
        is_carried: whether any dream is carried from frame to frame.
        """
        self._dreamer = dreamer
        self._is_carried = is_carried
        self._is_held = is_carried and is_held(dreamer.settings)
        # Of a class, nobody knows where it is weak.
        self._is_mended = self._is_held and dreamer.settings.class_ is None
        self._beside = Beside(dreamer.device)

    def prepare(
        self, picture: Tensor, frame_index: int, time_seconds: float, *, is_warm: bool
    ) -> Prepared:
        """All that can be known of a frame before the one before it is dreamed.

        Args:
            picture: (1, 3, H, W) in [0, 1], the source.
            frame_index: which of all frames it is: decides about the turns.
            time_seconds: of the frame.
            is_warm: whether a dream will be carried to it.
        """
        dreamer = self._dreamer
        looks = not is_warm or frame_index % LOOK_EVERY == 0
        octaves = dreamer.octaves(picture, time_seconds, is_warm=is_warm, every_octave=looks)
        focus, strengths = None, {}
        if self._is_held and octaves:
            # The strengths of a cold frame's source say what its dream gains.
            known = octaves[-self._count(time_seconds) :] if not is_warm else octaves
            if looks:
                strengths = {
                    o.number: self._strength(o.source, picture, time_seconds) for o in known
                }
            if not is_warm or frame_index % FOCUS_EVERY == 1:
                focus = self._focus(picture, frame_index, time_seconds)
        return Prepared(picture, tuple(octaves), strengths, focus)

    def dream(
        self,
        prepared: Prepared,
        frame_index: int,
        time_seconds: float,
        memory: Memory,
        path: Path | None,
    ) -> tuple[Tensor, Memory]:
        """The residual (1, 3, H, W) of a frame, and what the next one needs of it.

        Args:
            prepared: what is known of it.
            frame_index: which of all frames it is.
            time_seconds: of the frame.
            memory: what the frame before left.
            path: the way from there; None for the first frame of a shot.
        """
        if path is None or memory.carried is None:
            # Without a path, the octaves are a cold dream's.
            octaves = prepared.octaves if path is None else None
            return self._cold(prepared, frame_index, time_seconds, octaves)
        hold = looked(memory.hold, prepared)
        if hold is None and prepared.strengths:
            # The shot began flat or black, as in a fade. What a cold dream of it would be like now
            # is looked at, but not shown.
            _, would_be = self._cold(prepared, frame_index, time_seconds, None)
            hold = would_be.hold
        persistence = self._dreamer.settings.at(time_seconds).persistence
        # In every frame: what comes from threads ahead needs the others' cores.
        with self._beside.leaving_half() if self._is_mended else nullcontext():
            carried = carry(memory.carried, path, persistence)
            residual = self._refreshed(carried, hold, prepared, frame_index, time_seconds)
        return residual, Memory(residual, hold)

    def _cold(
        self,
        prepared: Prepared,
        frame_index: int,
        time_seconds: float,
        octaves: Sequence[Octave] | None,
    ) -> tuple[Tensor, Memory]:
        """What `dream` returns, of a frame that is dreamed cold."""
        residual = self._dreamer.dream(
            prepared.picture, frame_index, time_seconds=time_seconds, octaves=octaves
        )
        if not self._is_carried:
            return residual, Memory()
        return residual, Memory(residual, self._held(prepared, residual, time_seconds))

    def _refreshed(
        self,
        carried: Tensor,
        hold: Hold | None,
        prepared: Prepared,
        frame_index: int,
        time_seconds: float,
    ) -> Tensor:
        """A carried residual (1, 3, H, W) with the frame's steps: everywhere, and where it is weak.

        Neither waits for the other: a network does not keep two cores busy, two do.
        """
        picture = prepared.picture

        def refreshed() -> Tensor:
            return self._dreamer.dream(
                *(picture, frame_index, carried),
                time_seconds=time_seconds,
                effort=REFRESH_EFFORT,
                octaves=prepared.octaves,
                level=level_of(hold, prepared) if hold is not None and hold.gains else None,
                firmness=HOLD_FIRMNESS,
            )

        if prepared.focus is None or hold is None or hold.usual is None:
            return refreshed()
        weak = partial(self._dreamer.focused, carried, prepared.focus, hold.usual)
        with self._beside.doing(weak, frame_index, time_seconds) as weak_change:
            residual, change = refreshed(), weak_change()
        if change is None:
            return residual
        return change.add_(residual).add_(picture).clamp_(0, 1).sub_(picture)

    def _count(self, time_seconds: float) -> int:
        """How many octaves a shot is held at: those that are refreshed, and one to look at."""
        return max(2, self._dreamer.settings.at(time_seconds).warm_octaves)

    def _strength(self, image: Tensor, picture: Tensor, time_seconds: float) -> float:
        goal = self._dreamer.aim.goal(time_seconds, picture)
        return float(self._dreamer.value(image, goal))

    def _focus(self, picture: Tensor, frame_index: int, time_seconds: float) -> Focus | None:
        dreamer = self._dreamer
        wanted_px = round(max(picture.shape[-2:]) * LOOK_SHARE)
        most_px = min(max(wanted_px, LOOK_LEAST_PX), LOOK_MOST_PX)
        seen_at = dreamer.octave(picture, 0, time_seconds, most_px)
        places = dreamer.aim.places(time_seconds, picture, seen_at.source)
        if not places:
            return None
        turn = FOCUS_OCTAVES[frame_index // FOCUS_EVERY % len(FOCUS_OCTAVES)]
        return Focus(picture, dreamer.octave(picture, turn, time_seconds), seen_at, places)

    def _held(self, prepared: Prepared, residual: Tensor, time_seconds: float) -> Hold | None:
        """How a shot is held, given a cold dream of it; None if that does not tell."""
        if not prepared.strengths:
            return None
        picture = prepared.picture
        known = [octave for octave in prepared.octaves if octave.number in prepared.strengths]
        if float(known[-1].texture.mean()) < LEAST_TEXTURE:
            return None
        gains = tuple(
            self._strength(at_size(residual, octave), picture, time_seconds)
            - prepared.strengths[octave.number]
            for octave in reversed(known)
        )
        source = prepared.strengths[known[-1].number]
        if min(gains) < LEAST_GAIN:
            return Hold((), source, None)
        usual, focus = None, prepared.focus or self._focus(picture, 0, time_seconds)
        if focus is not None:
            seen = self._dreamer.aim.places(time_seconds, picture, at_size(residual, focus.seen_at))
            mean = float(log_gains(focus.places, seen, focus.seen_at.size).mean())
            usual = mean if mean >= LEAST_GAIN else None
        return Hold(gains, source, usual)
