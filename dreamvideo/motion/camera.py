"""Where a camera that zooms, turns and pans has taken things. Refuses to touch pictures.

Places are complex numbers: x + iy, in frame widths, from the middle of the frame, x to the right
and y down, so that multiplying by e^(iω) turns clockwise by ω.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from dreamvideo.schedule import Schedule
from dreamvideo.settings import Settings

# How much larger things grow in a second, where nothing else is asked for: fast enough to fall,
# slow enough to see what one falls into.
DEFAULT_ZOOM = 1.2
# Steps in which rates that change are added up. At a twentieth of this, ten seconds of the example
# in the help end within 0.001 frame widths of where they end at ten times this.
STEPS_PER_SECOND = 240
# Times between two keys at which the camera is asked how fast things come into view.
SAMPLES_PER_PIECE = 33


@dataclass(frozen=True)
class Move:
    """What happened to every place: it was multiplied by `factor`, then moved by `offset`."""

    factor: complex = 1.0
    offset: complex = 0.0

    def __call__(self, place: complex) -> complex:
        """Where a place has got to."""
        return self.factor * place + self.offset

    def inverse(self) -> Move:
        """What undoes it."""
        return Move(1 / self.factor, -self.offset / self.factor)

    @property
    def scale(self) -> float:
        """How many times larger things have grown."""
        return abs(self.factor)


class Camera:
    """The path of the camera that the settings describe."""

    def __init__(self, settings: Settings, width_px: int, height_px: int) -> None:
        """For a frame of a size."""
        zoom = DEFAULT_ZOOM if settings.zoom is None else settings.zoom
        self._rates: tuple[Any, ...] = (
            zoom,
            settings.rotate,
            settings.pan_x,
            settings.pan_y,
            settings.centre,
        )
        self._height_widths = height_px / width_px

    def between(self, begin_seconds: float, end_seconds: float) -> Move:
        """What happens between two times.

        A place q moves by q' = a·(q − c) − p, with a = ln(zoom) + i·rotation, c the centre and p
        the pan, each per second. Where they stay the same from s to t, that is solved by
        q(t) = e^(a(t−s))·q(s) + (e^(a(t−s)) − 1)/a · (−a·c − p); where they change, by doing so in
        short steps, each with the rates of its middle. Frames have no part in it: at any frame
        rate the camera takes the same path.
        """
        edges = self._edges(begin_seconds, end_seconds)
        lengths = np.diff(edges)
        turns, drifts = self._flow((edges[:-1] + edges[1:]) / 2)
        grown = turns * lengths
        offsets = drifts * lengths * _mean_growth(grown)
        # What is added in a step grows through all later ones.
        later = np.cumsum(grown[::-1])[::-1] - grown
        return Move(complex(np.exp(grown.sum())), complex((np.exp(later) * offsets).sum()))

    def log_growth(self, begin_seconds: float, end_seconds: float) -> float:
        """The logarithm of how many times larger things grow between two times.

        Over a long time the number itself may be too large, or too small, to be one.
        """
        edges = self._edges(begin_seconds, end_seconds)
        turns, _ = self._flow((edges[:-1] + edges[1:]) / 2)
        return float((turns.real * np.diff(edges)).sum())

    def largest_step(self, end_seconds: float, step_seconds: float) -> float:
        """The logarithm of the most that things grow or shrink in a step, up to a time."""
        return max(
            abs(self.log_growth(max(0.0, time - step_seconds / 2), time + step_seconds / 2))
            for time in self._telling_times(end_seconds)
        )

    def inflow(self, end_seconds: float) -> dict[str, float]:
        """How fast things come into view at the edges of the frame, in frame widths per second.

        Returns:
            The fastest up to a time at each of `left`, `right`, `top` and `bottom`; 0 where nothing
            comes in.
        """
        turns, drifts = self._flow(self._telling_times(end_seconds))
        half = complex(0.5, self._height_widths / 2)
        corners = np.array([-half, half.conjugate(), half, -half.conjugate()])
        # Motion is affine, so that along an edge it is fastest at one of the corners.
        motion = turns[:, None] * corners + drifts[:, None]
        inward = {
            "left": motion.real[:, [0, 3]],
            "right": -motion.real[:, [1, 2]],
            "top": motion.imag[:, [0, 1]],
            "bottom": -motion.imag[:, [2, 3]],
        }
        return {edge: max(0.0, float(speeds.max())) for edge, speeds in inward.items()}

    def _bounds(self, begin_seconds: float, end_seconds: float) -> list[float]:
        """Two times, and those of all keys between them."""
        schedules = [rate for rate in self._rates if isinstance(rate, Schedule)]
        keys = {time for schedule in schedules for time in schedule.times_seconds}
        inside = [time for time in sorted(keys) if begin_seconds < time < end_seconds]
        return [begin_seconds, *inside, end_seconds]

    def _telling_times(self, end_seconds: float) -> npt.NDArray[np.float64]:
        """Times at which the rates are what they are at their fastest, or nearly."""
        pieces = pairwise(self._bounds(0.0, end_seconds))
        return np.concatenate(
            [np.linspace(one, np.nextafter(other, one), SAMPLES_PER_PIECE) for one, other in pieces]
        )

    def _edges(self, begin_seconds: float, end_seconds: float) -> npt.NDArray[np.float64]:
        """The ends of steps in which the rates stay as good as the same."""
        pieces = []
        for one, other in pairwise(self._bounds(begin_seconds, end_seconds)):
            steps = max(1, math.ceil((other - one) * STEPS_PER_SECOND))
            if self._is_constant(one, float(np.nextafter(other, one))):
                steps = 1
            pieces.append(np.linspace(one, other, steps + 1)[:-1])
        return np.concatenate([*pieces, [end_seconds]])

    def _is_constant(self, begin_seconds: float, end_seconds: float) -> bool:
        """Whether no rate changes between two times that have no key between them."""
        return all(
            np.ptp(rate.numbers(np.array([begin_seconds, end_seconds])), axis=0).max() == 0
            for rate in self._rates
            if isinstance(rate, Schedule)
        )

    def _flow(
        self, times_seconds: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.complex128], npt.NDArray[np.complex128]]:
        """a and −a·c − p of `between`, per second, at some times."""
        zoom, rotate, pan_x, pan_y, centre = (
            rate.numbers(times_seconds)
            if isinstance(rate, Schedule)
            else np.broadcast_to(rate, times_seconds.shape + np.shape(rate))
            for rate in self._rates
        )
        turns = np.log(zoom) + 1j * np.radians(rotate)
        middle = (centre[..., 0] - 0.5) + 1j * (centre[..., 1] - 0.5) * self._height_widths
        return turns, -turns * middle - (pan_x + 1j * pan_y)


def _mean_growth(grown: npt.NDArray[np.complex128]) -> npt.NDArray[np.complex128]:
    """(e^x − 1) / x, which is 1 at 0."""
    small = np.abs(grown) < 1e-6
    safe = np.where(small, 1, grown)
    return np.where(small, 1 + grown / 2, np.expm1(safe) / safe)
