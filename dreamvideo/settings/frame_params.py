"""The settings of one frame: keyframes resolved to plain numbers.

`temporal/` and `zoom/` resolve them once per frame. Nothing below these rooms sees `Settings` or a
time.
"""

from __future__ import annotations

from dataclasses import dataclass

from dreamvideo.settings import Settings

# Standard deviation of the blur on the gradient of a video or image unless the settings say
# otherwise: less leaves more noise than strokes.
DEFAULT_SMOOTHING_PX = 2.0


@dataclass(frozen=True)
class ObjectiveParams:
    """What is maximized: the same in all frames of a run."""

    name: str = "l2"
    """A key of `dream.objectives.OBJECTIVES`."""
    channels: tuple[int, ...] = ()
    """Indices of the channels; none for all."""
    strongest: int | None = None
    """If given, only so many channels: those with the most energy on the source."""
    weakest: int | None = None
    """Likewise, those with the least energy."""
    evolves: bool = False
    """Whether the emphasis moves from channel to channel over time."""
    evolution_seed: int = 0
    """Determines the phase of each channel."""

    @property
    def is_ranked(self) -> bool:
        """Whether the source decides which channels are chosen."""
        return bool(self.strongest or self.weakest)


@dataclass(frozen=True)
class FrameParams:
    """Every number that the dream of one frame depends on."""

    layers: tuple[tuple[str, float], ...]
    """Layer names and weights; the absolute values of the weights add up to 1."""
    objective: ObjectiveParams
    evolution_cycles: float
    """How many cycles the emphasis has completed at the time of the frame."""
    octaves: int
    octave_scale: float
    iterations: int
    """Steps per octave of a cold dream."""
    step_size: float
    """Root mean square of one step, for images in [0, 1]."""
    strength: float
    """Multiplies the step size; 0 leaves the image unchanged."""
    jitter_px: int
    smoothing_px: float
    natural_colour: float
    seed: int
    persistence: float
    """Share of the previous frame's residual that is carried over, in [0, 1]."""
    warm_iterations: int
    warm_octaves: int
    mix: float
    """Share of the dream in the composited image, in [0, 1]."""
    keep_colour: bool
    """Whether only the luma of the dream is shown."""
    colour_anchor: float
    """Of a zoom: share of the way back to the still's colours in one second, in [0, 1]."""


def frame_params(settings: Settings, time_seconds: float) -> FrameParams:
    """The settings at one time."""
    now = settings.at(time_seconds)
    return FrameParams(
        layers=tuple(settings.layers_at(time_seconds)),
        objective=ObjectiveParams(
            name=_objective_name(settings),
            channels=settings.channel,
            strongest=settings.strongest,
            weakest=settings.weakest,
            evolves=settings.evolve != 0,
            evolution_seed=settings.at(0.0).seed,
        ),
        evolution_cycles=settings.evolve * time_seconds,
        octaves=now.octaves,
        octave_scale=now.octave_scale,
        iterations=now.iterations,
        step_size=now.step_size,
        strength=now.strength,
        jitter_px=now.jitter,
        smoothing_px=DEFAULT_SMOOTHING_PX if now.smoothing is None else now.smoothing,
        natural_colour=now.natural_colour,
        seed=now.seed,
        persistence=now.persistence,
        warm_iterations=now.warm_iterations,
        warm_octaves=now.warm_octaves,
        mix=now.mix,
        keep_colour=now.keep_colour,
        colour_anchor=now.colour_anchor,
    )


def _objective_name(settings: Settings) -> str:
    if settings.class_ is not None:
        return "class"
    return "guide" if settings.guide is not None else settings.objective
