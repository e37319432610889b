"""The metrics by name: how each is computed and how it is reported.

To add a metric, write its formula in `formulas.py` and give it a row in `FRAME_METRICS`, if it has
a value in each frame, or in `VIDEO_METRICS`, if it is reported for the whole video, or in both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

import numpy as np
from torch import Tensor

from dreamvideo.metrics.formulas import (
    Matches,
    clipped_share,
    flow_difference,
    luma,
    residual_energies,
    saturation,
    warping_error,
)
from dreamvideo.motion.flow import FlowEstimator
from dreamvideo.types import FloatArray

# Drift compares this many frames at the beginning, without the first, which is a cold dream, with
# as many at the end.
DRIFT_FRAMES = 20

# From two images (1, 3, H, W) in [0, 1] to how different they look, 0 or more.
PerceptualDistance = Callable[[Tensor, Tensor], float]


class Role(Enum):
    """One of the two videos that are compared."""

    SOURCE = "source"
    DREAM = "dream"


@dataclass(frozen=True, eq=False)
class FramePair:
    """A frame of the source and the dream of it."""

    time_seconds: float
    source: FloatArray
    """(H, W, 3) in [0, 1]."""
    dream: FloatArray
    """(H, W, 3) in [0, 1]."""


@dataclass(frozen=True, eq=False)
class UploadedPair:
    """A frame pair, on the CPU and on the device."""

    arrays: FramePair
    source: Tensor
    """(1, 3, H, W) in [0, 1]."""
    dream: Tensor
    """(1, 3, H, W) in [0, 1]."""

    def image(self, role: Role) -> Tensor:
        """The image of one of the two videos."""
        return self.source if role is Role.SOURCE else self.dream


@dataclass(frozen=True, eq=False)
class EarlierPair:
    """An earlier frame pair of the same shot, and the current frame's matches with it."""

    pair: UploadedPair
    matches: Matches
    """Of the source."""


@dataclass(frozen=True, eq=False)
class FrameContext:
    """What the metrics of a frame are computed from."""

    pair: UploadedPair
    previous: EarlierPair | None
    """The previous frame; None in the first frame of a shot."""
    early: EarlierPair | None
    """The frame 8 frames earlier; None if it is not in the same shot."""
    dream_gain: float
    flow: FlowEstimator
    perceptual: PerceptualDistance | None
    """None leaves out the metrics that need it."""

    @cached_property
    def residual_energies(self) -> tuple[float, float]:
        """See `formulas.residual_energies`."""
        return residual_energies(self.pair.source, self.pair.dream)


@dataclass(frozen=True)
class FrameMetric:
    """A row of the registry: a value in each frame."""

    compute: Callable[[FrameContext, Role], float | None]
    """None where the frame has no value, as the first one of a shot has no motion."""
    has_source: bool = False
    """Whether the source is measured as well, under the name `source_…`."""


def _warping_error(context: FrameContext, role: Role, earlier: EarlierPair | None) -> float | None:
    if earlier is None:
        return None
    return warping_error(context.pair.image(role), earlier.pair.image(role), earlier.matches)


def _flow_difference(context: FrameContext, _role: Role) -> float | None:
    if context.previous is None:
        return None
    dream_flow = context.flow(context.pair.arrays.dream, context.previous.pair.arrays.dream)
    return flow_difference(context.previous.matches.flow, dream_flow)


def _perceptual_difference(context: FrameContext, _role: Role) -> float | None:
    """tLP (Chu et al. 2020, section 5): |LP(s', s) − LP(d', d)|.

    LP is LPIPS (Zhang et al. 2018), s and d are source and dream, s' and d' the previous ones.
    """
    if context.previous is None or context.perceptual is None:
        return None
    source, dream = (
        context.perceptual(context.previous.pair.image(role), context.pair.image(role))
        for role in (Role.SOURCE, Role.DREAM)
    )
    return abs(source - dream)


def _of_image(formula: Callable[[Tensor], float]) -> FrameMetric:
    return FrameMetric(lambda context, role: formula(context.pair.image(role)), has_source=True)


FRAME_METRICS = {
    # The error of the source shows how much is due to noise and to inexact flow.
    "warping_error": FrameMetric(
        lambda context, role: _warping_error(context, role, context.previous), has_source=True
    ),
    "long_warping_error": FrameMetric(
        lambda context, role: _warping_error(context, role, context.early), has_source=True
    ),
    "flow_difference": FrameMetric(_flow_difference),
    "perceptual_difference": FrameMetric(_perceptual_difference),
    "dream_gain": FrameMetric(lambda context, _role: context.dream_gain),
    "clipped": _of_image(clipped_share),
    "luma": _of_image(luma),
    "saturation": _of_image(saturation),
    "fine_energy": FrameMetric(lambda context, _role: context.residual_energies[0]),
    "flat_energy": FrameMetric(lambda context, _role: context.residual_energies[1]),
}


def source_name(name: str) -> str:
    """The name of a metric of the source, given that of the dream."""
    return f"source_{name}"


@dataclass(frozen=True)
class FrameMetrics:
    """The values of one frame."""

    time_seconds: float
    values: Mapping[str, float | None]
    """By name, see `FRAME_METRICS`; None where the frame has no value."""


def frame_metrics(context: FrameContext) -> FrameMetrics:
    """The values of all rows of `FRAME_METRICS`."""
    values = {}
    for name, metric in FRAME_METRICS.items():
        values[name] = metric.compute(context, Role.DREAM)
        if metric.has_source:
            values[source_name(name)] = metric.compute(context, Role.SOURCE)
    return FrameMetrics(context.pair.arrays.time_seconds, values)


@dataclass(frozen=True)
class VideoMetrics:
    """The values of a video."""

    frames: tuple[FrameMetrics, ...]
    gains_by_age: tuple[float | None, ...]
    """Dream gain of pixels that came into view 0, 1, … frames ago."""
    new_to_rest: float | None
    """Dream gain of pixels that came into view up to five frames ago, divided by the others'."""

    def curve(self, name: str) -> list[float | None]:
        """The values of a metric of `FRAME_METRICS` in all frames."""
        return [frame.values[name] for frame in self.frames]

    def mean(self, name: str) -> float | None:
        """The mean of a metric over all frames that have a value."""
        return _mean(self.curve(name))

    def drift(self, name: str) -> float | None:
        """Relative change of a metric from the beginning of the video to its end.

        It compares means of 20 frames each (of half of a short video), without the first frame. If
        the metric has a value of the source, the dream's is divided by it.
        """
        dream = self.curve(name)[1:]
        source = self.curve(source_name(name))[1:] if FRAME_METRICS[name].has_source else None
        span = min(DRIFT_FRAMES, len(dream) // 2)
        if span == 0:
            return None
        begin, end = (_ratio(dream, source, part) for part in (slice(span), slice(-span, None)))
        return end / begin - 1 if begin and end is not None else None

    @property
    def fine_noise(self) -> float | None:
        """Share of the residual's energy on flat areas that is above half the Nyquist frequency."""
        fine, total = self.mean("fine_energy"), self.mean("flat_energy")
        return fine / total if fine is not None and total else None

    def curves(self) -> dict[str, list[float | None]]:
        """All metrics in all frames, and their times."""
        names = list(self.frames[0].values)
        times: list[float | None] = [frame.time_seconds for frame in self.frames]
        return {"time_seconds": times, **{name: self.curve(name) for name in names}}

    def figures(self) -> dict[str, float | None]:
        """All metrics of `VIDEO_METRICS`, followed by those of the source."""
        values = {}
        for name, metric in VIDEO_METRICS.items():
            values[name] = metric.compute(self)
            if metric.has_source:
                values[source_name(name)] = self.mean(source_name(name))
        return values


@dataclass(frozen=True)
class VideoMetric:
    """A row of the registry: a value of the whole video, and how it is reported."""

    label: str
    """In a table."""
    meaning: str
    """One line, with the unit."""
    compute: Callable[[VideoMetrics], float | None]
    number_format: str = ".3g"
    has_source: bool = False
    """Whether the mean of the source is reported as well, under the name `source_…`."""


def _mean_of(name: str) -> Callable[[VideoMetrics], float | None]:
    return lambda video: video.mean(name)


VIDEO_METRICS = {
    "warping_error": VideoMetric(
        "warping error",
        "mean squared change along the source's motion; 0 is steady",
        _mean_of("warping_error"),
        has_source=True,
    ),
    "long_warping_error": VideoMetric(
        "… over 8 frames",
        "the same, to the frame 8 frames earlier",
        _mean_of("long_warping_error"),
        has_source=True,
    ),
    "flow_difference": VideoMetric(
        "tOF", "px, difference between their motions", _mean_of("flow_difference")
    ),
    "perceptual_difference": VideoMetric(
        "tLP",
        "difference between their perceived changes (with --lpips)",
        _mean_of("perceptual_difference"),
    ),
    "dream_gain": VideoMetric(
        "dream gain", "the layer's energy, divided by that in the source", _mean_of("dream_gain")
    ),
    "new_to_rest": VideoMetric(
        "gain, new to rest",
        "gain of areas in view for up to 5 frames, by the rest",
        lambda video: video.new_to_rest,
    ),
    "clipped": VideoMetric(
        "clipped",
        "share of values that are black or white",
        _mean_of("clipped"),
        number_format=".2%",
        has_source=True,
    ),
    "luma_drift": VideoMetric(
        "luma drift",
        "change relative to the source, from start to end",
        lambda video: video.drift("luma"),
        number_format="+.1%",
    ),
    "saturation_drift": VideoMetric(
        "saturation drift",
        "change relative to the source, from start to end",
        lambda video: video.drift("saturation"),
        number_format="+.1%",
    ),
    "fine_noise": VideoMetric(
        "fine noise",
        "share of the finest detail in the dream on flat areas",
        lambda video: video.fine_noise,
        number_format=".2%",
    ),
}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _ratio(
    dream: Sequence[float | None], source: Sequence[float | None] | None, part: slice
) -> float | None:
    """The mean of a part of the dream's curve, divided by that of the source's if there is one."""
    mean = _mean(dream[part])
    if source is None or mean is None:
        return mean
    return mean / (_mean(source[part]) or 1.0)
