"""Measures all metrics of a video in one pass, within bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from dreamvideo.dream.dreamer import Dreamer
from dreamvideo.metrics.formulas import (
    GainByAge,
    frame_gain,
    frames_since_visible,
    match_to_earlier,
)
from dreamvideo.metrics.registry import (
    EarlierPair,
    FrameContext,
    FrameMetrics,
    FramePair,
    PerceptualDistance,
    UploadedPair,
    VideoMetrics,
    frame_metrics,
)
from dreamvideo.motion.flow import FarnebackFlow
from dreamvideo.motion.scene_cuts import is_cut
from dreamvideo.settings import Settings
from dreamvideo.settings.frame_params import frame_params

# Distance in frames of the long-term warping error.
LONG_LAG_FRAMES = 8


def measure_frames(
    pairs: Iterable[FramePair],
    dreamer: Dreamer,
    settings: Settings,
    perceptual: PerceptualDistance | None = None,
) -> Iterator[FrameMetrics | VideoMetrics]:
    """The metrics of each frame, and finally those of the video.

    Args:
        pairs: frames of one size, in order.
        dreamer: evaluates the layers whose energy is compared.
        settings: name the layers and channels.
        perceptual: how different two images look; None leaves its metric out.
    """
    measurement = _Measurement(dreamer, settings, perceptual)
    frames = []
    for pair in pairs:
        frames.append(measurement.add(pair))
        yield frames[-1]
    gains = measurement.gains
    yield VideoMetrics(tuple(frames), tuple(gains.gains_by_age()), gains.new_to_rest())


class _Measurement:
    """What is kept from frame to frame."""

    def __init__(
        self, dreamer: Dreamer, settings: Settings, perceptual: PerceptualDistance | None
    ) -> None:
        self.gains = GainByAge()
        self._dreamer, self._settings = dreamer, settings
        self._perceptual = perceptual
        self._flow = FarnebackFlow()
        self._earlier: deque[UploadedPair] = deque(maxlen=LONG_LAG_FRAMES)
        self._ages: Tensor | None = None

    def add(self, pair: FramePair) -> FrameMetrics:
        """The metrics of the next frame."""
        current = UploadedPair(pair, *map(self._dreamer.upload, (pair.source, pair.dream)))
        if self._earlier and is_cut(self._earlier[-1].arrays.source, pair.source):
            self._earlier.clear()  # there is no motion from one shot to the next
        previous, early = self._matched(current, 1), self._matched(current, LONG_LAG_FRAMES)
        if previous is None:
            self._ages = torch.full(pair.source.shape[:2], torch.inf)
        else:
            self._ages = frames_since_visible(self._ages, previous.matches)
        gain = self._gain(current, self._ages)
        self._earlier.append(current)
        return frame_metrics(
            FrameContext(current, previous, early, gain, self._flow, self._perceptual)
        )

    def _matched(self, current: UploadedPair, lag_frames: int) -> EarlierPair | None:
        if len(self._earlier) < lag_frames:
            return None
        earlier = self._earlier[-lag_frames]
        frames = current.arrays.source, earlier.arrays.source
        return EarlierPair(earlier, match_to_earlier(*frames, self._flow))

    def _gain(self, current: UploadedPair, ages: Tensor) -> float:
        params = frame_params(self._settings, current.arrays.time_seconds)
        before, after = (
            self._dreamer.objectives.energy_maps(params, current.source, image)
            for image in (current.source, current.dream)
        )
        if not before:
            return self._dreamer.gain(current.source, current.dream, params)
        layers = [name for name, _ in params.layers]
        self.gains.add(layers, before, after, ages)
        return frame_gain(before, after)
