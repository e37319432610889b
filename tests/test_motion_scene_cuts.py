"""Shots begin at cuts, not in flashes and fades, or at given times; what is dreamed follows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dreamvideo import Settings, dream_video
from dreamvideo.cli.main import main
from dreamvideo.dream.dreamer import Dreamer
from dreamvideo.errors import SettingsError
from dreamvideo.motion.flow import DisFlow
from dreamvideo.motion.matching import LOOKAHEAD_FRAMES, starts_new_shot
from dreamvideo.motion.scene_cuts import is_cut
from dreamvideo.settings.frame_params import frame_params
from dreamvideo.temporal.refresh import TemporalDreamer
from dreamvideo.temporal.video import PrefetchedFrame, prefetch_frames
from dreamvideo.types import FloatArray, Frame
from scripts.coherence import as_frames, dream
from tests.conftest import MakeClip, ffmpeg, frames_of
from tests.synthetic_images import (
    PHOTO_SIZE,
    blobs,
    eight_bit,
    flash,
    gaussian_noise,
    panned_still,
    shifted,
)

SHOT_FRAMES = 12
FAST = Settings(octaves=2, iterations=2, device="cpu")
# Where the shots of `joined` begin; the last one emerges from black.
CUTS = [SHOT_FRAMES, 2 * SHOT_FRAMES]
DISSOLVE, FADE = 3 * SHOT_FRAMES, 5 * SHOT_FRAMES
FLASH = [SHOT_FRAMES + 5, SHOT_FRAMES + 6]
# Tints that make two images differ in colour.
WARM, COLD = np.array([[1, 0.4, 0.4], [0.3, 0.5, 1]], np.float32)

Shots = dict[str, list[FloatArray]]


@pytest.fixture(scope="module")
def shots(sample_clip: Path, sample_still: Path, tmp_path_factory: pytest.TempPathFactory) -> Shots:
    """Four videos of one size."""
    paths = {"bunny": sample_clip}
    for name in ("testsrc2", "mandelbrot"):
        paths[name] = tmp_path_factory.mktemp("shots") / f"{name}.mkv"
        words = ("-f", "lavfi", "-i", f"{name}=s=192x108:r=25", "-frames:v", "40")
        ffmpeg(*words, "-crf", "10", paths[name])
    videos = {
        name: [cv2.resize(frame.image, PHOTO_SIZE).clip(0, 1) for frame in frames_of(path)]
        for name, path in paths.items()
    }
    return videos | {"cat": panned_still(sample_still, 4, 40)}


@pytest.fixture(scope="module")
def joined(shots: Shots) -> list[FloatArray]:
    """Five shots: two cuts, a flash of two frames, a dissolve and a fade through black."""
    first, second, third = (list(shots[name][:12]) for name in ("testsrc2", "bunny", "cat"))
    for index, light in zip(FLASH, ("2.5", "4"), strict=True):
        second[index - SHOT_FRAMES] = flash(second[index - SHOT_FRAMES], light)
    dissolve = [
        eight_bit(one * np.float32(1 - i / 12) + other * np.float32(i / 12))
        for i, (one, other) in enumerate(
            zip(shots["cat"][12:24], shots["bunny"][30:42], strict=True)
        )
    ]
    fourth = shots["bunny"][42:54]
    fade_out = [dimmed(image, 1 - i / 10) for i, image in enumerate(shots["bunny"][54:65])]
    fade_in = [dimmed(image, i / 10) for i, image in enumerate(shots["mandelbrot"][:14])]
    return [*first, *second, *third, *dissolve, *fourth, *fade_out, *fade_in]


def dimmed(image: FloatArray, factor: float) -> FloatArray:
    return eight_bit(image * np.float32(factor))


def detected_cuts(images: Sequence[FloatArray], cuts: str = "auto") -> list[int]:
    """The frames at which a new shot begins, after the first."""
    frames, times = as_frames(images), Settings(cuts=cuts).cut_times_seconds
    return [
        index
        for index in range(1, len(frames))
        if starts_new_shot(
            frames[index - 1],
            frames[index],
            frames[index + 1 : index + 1 + LOOKAHEAD_FRAMES],
            times,
        )
    ]


class TestTwoImages:
    def test_another_scene_is_a_cut(self) -> None:
        assert is_cut(blobs(0) * WARM, blobs(1) * COLD)

    @pytest.mark.parametrize(
        "change",
        [
            lambda image: shifted(image, 15, 4),
            lambda image: image * np.float32(0.9),
            lambda image: (image + gaussian_noise(image, 0.02, seed=0)).clip(0, 1),
        ],
        ids=["pan", "darker", "noise"],
    )
    def test_motion_light_and_noise_are_not(
        self, change: Callable[[FloatArray], FloatArray]
    ) -> None:
        assert not is_cut(blobs(), change(blobs()))


class TestDetected:
    def test_every_cut_and_no_other(self, joined: list[FloatArray]) -> None:
        assert detected_cuts(joined) == CUTS

    def test_cuts_between_real_videos(self, shots: Shots) -> None:
        video = [image for shot in shots.values() for image in shot]
        starts = np.cumsum([len(shot) for shot in shots.values()]).tolist()[:-1]
        assert detected_cuts(video) == starts

    @pytest.mark.parametrize("step_px", [12, 24])
    def test_not_in_fast_pans(self, step_px: int, sample_still: Path) -> None:
        assert detected_cuts(panned_still(sample_still, step_px, 240 // step_px)) == []

    @pytest.mark.parametrize("length", [1, 2, 3])
    @pytest.mark.parametrize("light", ["1.5", "2.5", "nearly white", "white"])
    @pytest.mark.parametrize("name", ["bunny", "cat", "testsrc2"])
    def test_not_in_flashes(self, name: str, light: str, length: int, shots: Shots) -> None:
        video = list(shots[name][:12])
        for index in range(4, 4 + length):
            video[index] = flash(video[index], light)
        assert detected_cuts(video) == []

    def test_white_between_two_shots_is_no_flash(self, shots: Shots) -> None:
        white = [np.ones_like(shots["cat"][0])] * 2
        assert detected_cuts([*shots["cat"][:4], *white, *shots["bunny"][:4]]) == [4]

    def test_an_image_after_black_starts_a_shot(self, shots: Shots) -> None:
        black = [np.zeros_like(shots["cat"][0])] * 5
        assert detected_cuts([*black, *shots["bunny"][:4]]) == [5]

    @pytest.mark.parametrize("colour", [0, 1])
    def test_not_in_fades(self, colour: int, shots: Shots) -> None:
        shares = np.abs(np.linspace(-1, 1, 17, dtype=np.float32))
        video = [
            eight_bit(share * image + (1 - share) * colour)
            for share, image in zip(shares, shots["bunny"], strict=False)
        ]
        assert detected_cuts(video) == []


class TestGiven:
    @pytest.mark.parametrize(
        ("cuts", "expected"),
        [
            ("none", []),
            ("0.4,0:01", [10, 25]),
            ("0.41", [11]),
            ("0:00:00.4 , 1", [10, 25]),
            ("0", []),
            ("1,1", [25]),
            ("100", []),
        ],
    )
    def test_times(self, cuts: str, expected: list[int], joined: list[FloatArray]) -> None:
        assert detected_cuts(joined, cuts) == expected

    @pytest.mark.parametrize(
        "cuts", ["", "soon", "1,,2", "-1", "1:2:3:4", "nan", "inf", "1e9", "auto,3", "1;2", "1/2"]
    )
    def test_other_values_are_refused_in_one_line(self, cuts: str) -> None:
        with pytest.raises(
            SettingsError, match=r"cuts cannot be .* allowed is auto or none"
        ) as caught:
            Settings(cuts=cuts)
        assert "\n" not in str(caught.value)

    def test_on_the_command_line_and_in_files(
        self, sample_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = tmp_path / "s.toml"
        file.write_text('cuts = "soon"\n')
        for words in (["--cuts", "soon"], ["--settings", str(file)]):
            assert main([str(sample_clip), str(tmp_path / "o.mp4"), *words]) == 2
            assert "cuts cannot be 'soon'" in capsys.readouterr().err


def prefetched(
    images: Sequence[FloatArray], dreamer: Dreamer, cuts: str = "auto", frames_done: int = 0
) -> list[PrefetchedFrame]:
    """The prefetched frames; of a resumed run, those that follow the frames that are done."""
    frames = as_frames(images)[max(0, frames_done - 1) :]
    with (
        closing(TemporalDreamer(dreamer, Settings(strength=0, cuts=cuts))) as temporal,
        closing(prefetch_frames(frames, dreamer, temporal, DisFlow(), frames_done > 0)) as iterator,
    ):
        return list(iterator)


class TestPrefetched:
    @pytest.mark.parametrize(("cuts", "expected"), [("auto", CUTS), ("0.4,0:01", [10, 25])])
    def test_nothing_is_carried_to_the_first_frame_of_a_shot(
        self, cuts: str, expected: list[int], joined: list[FloatArray], dreamer: Dreamer
    ) -> None:
        frames = prefetched(joined, dreamer, cuts)
        assert [one.frame.index for one in frames] == list(range(len(joined)))
        assert [one.frame.index for one in frames if one.inputs.carry_map is None] == [0, *expected]

    @pytest.mark.parametrize(
        "done", [*range(SHOT_FRAMES - 3, SHOT_FRAMES + 9), FADE + 9, FADE + 12]
    )
    def test_a_resumed_run_continues_the_same(
        self, done: int, joined: list[FloatArray], dreamer: Dreamer
    ) -> None:
        """Also in the middle of a white flash."""
        video = joined[: done + 10]
        video[FLASH[0]] = video[FLASH[1]] = np.ones_like(video[0])
        # What comes long before does not matter.
        first = max(0, done - 10)
        whole = prefetched(video[first:], dreamer)
        resumed = prefetched(video[first:], dreamer, frames_done=done - first)
        assert [one.frame.index for one in resumed] == list(range(done - first, len(video) - first))
        for expected, one in zip(whole[done - first :], resumed, strict=True):
            before, after = expected.inputs.carry_map, one.inputs.carry_map
            assert (before is None) == (after is None)
            if before is not None and after is not None:
                assert torch.equal(before.grid, after.grid)
                assert torch.equal(before.confidence, after.confidence)


@pytest.fixture(scope="module")
def joined_dreams(joined: list[FloatArray]) -> list[FloatArray]:
    """Through the real main loop."""
    return dream(as_frames(joined), FAST)


@pytest.fixture(scope="module")
def undisturbed(shots: Shots) -> list[FloatArray]:
    """Residuals of a shot without a flash."""
    return residuals(shots["bunny"][:10])


class TestDreams:
    def test_only_the_first_frame_of_a_shot_is_dreamed_cold(
        self, joined: list[FloatArray], joined_dreams: list[FloatArray], dreamer: Dreamer
    ) -> None:
        """Not those at a flash, a dissolve and a fade."""
        near = [0, 1, *(cut + step for cut in CUTS for step in (-1, 0, 1))]
        flash_frames = range(FLASH[0] - 1, FLASH[1] + 3)
        dissolve, fade = range(DISSOLVE - 1, DISSOLVE + 13, 3), range(FADE - 1, FADE + 18, 2)
        is_cold = {
            index: np.array_equal(
                joined_dreams[index], eight_bit(cold_dream(dreamer, as_frames(joined)[index]))
            )
            for index in (*near, *flash_frames, *dissolve, *fade)
            if joined[index].std() > 0.05  # on black, any dream is black
        }
        assert [index for index, cold in is_cold.items() if cold] == [0, *CUTS]

    @pytest.mark.parametrize("light", ["2.5", "white"])
    def test_the_dream_survives_a_flash(
        self, light: str, shots: Shots, undisturbed: list[FloatArray]
    ) -> None:
        """After it, the dream resembles an undisturbed one more than one that starts again."""
        video = list(shots["bunny"][:10])
        video[8] = flash(video[8], light)
        flashed, restarted = residuals(video)[9], residuals(video, "0.36")[9]
        assert correlation(flashed, undisturbed[9]) > 0.6
        assert correlation(flashed, undisturbed[9]) > correlation(flashed, restarted) + 0.15

    def test_a_dream_fades_with_its_shot(
        self, joined: list[FloatArray], joined_dreams: list[FloatArray]
    ) -> None:
        """And the next one grows with its shot: nothing flashes, nothing remains."""
        residual = [one - image for one, image in zip(joined_dreams, joined, strict=True)]
        strengths = [float(np.abs(one).mean()) for one in residual[FADE - 1 :]]
        assert min(strengths) < 0.5 * strengths[0]
        assert np.abs(np.diff(strengths)).max() < 0.5 * strengths[0]
        for later in residual[FADE + 11 :]:
            assert abs(correlation(residual[FADE - 1], later)) < 0.3  # it is 0.6 in the black


def correlation(first: FloatArray, second: FloatArray) -> float:
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def residuals(images: Sequence[FloatArray], cuts: str = "auto") -> list[FloatArray]:
    settings = Settings(octaves=2, iterations=4, device="cpu", cuts=cuts)
    dreams = dream(as_frames(images), settings)
    return [one - image for one, image in zip(dreams, images, strict=True)]


def cold_dream(dreamer: Dreamer, frame: Frame) -> FloatArray:
    source, params = dreamer.upload(frame.image), frame_params(FAST, float(frame.time_seconds))
    residual = dreamer.dream(source, frame.index, params)
    return dreamer.download((source + residual).clamp(0, 1))


def test_a_video_with_a_flash_and_a_cut_is_resumed_exactly(
    make_clip: MakeClip, tmp_path: Path
) -> None:
    """Interrupted within the white of the flash, which ends a segment."""
    shots = "testsrc2=s=96x64:r=25:d=1,drawbox=color=white:t=fill:enable='between(n,5,6)'"
    clip = make_clip("c.mp4", f"{shots},negate=enable='gte(n,14)'", "-crf", "1")
    settings = replace(FAST, octaves=1, preset="ultrafast", segment_frames=6)
    dream_video(clip, tmp_path / "whole.mp4", settings)

    def interrupt(progress: object) -> None:
        if next(calls) == 9:
            raise KeyboardInterrupt

    calls = count()
    out = tmp_path / "o.mp4"
    with pytest.raises(KeyboardInterrupt):
        dream_video(clip, out, settings, interrupt)
    assert dream_video(clip, out, settings).frames_resumed == 6
    videos = frames_of(tmp_path / "whole.mp4"), frames_of(out)
    assert len(videos[0]) == 25
    for expected, frame in zip(*videos, strict=True):
        assert np.array_equal(expected.image, frame.image)
