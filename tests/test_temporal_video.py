"""The main loop of videos: coherent dreams, cold at cuts, repeatable, with bounded queues."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest

from dreamvideo import Settings
from dreamvideo.dream.dreamer import Dreamer
from dreamvideo.media.opening import Location
from dreamvideo.media.read import open_source
from dreamvideo.motion.flow import open_flow
from dreamvideo.runtime.threads import QUEUE_FRAMES
from dreamvideo.settings.frame_params import frame_params
from dreamvideo.temporal.video import dream_video_frames
from dreamvideo.types import DreamedFrame, FloatArray, Frame, VideoInfo
from scripts.coherence import as_frames, dream, measure
from tests.conftest import CPU

FAST = Settings(octaves=2, iterations=3, device="cpu")


@pytest.fixture(scope="module")
def shot(sample_clip: Path) -> list[Frame]:
    """Sixteen frames of the sample clip."""
    with open_source(Location(str(sample_clip)), Settings(size=192)) as source:
        return list(islice(source, 16))


def images(frames: list[Frame]) -> list[FloatArray]:
    return [frame.image for frame in frames]


class TestCoherence:
    def test_a_carried_dream_is_steady_and_as_strong_as_frame_by_frame(
        self, shot: list[Frame]
    ) -> None:
        carried, alone = (
            measure(shot, dream(shot, Settings(flow=flow, device="cpu")), Settings(device="cpu"))
            for flow in ("dis", "none")
        )

        def ratio(name: str) -> float:
            return (carried.mean(name) or 0) / (alone.mean(name) or 1)

        assert ratio("warping_error") < 0.07
        assert ratio("long_warping_error") < 0.25
        assert ratio("dream_gain") > 0.95
        assert (alone.mean("dream_gain") or 0) > 1.4

    def test_a_motionless_shot_neither_flickers_nor_burns(self, shot: list[Frame]) -> None:
        frames = as_frames([shot[0].image] * 60)
        dreams = dream(frames, Settings(device="cpu"))
        steps = [np.abs(b - a).mean() for a, b in pairwise(dreams)]
        assert max(steps[5:]) < 0.01
        assert max(steps[20:]) > 0.0005  # it is not frozen either
        # The boost of the weakest window, in every second frame, must not add up.
        assert np.mean(steps[30::2]) < 1.2 * np.mean(steps[31::2])
        metrics = measure(frames, dreams, Settings(device="cpu"))
        assert abs(metrics.drift("dream_gain") or 1) < 0.1
        assert abs(metrics.drift("luma") or 1) < 0.1
        assert abs(metrics.drift("saturation") or 1) < 0.1
        assert (metrics.curve("clipped")[-1] or 0) <= (metrics.curve("source_clipped")[0] or 0)

    def test_the_dream_moves_with_the_image(self, shot: list[Frame]) -> None:
        """In a pan by known steps the dream stays on what it grew on."""
        wide = np.tile(shot[0].image, (1, 2, 1))
        sources = [np.ascontiguousarray(wide[:, 6 * i : 6 * i + 150]) for i in range(6)]
        dreams = dream(as_frames(sources), Settings(device="cpu"))
        for before, now in pairwise(dreams):
            moved = np.abs(now[20:-20, 20:-40] - before[20:-20, 26:-34]).mean()
            stayed = np.abs(now[20:-20, 20:-40] - before[20:-20, 20:-40]).mean()
            assert moved < 0.02
            assert moved < 0.2 * stayed
        residuals = [dreamed - source for dreamed, source in zip(dreams, sources, strict=True)]
        followed = np.corrcoef(
            residuals[5][20:-20, 20:-50].ravel(), residuals[0][20:-20, 50:-20].ravel()
        )
        assert followed[0, 1] > 0.8

    def test_without_flow_every_frame_is_cold(self, shot: list[Frame], dreamer: Dreamer) -> None:
        dreams = dream(shot[:3], replace(FAST, flow="none"))
        for frame, dreamed in zip(shot, dreams, strict=False):
            assert_same_image(dreamed, cold_dream(dreamer, frame))


class TestCuts:
    def test_the_frame_after_a_cut_is_a_cold_dream(
        self, shot: list[Frame], dreamer: Dreamer
    ) -> None:
        other = [np.ascontiguousarray(1 - frame.image[::-1, :, ::-1]) for frame in shot[:3]]
        frames = as_frames([*images(shot[:3]), *other])
        dreams = dream(frames, FAST)
        assert_same_image(dreams[3], cold_dream(dreamer, frames[3]))
        assert np.abs(dreams[4] - cold_dream(dreamer, frames[4])).mean() > 0.005


class TestRepeatability:
    def test_the_same_settings_give_the_same_frames(self, shot: list[Frame]) -> None:
        one, two = dream(shot[:4], FAST), dream(shot[:4], FAST)
        for first, second in zip(one, two, strict=True):
            assert np.array_equal(first, second)


class Counted:
    """A source and a writer that count the frames between them."""

    frames_lost = 0

    def stop(self) -> None:
        pass

    def __init__(self, image: FloatArray, count: int) -> None:
        self.info = VideoInfo(image.shape[1], image.shape[0], None)
        self.read = self.written = self.max_pending = 0
        self._image = image
        self._count = count

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self._count):
            self.read += 1
            self.max_pending = max(self.max_pending, self.read - self.written)
            yield Frame(index, Fraction(index, 25), self._image)

    def write(self, dreamed: DreamedFrame) -> None:
        self.written += 1


def test_a_longer_video_has_no_more_frames_in_memory(dreamer: Dreamer) -> None:
    image = np.random.default_rng(0).random((32, 32, 3), np.float32)
    settings, flow = Settings(strength=0), open_flow("dis", CPU)
    pending = []
    for count in (40, 400):
        video = Counted(image, count)
        assert dream_video_frames(video, video, dreamer, settings, flow) == count
        assert video.written == count
        pending.append(video.max_pending)
    assert pending[1] <= 3 * QUEUE_FRAMES + 8


def cold_dream(dreamer: Dreamer, frame: Frame) -> FloatArray:
    source = dreamer.upload(frame.image)
    return dreamer.download(source + dreamer.dream(source, frame.index, frame_params(FAST, 0.0)))


def assert_same_image(one: FloatArray, other: FloatArray) -> None:
    """Equal but for the rounding to 8 bits."""
    np.testing.assert_allclose(one, other, atol=0.51 / 255)
