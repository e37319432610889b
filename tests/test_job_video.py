"""The main loop: coherent, cold at cuts, repeatable, and bounded in memory."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from dreamvideo import Progress, Settings, dream_video
from dreamvideo.dream.dreamer import Dreamer
from dreamvideo.errors import InputError, OutputError, UsageError
from dreamvideo.media.opening import Location
from dreamvideo.media.read import open_source
from dreamvideo.motion.flow import open_flow
from dreamvideo.runtime.threads import QUEUE_FRAMES
from dreamvideo.settings.frame_params import frame_params
from dreamvideo.temporal.video import dream_video_frames
from dreamvideo.types import DreamedFrame, FloatArray, Frame, VideoInfo
from scripts.coherence import as_frames, dream, measure
from tests.conftest import MakeClip

CPU = torch.device("cpu")
FAST = Settings(octaves=2, iterations=3, device="cpu")
FAST_PARAMS = frame_params(FAST, 0.0)


@pytest.fixture(scope="module")
def shot(sample_clip: Path) -> list[Frame]:
    with open_source(Location(str(sample_clip)), Settings(size=192)) as source:
        return list(islice(source, 16))


def images(frames: list[Frame]) -> list[FloatArray]:
    return [frame.image for frame in frames]


class TestCoherence:
    def test_carried_dream_is_steady_and_as_strong(self, shot: list[Frame]) -> None:
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

    def test_a_still_shot_neither_boils_nor_burns(self, shot: list[Frame]) -> None:
        frames = as_frames([shot[0].image] * 60)
        dreams = dream(frames, Settings(device="cpu"))
        steps = [np.abs(b - a).mean() for a, b in pairwise(dreams)]
        assert max(steps[5:]) < 0.01
        assert max(steps[20:]) > 0.0005  # but it lives
        # What is weak is dreamed on in every second frame, but not for ever.
        assert np.mean(steps[30::2]) < 1.2 * np.mean(steps[31::2])
        found = measure(frames, dreams, Settings(device="cpu"))
        assert abs(found.drift("dream_gain") or 1) < 0.1
        assert abs(found.drift("luma") or 1) < 0.1
        assert abs(found.drift("saturation") or 1) < 0.1
        assert (found.curve("clipped")[-1] or 0) <= (found.curve("source_clipped")[0] or 0)

    def test_the_dream_moves_with_the_picture(self, shot: list[Frame]) -> None:
        """On a pan by known steps the dream stays on what it grew on."""
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
            assert_same_picture(dreamed, cold_dream(dreamer, frame))


class TestCuts:
    def test_the_frame_after_a_cut_is_a_cold_dream(
        self, shot: list[Frame], dreamer: Dreamer
    ) -> None:
        other = [np.ascontiguousarray(1 - frame.image[::-1, :, ::-1]) for frame in shot[:3]]
        frames = as_frames([*images(shot[:3]), *other])
        dreams = dream(frames, FAST)
        assert_same_picture(dreams[3], cold_dream(dreamer, frames[3]))
        assert np.abs(dreams[4] - cold_dream(dreamer, frames[4])).mean() > 0.005


class TestRepeatability:
    def test_same_command_same_frames(self, shot: list[Frame]) -> None:
        settings = FAST
        one, two = dream(shot[:4], settings), dream(shot[:4], settings)
        for first, second in zip(one, two, strict=True):
            assert np.array_equal(first, second)

    def test_same_command_same_file(self, sample_clip: Path, tmp_path: Path) -> None:
        settings = Settings(size=96, octaves=1, iterations=1, device="cpu", preset="ultrafast")
        files = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
        for file in files:
            dream_video(sample_clip, file, settings)
        assert files[0].read_bytes() == files[1].read_bytes()


class Counted:
    """A source and sink that knows how many frames are under way."""

    frames_lost = 0

    def stop(self) -> None:
        pass

    def __init__(self, image: FloatArray, count: int) -> None:
        self.info = VideoInfo(image.shape[1], image.shape[0], None)
        self.given = self.taken = self.most_under_way = 0
        self._image = image
        self._count = count

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self._count):
            self.given += 1
            self.most_under_way = max(self.most_under_way, self.given - self.taken)
            yield Frame(index, Fraction(index, 25), self._image)

    def write(self, dreamed: DreamedFrame) -> None:
        self.taken += 1


def test_frames_under_way_do_not_grow_with_the_film(dreamer: Dreamer) -> None:
    image = np.random.default_rng(0).random((32, 32, 3), np.float32)
    settings, flow = Settings(strength=0), open_flow("dis", CPU)
    most = []
    for count in (40, 400):
        video = Counted(image, count)
        assert dream_video_frames(video, video, dreamer, settings, flow) == count
        assert video.taken == count
        most.append(video.most_under_way)
    assert most[1] <= 3 * QUEUE_FRAMES + 8


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's process files")
def test_memory_does_not_grow_with_the_film(make_clip: MakeClip, tmp_path: Path) -> None:
    clip = make_clip("a.mp4", "testsrc2=s=160x90:r=25:d=80", "-c:v", "libx264")
    megabytes: list[float] = []

    def measure(_: Progress) -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        megabytes.append(pages * resource.getpagesize() / 1e6)

    dream_video(clip, tmp_path / "o.mp4", Settings(strength=0, device="cpu"), measure)
    assert len(megabytes) == 2000
    assert max(megabytes[200:]) - megabytes[199] < 50


def test_progress_tells_frames_and_gain(sample_clip: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    settings = Settings(size=96, octaves=1, iterations=2, device="cpu", preset="ultrafast")
    summary = dream_video(sample_clip, tmp_path / "o.mp4", settings, seen.append)
    assert [progress.frames_done for progress in seen] == list(range(1, 76))
    assert {progress.frame_count for progress in seen} == {75}
    assert all(progress.dream_gain > 1.05 for progress in seen)
    assert (summary.frames, summary.path) == (75, tmp_path / "o.mp4")
    assert summary.frames_per_second == pytest.approx(75 / summary.elapsed_seconds)


def test_an_error_in_the_callback_stops_the_run(sample_clip: Path, tmp_path: Path) -> None:
    def refuse(progress: Progress) -> None:
        if progress.frames_done == 3:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        dream_video(sample_clip, tmp_path / "o.mp4", replace(FAST, size=96), on_progress=refuse)
    assert list(tmp_path.iterdir()) == []


def test_the_input_is_never_the_output(sample_clip: Path, tmp_path: Path) -> None:
    copy = tmp_path / "clip.mp4"
    copy.write_bytes(sample_clip.read_bytes())
    with pytest.raises(OutputError, match="the input itself"):
        dream_video(copy, copy, overwrite=True)
    (tmp_path / "link.mp4").symlink_to(copy)
    with pytest.raises(OutputError, match="the input itself"):
        dream_video(copy, tmp_path / "link.mp4", overwrite=True)
    assert copy.read_bytes() == sample_clip.read_bytes()


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("a.png", "one still image becomes a still image"),
        ("a.avi", r"\.mp4, \.mov, \.mkv, \.webm"),
        ("a.xyz", r"\.mp4, \.mov, \.mkv, \.webm"),
    ],
)
def test_pairs_that_cannot_be_are_refused(
    output: str, words: str, sample_clip: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=words):
        dream_video(sample_clip, tmp_path / output)
    assert list(tmp_path.iterdir()) == []


def test_a_film_without_pictures_is_refused(make_clip: MakeClip, tmp_path: Path) -> None:
    song = make_clip("song.m4a", "sine=d=1", "-c:a", "aac")
    with pytest.raises(InputError, match="no video stream"):
        dream_video(song, tmp_path / "o.mp4")


def cold_dream(dreamer: Dreamer, frame: Frame) -> FloatArray:
    picture = dreamer.upload(frame.image)
    return dreamer.download(picture + dreamer.dream(picture, frame.index, FAST_PARAMS))


def assert_same_picture(one: FloatArray, other: FloatArray) -> None:
    """Equal but for the rounding to 8 bits."""
    np.testing.assert_allclose(one, other, atol=0.51 / 255)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_gpu_film(sample_clip: Path, tmp_path: Path) -> None:
    settings = Settings(size=192, device="cuda")
    assert dream_video(sample_clip, tmp_path / "o.mp4", settings).frames == 75
