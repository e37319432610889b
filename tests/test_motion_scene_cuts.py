"""Shots begin where pictures change: not in flashes, not in fades, and where they are told to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from itertools import count
from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np
import pytest
import torch

from dreamvideo import Settings, dream_video
from dreamvideo.cli.main import main
from dreamvideo.dream.dreamer import Dreamer
from dreamvideo.errors import SettingsError
from dreamvideo.motion.flow import FlowEstimator, open_flow
from dreamvideo.motion.matching import match_frames
from dreamvideo.settings.frame_params import frame_params
from dreamvideo.temporal.prefetch import PrefetchedFrame, prefetch_frames
from dreamvideo.temporal.refresh import TemporalDreamer
from dreamvideo.types import FloatArray, Frame
from scripts.coherence import dream
from tests.conftest import MakeClip, ffmpeg, frames_of

CPU = torch.device("cpu")
SIZE = (192, 108)
LENGTH = 12
FAST = Settings(octaves=2, iterations=2, device="cpu")
FAST_PARAMS = frame_params(FAST, 0.0)
# Where the shots of `joined` begin; the last of them emerges from black.
CUTS = [LENGTH, 2 * LENGTH]
DISSOLVE, FADE = 3 * LENGTH, 5 * LENGTH
FLASH = [LENGTH + 5, LENGTH + 6]


def eight_bit(picture: FloatArray) -> FloatArray:
    return np.asarray(np.rint(picture.clip(0, 1) * 255) / 255, np.float32)


def as_frames(pictures: Sequence[FloatArray], first: int = 0) -> list[Frame]:
    return [Frame(i, Fraction(i, 25), picture) for i, picture in zip(count(first), pictures)]


@pytest.fixture(scope="module")
def shots(
    sample_clip: Path, sample_still: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[FloatArray]]:
    """Moving pictures of one size."""
    found = {"bunny": sample_clip}
    for name in ("testsrc2", "mandelbrot"):
        found[name] = tmp_path_factory.mktemp("shots") / f"{name}.mkv"
        words = ("-f", "lavfi", "-i", f"{name}=s=192x108:r=25", "-frames:v", "40")
        ffmpeg(*words, "-crf", "10", found[name])
    videos = {
        name: [cv2.resize(frame.image, SIZE).clip(0, 1) for frame in frames_of(path)]
        for name, path in found.items()
    }
    return videos | {"cat": panned(sample_still, 4, 40)}


def panned(still: Path, stride_px: int, frames: int) -> list[FloatArray]:
    """Part of a still that moves so far to the left in each frame."""
    cat = (iio.imread(still)[..., :3] / np.float32(255)).astype(np.float32)
    lefts = range(0, stride_px * frames, stride_px)
    return [np.array(cat[100:208, left : left + SIZE[0]]) for left in lefts]


@pytest.fixture(scope="module")
def joined(shots: dict[str, list[FloatArray]]) -> list[FloatArray]:
    """Five shots: two cuts, a flash of two frames, a dissolve and a fade through black."""
    first, second, third = shots["testsrc2"][:12], shots["bunny"][:12], shots["cat"][:12]
    for place, light in zip(FLASH, (2.5, 4), strict=True):
        second[place - LENGTH] = eight_bit(second[place - LENGTH] * np.float32(light))
    mixing = [
        eight_bit(one * np.float32(1 - i / 12) + other * np.float32(i / 12))
        for i, one, other in zip(range(12), shots["cat"][12:], shots["bunny"][30:], strict=False)
    ]
    fourth = shots["bunny"][42:54]
    away = [eight_bit(p * np.float32(1 - i / 10)) for i, p in enumerate(shots["bunny"][54:65])]
    back = [eight_bit(p * np.float32(i / 10)) for i, p in enumerate(shots["mandelbrot"][:14])]
    return [*first, *second, *third, *mixing, *fourth, *away, *back]


@pytest.fixture(scope="module")
def flow() -> FlowEstimator:
    estimator = open_flow("dis", CPU)
    assert estimator is not None
    return estimator


def ready_of(
    pictures: Sequence[FloatArray],
    dreamer: Dreamer,
    flow: FlowEstimator,
    cuts: str = "auto",
    resumed_at: int = 0,
) -> Iterator[PrefetchedFrame]:
    """What is made ready; gone on with after `resumed_at` frames."""
    first = max(0, resumed_at - 1)
    frames = as_frames(pictures[first:], first)
    with (
        closing(TemporalDreamer(dreamer, Settings(strength=0, cuts=cuts))) as temporal,
        closing(prefetch_frames(frames, dreamer, temporal, flow, resumed_at > 0)) as prefetched,
    ):
        yield from prefetched


def cuts_in(
    pictures: Sequence[FloatArray],
    dreamer: Dreamer,
    flow: FlowEstimator,
    cuts: str = "auto",
) -> list[int]:
    """Frames after the first to which nothing is carried."""
    prefetched = list(ready_of(pictures, dreamer, flow, cuts))
    assert [one.frame.index for one in prefetched] == list(range(len(pictures)))
    return [one.frame.index for one in prefetched[1:] if one.carry_map is None]


class TestFound:
    def test_every_cut_and_no_other(
        self, joined: list[FloatArray], dreamer: Dreamer, flow: FlowEstimator
    ) -> None:
        assert cuts_in(joined, dreamer, flow) == CUTS

    def test_real_films_have_as_many_as_they_have(
        self, shots: dict[str, list[FloatArray]], dreamer: Dreamer, flow: FlowEstimator
    ) -> None:
        video = [picture for shot in shots.values() for picture in shot]
        starts = np.cumsum([len(shot) for shot in shots.values()]).tolist()[:-1]
        assert cuts_in(video, dreamer, flow) == starts

    @pytest.mark.parametrize("stride_px", [12, 24])
    def test_fast_pans_have_none(
        self, stride_px: int, sample_still: Path, dreamer: Dreamer, flow: FlowEstimator
    ) -> None:
        pan = panned(sample_still, stride_px, 240 // stride_px)
        assert cuts_in(pan, dreamer, flow) == []

    @pytest.mark.parametrize("length", [1, 2, 3])
    @pytest.mark.parametrize("light", ["1.5", "2.5", "nearly white", "white"])
    @pytest.mark.parametrize("name", ["bunny", "cat", "testsrc2"])
    def test_flashes_have_none(
        self,
        name: str,
        light: str,
        length: int,
        shots: dict[str, list[FloatArray]],
        dreamer: Dreamer,
        flow: FlowEstimator,
    ) -> None:
        video = list(shots[name][:12])
        for place in range(4, 4 + length):
            video[place] = flashed(video[place], light)
        assert cuts_in(video, dreamer, flow) == []

    def test_white_between_two_shots_is_no_flash(
        self, shots: dict[str, list[FloatArray]], dreamer: Dreamer, flow: FlowEstimator
    ) -> None:
        white = [np.ones_like(shots["cat"][0])] * 2
        video = [*shots["cat"][:4], *white, *shots["bunny"][:4]]
        assert cuts_in(video, dreamer, flow) == [4]

    def test_a_picture_out_of_black_begins_a_shot(
        self, shots: dict[str, list[FloatArray]], dreamer: Dreamer, flow: FlowEstimator
    ) -> None:
        video = [*[np.zeros_like(shots["cat"][0])] * 5, *shots["bunny"][:4]]
        assert cuts_in(video, dreamer, flow) == [5]

    @pytest.mark.parametrize("colour", [0, 1])
    def test_fades_of_one_shot_have_none(
        self,
        colour: int,
        shots: dict[str, list[FloatArray]],
        dreamer: Dreamer,
        flow: FlowEstimator,
    ) -> None:
        shares = np.abs(np.linspace(-1, 1, 17, dtype=np.float32))
        pairs = zip(shares, shots["bunny"], strict=False)
        video = [eight_bit(share * picture + (1 - share) * colour) for share, picture in pairs]
        assert cuts_in(video, dreamer, flow) == []


def flashed(picture: FloatArray, light: str) -> FloatArray:
    if light == "white":
        return np.ones_like(picture)
    if light == "nearly white":
        return eight_bit(picture * np.float32(0.05) + np.float32(0.95))
    return eight_bit(picture * np.float32(light))


class TestTold:
    def test_none(self, joined: list[FloatArray], dreamer: Dreamer, flow: FlowEstimator) -> None:
        assert cuts_in(joined, dreamer, flow, "none") == []

    @pytest.mark.parametrize(
        ("cuts", "expected"),
        [
            ("0.4,0:01", [10, 25]),
            ("0.41", [11]),
            ("0:00:00.4 , 1", [10, 25]),
            ("0", []),
            ("1,1", [25]),
            ("100", []),
        ],
    )
    def test_times(
        self,
        cuts: str,
        expected: list[int],
        joined: list[FloatArray],
        dreamer: Dreamer,
        flow: FlowEstimator,
    ) -> None:
        assert cuts_in(joined, dreamer, flow, cuts) == expected

    @pytest.mark.parametrize(
        "cuts", ["", "soon", "1,,2", "-1", "1:2:3:4", "nan", "inf", "1e9", "auto,3", "1;2", "1/2"]
    )
    def test_what_is_no_time_is_refused_in_one_line(self, cuts: str) -> None:
        with pytest.raises(
            SettingsError, match=r"cuts cannot be .* allowed is auto or none"
        ) as told:
            Settings(cuts=cuts)
        assert "\n" not in str(told.value)

    def test_on_the_command_line_and_in_files(
        self, sample_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main([str(sample_clip), str(tmp_path / "o.mp4"), "--cuts", "soon"]) == 2
        assert "cuts cannot be 'soon'" in capsys.readouterr().err
        file = tmp_path / "s.toml"
        file.write_text('cuts = "soon"\n')
        words = [str(sample_clip), str(tmp_path / "o.mp4"), "--settings", str(file)]
        assert main(words) == 2
        assert "cuts cannot be 'soon'" in capsys.readouterr().err


class TestDreams:
    """Through the real main loop."""

    def test_after_a_cut_a_dream_is_cold_and_in_flash_and_fade_it_is_not(
        self, joined: list[FloatArray], dreamer: Dreamer
    ) -> None:
        dreams = dream(as_frames(joined), FAST)
        cold = {i: cold_dream(dreamer, frame) for i, frame in enumerate(as_frames(joined))}
        is_cold = [np.array_equal(dreams[i], eight_bit(cold[i])) for i in range(len(joined))]
        textured = [i for i, picture in enumerate(joined) if picture.std() > 0.05]
        assert [i for i in textured if is_cold[i]] == [0, *CUTS]

    @pytest.mark.parametrize("light", ["2.5", "white"])
    def test_the_dream_outlives_a_flash(
        self, light: str, shots: dict[str, list[FloatArray]]
    ) -> None:
        video = list(shots["bunny"][:12])
        temporal_dreamer = residuals(video)
        video[8] = flashed(video[8], light)
        kept, anew = residuals(video)[9], residuals(video, "0.36")[9]
        assert alike(temporal_dreamer[9], kept) > 0.7
        assert alike(temporal_dreamer[9], anew) < 0.6

    def test_a_dream_fades_with_its_shot(self, joined: list[FloatArray]) -> None:
        """And the next one's grows with it: nothing flashes, nothing stays."""
        dreamt = residuals(joined)
        source_values = [float(np.abs(one).mean()) for one in dreamt[FADE - 1 :]]
        assert min(source_values) < 0.5 * source_values[0]
        steps = np.abs(np.diff(source_values))
        assert steps.max() < 0.4 * source_values[0]
        for later in dreamt[FADE + 11 :]:
            assert abs(alike(dreamt[FADE - 1], later)) < 0.3  # it is 0.6 in the black between


def alike(one: FloatArray, other: FloatArray) -> float:
    """Correlation."""
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def residuals(pictures: Sequence[FloatArray], cuts: str = "auto") -> list[FloatArray]:
    settings = Settings(octaves=2, iterations=4, device="cpu", cuts=cuts)
    dreams = dream(as_frames(pictures), settings)
    return [one - picture for one, picture in zip(dreams, pictures, strict=True)]


def cold_dream(dreamer: Dreamer, frame: Frame) -> FloatArray:
    picture = dreamer.upload(frame.image)
    return dreamer.download(
        (picture + dreamer.dream(picture, frame.index, FAST_PARAMS)).clamp(0, 1)
    )


class TestMotion:
    """Through flashes the motion is that of the scene."""

    @pytest.mark.parametrize("light", ["1.5", "2.5", "white"])
    def test_into_and_out_of_a_flash(
        self, light: str, sample_still: Path, flow: FlowEstimator
    ) -> None:
        pan = panned(sample_still, 3, 8)
        pan[3] = flashed(pan[3], light)
        frames = as_frames(pan)
        for index in (3, 4):
            motion = match_frames(
                frames[index - 1], frames[index], flow, frames[index + 1 : index + 4]
            )
            assert motion is not None
            errors = np.linalg.norm(motion.flow_to_previous - (3, 0), axis=2)[10:-10, 10:-20]
            assert np.median(errors) < 0.5
            assert motion.confidence[10:-10, 10:-20].mean() > 0.8


class TestResumed:
    @pytest.mark.parametrize("done", [*range(LENGTH - 3, LENGTH + 9), FADE + 9, FADE + 12])
    def test_all_is_made_ready_as_without_a_stop(
        self, done: int, joined: list[FloatArray], dreamer: Dreamer, flow: FlowEstimator
    ) -> None:
        """Also in the midst of a flash that is white."""
        video = joined[: done + 10]
        video[FLASH[0]] = video[FLASH[1]] = np.ones_like(video[0])
        whole = list(ready_of(video, dreamer, flow))
        part = list(ready_of(video, dreamer, flow, resumed_at=done))
        assert [one.frame.index for one in part] == list(range(done, len(video)))
        for one, other in zip(whole[done:], part, strict=True):
            assert (one.carry_map is None) == (other.carry_map is None)
            if one.carry_map is not None and other.carry_map is not None:
                assert torch.equal(one.carry_map.grid, other.carry_map.grid)
                assert torch.equal(one.carry_map.confidence, other.carry_map.confidence)

    def test_a_film_with_a_flash_and_a_cut(self, make_clip: MakeClip, tmp_path: Path) -> None:
        """Stopped within the white of the flash, which ends a segment."""
        shots = "testsrc2=s=96x64:r=25:d=1,drawbox=color=white:t=fill:enable='between(n,5,6)'"
        clip = make_clip("c.mp4", f"{shots},negate=enable='gte(n,14)'", "-crf", "1")
        settings = replace(FAST, octaves=1, preset="ultrafast", segment_frames=6)
        dream_video(clip, tmp_path / "whole.mp4", settings)

        def stop(progress: object) -> None:
            if next(calls) == 9:
                raise KeyboardInterrupt

        calls = count()
        out = tmp_path / "o.mp4"
        with pytest.raises(KeyboardInterrupt):
            dream_video(clip, out, settings, stop)
        assert dream_video(clip, out, settings).frames_resumed == 6
        videos = frames_of(tmp_path / "whole.mp4"), frames_of(out)
        assert len(videos[0]) == 25
        for before, after in zip(*videos, strict=True):
            assert np.array_equal(before.image, after.image)
