"""How many steps a dream takes, how long they are, and by what the picture is shifted before each.

Refuses to know what a step is.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dreamvideo.dream.ascent import Shift
from dreamvideo.settings import Settings

# More iterations than any octave has: those of an ascent beside the octaves count from here.
OUT_OF_REACH = 1_000_000


def cold_steps(now: Settings, effort: float) -> tuple[int, float]:
    """Iterations and step size of a cold dream."""
    return now.iterations, now.step_size * now.strength * effort


def warm_steps(now: Settings, effort: float) -> tuple[int, float]:
    """Iterations and step size of a warm dream.

    More effort takes more steps, not longer ones; less takes shorter ones, not fewer.
    """
    iterations = max(now.warm_iterations, round(now.warm_iterations * effort), 1)
    return iterations, now.step_size * now.strength * effort * now.warm_iterations / iterations


def shifts(
    now: Settings, frame_index: int, octave: int, iterations: int, first: int = 0
) -> Iterator[Shift]:
    """One jitter per iteration, (down, right) px, each from a generator of its own.

    Seeding by place makes every frame the same in whatever order frames are dreamed.

    Args:
        now: the settings of the frame's time.
        frame_index: of the film.
        octave: its number.
        iterations: how many.
        first: the number of the first one.
    """
    for iteration in range(first, first + iterations):
        place = [now.seed, frame_index, octave, iteration]
        generator = np.random.default_rng(place)
        down, right = generator.integers(-now.jitter, now.jitter, 2, endpoint=True)
        yield int(down), int(right)
