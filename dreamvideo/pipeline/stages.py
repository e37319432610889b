"""When a journey leaves which still and nears which one. Refuses to touch pictures.

A journey through n stills has n stages of equal length. It leaves a still at the beginning of each;
at its end the next one has arrived, or in a loop, after the last stage, the first one again.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from dreamvideo.schedule import smoothstep

# In the first second the dream grows out of a still, in the last one it gives way to the next; of
# short stages that takes a third each.
FADE_SECONDS = 1.0
LONGEST_FADE = 1 / 3


@dataclass(frozen=True)
class Stage:
    """A part of a journey."""

    leaving: int
    """The still that was passed last."""
    nearing: int | None
    """The still that comes next; None at the end of a journey that is no loop."""
    begin_seconds: Fraction
    end_seconds: Fraction

    @property
    def fade_seconds(self) -> float:
        """How long the dream takes to grow, and to give way."""
        return min(FADE_SECONDS, float(self.end_seconds - self.begin_seconds) * LONGEST_FADE)

    def dream_share(self, time_seconds: Fraction) -> float:
        """How far the dream has grown, and not given way yet, in [0, 1]."""
        grown = smooth(float(time_seconds - self.begin_seconds) / self.fade_seconds)
        if self.nearing is None:
            return grown
        return grown * smooth(float(self.end_seconds - time_seconds) / self.fade_seconds)

    def nearing_share(self, time_seconds: Fraction) -> float:
        """How far the journey has got from the one still to the other, in [0, 1]."""
        if self.nearing is None:
            return 0.0
        length = self.end_seconds - self.begin_seconds
        return smooth(float((time_seconds - self.begin_seconds) / length))


def stage_at(
    time_seconds: Fraction, stills: int, duration_seconds: Fraction, is_loop: bool
) -> Stage:
    """The stage of a journey at a time, exactly: a stage may begin with a frame."""
    length = duration_seconds / stills
    leaving = min(int(time_seconds / length), stills - 1)
    nearing = leaving + 1 if leaving + 1 < stills else (0 if is_loop else None)
    return Stage(leaving, nearing, leaving * length, (leaving + 1) * length)


def smooth(share: float) -> float:
    """0 below 0, 1 above 1, and between them slow at both ends."""
    return smoothstep(min(1.0, max(0.0, share)))
