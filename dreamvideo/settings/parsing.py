"""The values of options as they are written on a command line.

Each function raises `ValueError` for what it cannot read.
"""

from __future__ import annotations

from fractions import Fraction


def parse_seconds(text: str) -> float:
    """Seconds from `90`, `1:30` or `0:01:30.5`."""
    total = 0.0
    for part in text.split(":"):
        total = total * 60 + float(part)
    return total


def parse_rate(text: str) -> float:
    """Frames per second from `24`, `23.976` or `24000/1001`."""
    try:
        return float(Fraction(text))
    except ZeroDivisionError:
        raise ValueError(text) from None


def parse_pair(text: str) -> tuple[float, float]:
    """Two numbers from `0.5,0.25`."""
    one, other = map(float, text.split(","))
    return one, other


def parse_triple(text: str) -> tuple[float, ...]:
    """Three numbers from `0.5,0.5,0.5`."""
    return tuple(map(float, text.split(",")))


def parse_indices(text: str) -> tuple[int, ...]:
    """Whole numbers from `12` or `12,40`."""
    return tuple(map(int, text.split(",")))
