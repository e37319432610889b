"""Which pictures of a film are taken, and when they are shown. Refuses to decode or convert."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain

import av

# Rates that are written with three digits, and are meant exactly: 23.976 is 24000/1001.
NTSC_FACTOR = Fraction(1000, 1001)
RATE_TOLERANCE = Fraction(1, 1000)
LARGEST_RATE_DENOMINATOR = 10_000


@dataclass(frozen=True)
class Moment:
    """A decoded picture and when it is shown."""

    time_seconds: Fraction
    picture: av.VideoFrame
    duration_seconds: Fraction | None = None


def exact_rate(fps: float) -> Fraction:
    """The rate that a rounded number means."""
    for rate in (Fraction(round(fps)), math.ceil(fps) * NTSC_FACTOR):
        if abs(rate - Fraction(fps)) < RATE_TOLERANCE:
            return rate
    return Fraction(fps).limit_denominator(LARGEST_RATE_DENOMINATOR)


def exact_seconds(seconds: float | None) -> Fraction | None:
    """The decimal number that was typed, not the binary one that is nearest to it."""
    return None if seconds is None else Fraction(str(seconds))


def trimmed(
    moments: Iterable[Moment], begin_seconds: Fraction | None, end_seconds: Fraction | None
) -> Iterator[Moment]:
    """The moments from the beginning on, up to the end, on a clock that is 0 at the beginning."""
    for moment in moments:
        time_seconds, duration_seconds = moment.time_seconds, moment.duration_seconds
        if end_seconds is not None:
            if time_seconds >= end_seconds:
                return
            if duration_seconds is not None:
                duration_seconds = min(duration_seconds, end_seconds - time_seconds)
        if begin_seconds is None or time_seconds >= begin_seconds:
            yield Moment(time_seconds - (begin_seconds or 0), moment.picture, duration_seconds)


def every_nth(moments: Iterable[Moment], step: int) -> Iterator[Moment]:
    """Each `step`-th moment, from the first; it lasts until the next one."""
    taken: Moment | None = None
    for index, moment in enumerate(moments):
        if index % step == 0:
            if taken is not None:
                yield taken
            taken = moment
        elif taken is not None and taken.duration_seconds and moment.duration_seconds:
            taken = replace(
                taken, duration_seconds=taken.duration_seconds + moment.duration_seconds
            )
    if taken is not None:
        yield taken


def at_rate(
    moments: Iterable[Moment], rate: Fraction, first_index: int, usual_seconds: Fraction
) -> Iterator[Moment]:
    """What is seen at each tick of a constant rate, from tick `first_index` on.

    Args:
        moments: from one that is seen at that tick, or an earlier one; on a clock with ticks at
            whole multiples of 1 / rate.
        rate: ticks per second.
        first_index: of the first tick.
        usual_seconds: how long the last moment lasts where it does not say.
    """
    tick = first_index
    previous: Moment | None = None
    for moment in chain(moments, [None]):
        if previous is not None:
            end = (
                moment.time_seconds
                if moment is not None
                else previous.time_seconds + (previous.duration_seconds or usual_seconds)
            )
            while tick / rate < end:
                yield Moment(tick / rate, previous.picture, 1 / rate)
                tick += 1
        previous = moment
