"""All figures of a film, frame by frame and together, in one pass within bounded memory.

Refuses to know of files, and who made the film.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dreamvideo.dream.dreamer import Dreamer
from dreamvideo.metrics.figures import (
    GainByAge,
    clipped_share,
    fine_noise,
    flow_difference,
    frame_gain,
    frames_since_visible,
    luma,
    match_to_earlier,
    saturation,
    warping_error,
)
from dreamvideo.motion.flow import FarnebackFlow
from dreamvideo.motion.scene_cuts import is_cut
from dreamvideo.types import FloatArray

# Frames between two that are compared for the long run.
LONG_LAG_FRAMES = 8
# Drift compares so many frames after the first, which is a cold dream, with as many at the end.
DRIFT_FRAMES = 20

# From two pictures (1, 3, H, W) in [0, 1] to how different they look.
PerceptualDistance = Callable[[Tensor, Tensor], float]


@dataclass(frozen=True, eq=False)
class FramePair:
    """A frame of a source, and what was dreamed of it."""

    time_seconds: float
    source: FloatArray
    """(H, W, 3) in [0, 1]."""
    dream: FloatArray
    """(H, W, 3) in [0, 1]."""


@dataclass(frozen=True)
class FrameMetrics:
    """The figures of one frame; None where there is none, as of motion in the first of a shot."""

    time_seconds: float
    warping_error: float | None = None
    """Of the dream, to the frame before: `motion.warping_error`, along the source's motion."""
    source_warping_error: float | None = None
    """The same of the source itself, which tells what noise and inexact flow come to."""
    long_warping_error: float | None = None
    """Of the dream, to the frame 8 before."""
    source_long_warping_error: float | None = None
    flow_difference: float | None = None
    """tOF, px: `motion.flow_difference`."""
    perceptual_difference: float | None = None
    """tLP (Chu et al. 2020, section 5): |LP(s', s) − LP(d', d)|.

    LP is LPIPS (Zhang et al. 2018), s and d are source and dream, s' and d' those before.
    """
    dream_gain: float | None = None
    """`regions.gain_of`; of classes, and of layers without places, `Dreamer.gain`."""
    clipped: float | None = None
    """Share of the dream's values that are black or white: `pictures.clipped_share`."""
    source_clipped: float | None = None
    luma: float | None = None
    """Mean brightness of the dream: `pictures.luma`."""
    source_luma: float | None = None
    saturation: float | None = None
    """Mean saturation of the dream: `pictures.saturation`."""
    source_saturation: float | None = None
    fine_energy: float | None = None
    """Of the residual on flat areas, what is fine: `pictures.fine_noise`."""
    flat_energy: float | None = None
    """Of the residual on flat areas, all: `pictures.fine_noise`."""


@dataclass(frozen=True)
class VideoMetrics:
    """The figures of a film."""

    frames: tuple[FrameMetrics, ...]
    gains_by_age: tuple[float | None, ...]
    """Dream gain of what came into view 0, 1, … frames ago."""
    new_to_rest: float | None
    """Dream gain of what came into view within five frames, by that of the rest."""

    def mean(self, name: str) -> float | None:
        """The mean of a figure over all frames that have it."""
        return _mean(self.curve(name))

    def curve(self, name: str) -> list[float | None]:
        """A figure of each frame."""
        return [getattr(frame, name) for frame in self.frames]

    @property
    def fine_noise(self) -> float | None:
        """Share of the residual's energy on flat areas that is above half the Nyquist frequency."""
        fine, flat = self.mean("fine_energy"), self.mean("flat_energy")
        return fine / flat if fine is not None and flat else None

    def drift(self, name: str) -> float | None:
        """How much a figure is changed at the end, as a share of what it was at the beginning.

        Means of 20 frames each (a half of a short film), the first frame left out. Of brightness
        and saturation the dream's is taken by the source's.
        """
        values = self.curve(name)[1:]
        below = self.curve(f"source_{name}")[1:] if name in ("luma", "saturation") else None
        span = min(DRIFT_FRAMES, len(values) // 2)
        if span == 0:
            return None
        ends = [_ratio(values, below, part) for part in (slice(span), slice(-span, None))]
        return ends[1] / ends[0] - 1 if ends[0] and ends[1] is not None else None


def measure_frames(
    pairs: Iterable[FramePair], dreamer: Dreamer, perceptual: PerceptualDistance | None = None
) -> Iterator[FrameMetrics | VideoMetrics]:
    """The figures of each frame, and at last those of the film.

    Args:
        pairs: frames of one size, in order.
        dreamer: knows the layers whose energy is the dream's.
        perceptual: tells how different two pictures look; None leaves its figure out.
    """
    video = _VideoMeasurement(dreamer, perceptual)
    frames = []
    for pair in pairs:
        frames.append(video.add(pair))
        yield frames[-1]
    regions = video.regions
    yield VideoMetrics(tuple(frames), tuple(regions.gains_by_age()), regions.new_to_rest())


@dataclass(frozen=True, eq=False)
class _ReferenceFrame:
    """A frame that later ones are compared with."""

    pair: FramePair
    source: Tensor
    dream: Tensor


class _VideoMeasurement:
    """What is remembered from frame to frame."""

    def __init__(self, dreamer: Dreamer, perceptual: PerceptualDistance | None) -> None:
        self.regions = GainByAge()
        self._dreamer = dreamer
        self._perceptual = perceptual
        self._flow = FarnebackFlow()
        self._before: deque[_ReferenceFrame] = deque(maxlen=LONG_LAG_FRAMES)
        self._ages: Tensor | None = None

    def add(self, pair: FramePair) -> FrameMetrics:
        """The figures of the next frame."""
        now = _ReferenceFrame(pair, *map(self._dreamer.upload, (pair.source, pair.dream)))
        if self._before and is_cut(self._before[-1].pair.source, pair.source):
            self._before.clear()  # nothing moved from one shot to the next
        figures = {**self._alone(now), **self._beside_last(now), **self._beside_earlier(now)}
        self._before.append(now)
        return FrameMetrics(pair.time_seconds, **figures)

    def _alone(self, now: _ReferenceFrame) -> dict[str, float | None]:
        fine, flat = fine_noise(now.source, now.dream)
        return {
            "clipped": clipped_share(now.dream),
            "source_clipped": clipped_share(now.source),
            "luma": luma(now.dream),
            "source_luma": luma(now.source),
            "saturation": saturation(now.dream),
            "source_saturation": saturation(now.source),
            "fine_energy": fine,
            "flat_energy": flat,
        }

    def _beside_last(self, now: _ReferenceFrame) -> dict[str, float | None]:
        """Figures of motion since the frame before, and of what came into view."""
        height, width = now.pair.source.shape[:2]
        figures: dict[str, float | None] = {}
        ages = torch.full((height, width), torch.inf)
        if self._before:
            last = self._before[-1]
            found = match_to_earlier(now.pair.source, last.pair.source, self._flow)
            ages = frames_since_visible(self._ages, found)
            dream_flow = self._flow(now.pair.dream, last.pair.dream)
            figures = {
                "warping_error": warping_error(now.dream, last.dream, found),
                "source_warping_error": warping_error(now.source, last.source, found),
                "flow_difference": flow_difference(found.flow, dream_flow),
            }
            if self._perceptual is not None:
                figures["perceptual_difference"] = abs(
                    self._perceptual(last.source, now.source)
                    - self._perceptual(last.dream, now.dream)
                )
        self._ages = ages
        return {**figures, "dream_gain": self._gain(now, ages)}

    def _beside_earlier(self, now: _ReferenceFrame) -> dict[str, float | None]:
        if len(self._before) < LONG_LAG_FRAMES:
            return {}
        early = self._before[0]
        found = match_to_earlier(now.pair.source, early.pair.source, self._flow)
        return {
            "long_warping_error": warping_error(now.dream, early.dream, found),
            "source_long_warping_error": warping_error(now.source, early.source, found),
        }

    def _gain(self, now: _ReferenceFrame, ages: Tensor) -> float:
        time_seconds, objectives = now.pair.time_seconds, self._dreamer.objectives
        before, after = (
            objectives.places(time_seconds, now.source, picture)
            for picture in (now.source, now.dream)
        )
        if not before:
            return self._dreamer.gain(now.source, now.dream, time_seconds)
        layers = [name for name, _ in self._dreamer.settings.layers_at(time_seconds)]
        self.regions.add(layers, before, after, ages)
        return frame_gain(before, after)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _ratio(
    values: Sequence[float | None], below: Sequence[float | None] | None, part: slice
) -> float | None:
    mean = _mean(values[part])
    if below is None or mean is None:
        return mean
    return mean / (_mean(below[part]) or 1.0)
