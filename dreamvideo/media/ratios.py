"""PyAV's ratios as fractions. Refuses to know what they measure."""

from __future__ import annotations

from fractions import Fraction
from typing import Protocol


class Ratio(Protocol):
    """What PyAV's ratios have in common: Fraction before version 19, a type of its own since."""

    @property
    def numerator(self) -> int:
        """Above the line."""
        ...

    @property
    def denominator(self) -> int:
        """Below it."""
        ...


def as_fraction(ratio: Ratio) -> Fraction:
    """The same ratio, to calculate with."""
    return Fraction(ratio.numerator, ratio.denominator)
