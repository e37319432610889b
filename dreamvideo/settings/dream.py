"""What is dreamed, and how it holds together. Refuses to know of files and films."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from dreamvideo.errors import SettingsError
from dreamvideo.options import option, varying

# Seconds, 1:30 or 0:01:30.5.
TIME = re.compile(r"(?:(?:\d{1,9}:)?\d{1,9}:)?(?:\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})", re.ASCII)


@dataclass(frozen=True)
class DreamSettings:
    """Options of the ascent."""

    octaves: int = varying(
        4, "sizes of the picture that are dreamed on", group="dream", minimum=1, maximum=12
    )
    octave_scale: float = varying(
        1.4, "ratio of one octave's size to the next", group="dream", minimum=1.05, maximum=4.0
    )
    iterations: int = varying(
        10, "steps of ascent per octave in a cold dream", group="dream", minimum=1, maximum=1000
    )
    step_size: float = varying(
        0.015,
        "root mean square change of one step, of the range from black to white",
        group="dream",
        minimum=0.0,
        maximum=1.0,
    )
    strength: float = varying(
        1.0,
        "scales the whole ascent; 0 leaves the picture exactly as it is",
        group="dream",
        minimum=0.0,
        maximum=10.0,
    )
    jitter: int = varying(
        16,
        "largest random shift before each step",
        group="dream",
        unit="px",
        minimum=0,
        maximum=512,
    )
    smoothing: float | None = varying(
        None,
        "standard deviation of the blur on the gradient; less gives finer strokes and more noise "
        "(default: 2; 1.1 for films made of stills, which would lose their sharpness)",
        group="dream",
        unit="px",
        minimum=0.0,
        maximum=32.0,
    )
    natural_colour: float = varying(
        0.8,
        "how far the dream's colours follow those of natural pictures: 0 is neon, 1 muted",
        group="dream",
        minimum=0.0,
        maximum=1.0,
    )
    seed: int = varying(
        0,
        "start of the random numbers; the same seed gives the same frames",
        group="dream",
        minimum=0,
        maximum=2**53,  # the largest that keyframes can tell from its neighbours
    )


@dataclass(frozen=True)
class CoherenceSettings:
    """Options of what one frame leaves to the next."""

    flow: str = option(
        "dis",
        "how motion is measured: dis (fast), raft (a network, downloaded on first use), "
        "none (every frame is dreamed on its own and flickers)",
        group="coherence",
        choices=("dis", "raft", "none"),
    )
    persistence: float = varying(
        0.97,
        "share of the last frame's dream that is carried along the motion",
        group="coherence",
        minimum=0.0,
        maximum=1.0,
    )
    warm_iterations: int = varying(
        1,
        "steps of ascent per octave that refresh a carried dream",
        group="coherence",
        minimum=0,
        maximum=1000,
    )
    warm_octaves: int = varying(
        2,
        "octaves, counted from the largest, that refresh a carried dream: the largest in every "
        "frame, the others in every eighth",
        group="coherence",
        minimum=1,
        maximum=12,
    )
    evolve: float = option(
        0.0,
        "how fast figures turn into others, also where nothing moves: 0.1 comes round in 10 "
        "seconds, 0 lets them stay what they are",
        group="coherence",
        unit="per second",
        minimum=0.0,
        maximum=10.0,
    )
    passes: int = option(
        1,
        "how often films are dreamed: 2 dreams each shot backward first, so that what comes into "
        "view is dreamed already; takes twice the time, and room on the disk",
        group="coherence",
        minimum=1,
        maximum=2,
    )
    cuts: str = option(
        "auto",
        "where new shots begin, and their dreams anew: auto (found by colour; fades and flashes "
        "are none), none, or times of the film in seconds or as mm:ss, with commas between",
        group="coherence",
        join=",".join,
    )

    @property
    def cut_times_seconds(self) -> tuple[Fraction, ...] | None:
        """The times that `cuts` names, none for `none`; None if they are to be found.

        Raises:
            SettingsError: it is none of these.
        """
        if self.cuts in ("auto", "none"):
            return None if self.cuts == "auto" else ()
        texts = [text.strip() for text in self.cuts.split(",")]
        if not all(map(TIME.fullmatch, texts)):
            raise SettingsError(
                f"cuts cannot be {self.cuts!r}: allowed is auto or none, or times of the film in "
                "seconds or as mm:ss, with commas between, such as 3.2,0:15 (default auto)"
            )
        return tuple(map(_exact_seconds, texts))


def _exact_seconds(text: str) -> Fraction:
    """The decimal number that was typed, not the binary one that is nearest to it."""
    total = Fraction(0)
    for part in text.split(":"):
        total = total * 60 + Fraction(part)
    return total
