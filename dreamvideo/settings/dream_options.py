"""Options of compositing, the gradient ascent and temporal coherence."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from dreamvideo.errors import SettingsError
from dreamvideo.settings.options import SEQUENCES, JobKind, option, varying

COMPOSITING = "compositing"


@dataclass(frozen=True)
class CompositingSettings:
    """Options of how the dream is blended with its source."""

    mask: str | None = option(
        None,
        "where to dream: white is dreamed, black stays as it is; an image, or for videos also a "
        "video of the same length or a folder with an image for each output frame",
        group=COMPOSITING,
        applies_to=SEQUENCES | JobKind.STILL,
        names_file=True,
    )
    mix: float = varying(
        1.0,
        "opacity of the dream: 0 shows the source, 1 the dream",
        group=COMPOSITING,
        applies_to=SEQUENCES | JobKind.STILL,
        minimum=0.0,
        maximum=1.0,
        affects_level=False,  # blending happens after the dream
        affects_cold_gain=False,
    )
    keep_colour: bool = option(
        False,
        "take the brightness from the dream and the colours from the source",
        group=COMPOSITING,
        applies_to=SEQUENCES | JobKind.STILL,
    )


ASCENT = "gradient ascent"


@dataclass(frozen=True)
class DreamSettings:
    """Options of the gradient ascent."""

    octaves: int = varying(
        4,
        "number of image sizes to dream at, from small to full size",
        group=ASCENT,
        minimum=1,
        maximum=12,
        affects_level=True,
        affects_cold_gain=True,
    )
    octave_scale: float = varying(
        1.4,
        "ratio between the sizes of two successive octaves",
        group=ASCENT,
        minimum=1.05,
        maximum=4.0,
        affects_level=True,
        affects_cold_gain=True,
    )
    iterations: int = varying(
        10,
        "ascent steps per octave, for still images and for the first frame of each shot",
        group=ASCENT,
        minimum=1,
        maximum=1000,
        affects_level=True,
        affects_cold_gain=True,
    )
    step_size: float = varying(
        0.015,
        "RMS change of the image in one step, where the range from black to white is 1",
        group=ASCENT,
        minimum=0.0,
        maximum=1.0,
        affects_level=True,
        affects_cold_gain=True,
    )
    strength: float = varying(
        1.0,
        "factor on every step; 0 leaves the image exactly as it is",
        group=ASCENT,
        minimum=0.0,
        maximum=10.0,
        affects_level=True,
        affects_cold_gain=False,  # the gain is measured at a strength of 1
    )
    jitter: int = varying(
        16,
        "largest random shift of the image before each step",
        group=ASCENT,
        unit="px",
        minimum=0,
        maximum=512,
        affects_level=False,
        affects_cold_gain=True,
    )
    smoothing: float | None = varying(
        None,
        "standard deviation of the blur on the gradient; less gives finer strokes and more noise",
        group=ASCENT,
        default_text="2; 1.1 for zooms, which lose sharpness in every frame",
        unit="px",
        minimum=0.0,
        maximum=32.0,
        affects_level=True,
        affects_cold_gain=True,
    )
    natural_colour: float = varying(
        0.8,
        "how far the dream's colours follow those of natural images: 0 is neon, 1 is muted",
        group=ASCENT,
        minimum=0.0,
        maximum=1.0,
        affects_level=True,
        affects_cold_gain=True,
    )
    seed: int = varying(
        0,
        "random seed; the same seed gives the same frames",
        group=ASCENT,
        minimum=0,
        maximum=2**53,  # float64, in which keyframes are interpolated, is exact up to here
        affects_level=False,
        affects_cold_gain=False,
    )


COHERENCE = "temporal coherence (videos)"


@dataclass(frozen=True)
class CoherenceSettings:
    """Options of how the dream is carried from frame to frame."""

    flow: str = option(
        "dis",
        "optical flow method: dis (fast), raft (a network, downloaded on first use), none (each "
        "frame is dreamed by itself, which flickers)",
        group=COHERENCE,
        applies_to=SEQUENCES,
        choices=("dis", "raft", "none"),
    )
    persistence: float = varying(
        0.97,
        "share of the previous frame's dream that is carried along the motion",
        group=COHERENCE,
        applies_to=SEQUENCES,
        minimum=0.0,
        maximum=1.0,
        affects_level=True,
        affects_cold_gain=False,
    )
    warm_iterations: int = varying(
        1,
        "ascent steps per octave that refresh the carried dream in each frame",
        group=COHERENCE,
        applies_to=SEQUENCES | JobKind.ZOOM,
        minimum=0,
        maximum=1000,
        affects_level=True,
        affects_cold_gain=False,
    )
    warm_octaves: int = varying(
        2,
        "number of octaves that are refreshed, from the largest down: the largest in every frame, "
        "the others in every eighth; in fast motion twice as many, in every frame",
        group=COHERENCE,
        applies_to=SEQUENCES | JobKind.ZOOM,
        minimum=1,
        maximum=12,
        affects_level=True,
        affects_cold_gain=False,
    )
    evolve: float = option(
        0.0,
        "how fast the emphasis moves from channel to channel, so that the dream changes even where "
        "nothing moves; 0 keeps it",
        group=COHERENCE,
        conflicts_with=("class_",),
        applies_to=SEQUENCES,
        unit="cycles per second",
        minimum=0.0,
        maximum=10.0,
    )
    passes: int = option(
        1,
        "passes over the video: 2 dreams each shot backward first, so that areas are already "
        "dreamed when they come into view; takes twice the time, and disk space",
        group=COHERENCE,
        applies_to=JobKind.VIDEO | JobKind.FOLDER,
        minimum=1,
        maximum=2,
    )
    cuts: str = option(
        "auto",
        "where new shots start, each with a new dream: auto (detected by colour; fades and flashes "
        "are not cuts), none, or times of the video in seconds or mm:ss, separated by commas",
        group=COHERENCE,
        applies_to=SEQUENCES,
        join=",".join,
    )

    @property
    def cut_times_seconds(self) -> tuple[Fraction, ...] | None:
        """The times that `cuts` lists, () for `none`; None if cuts are to be detected.

        Raises:
            SettingsError: `cuts` is malformed.
        """
        if self.cuts in ("auto", "none"):
            return None if self.cuts == "auto" else ()
        texts = [text.strip() for text in self.cuts.split(",")]
        if not all(map(_TIME.fullmatch, texts)):
            raise SettingsError(
                f"cuts cannot be {self.cuts!r}: allowed is auto or none, or times of the video in "
                "seconds or mm:ss, separated by commas, such as 3.2,0:15 (default auto)"
            )
        return tuple(map(_exact_seconds, texts))


# Seconds, 1:30 or 0:01:30.5.
_TIME = re.compile(r"(?:(?:\d{1,9}:)?\d{1,9}:)?(?:\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})", re.ASCII)


def _exact_seconds(text: str) -> Fraction:
    """The decimal number as typed; a float would round it, and miss a frame at that time."""
    total = Fraction(0)
    for part in text.split(":"):
        total = total * 60 + Fraction(part)
    return total
