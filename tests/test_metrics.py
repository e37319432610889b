"""The figures of a dream beside its source: known values, and the word that tells them."""

from __future__ import annotations

import json
import sys
import urllib.error
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision import models

from dreamvideo.cli.main import main
from dreamvideo.cli.plot import draw_curves
from dreamvideo.dream.dreamer import Dreamer
from dreamvideo.errors import UsageError, WeightsError
from dreamvideo.metrics.figures import (
    OLDEST_FRAMES,
    GainByAge,
    Matches,
    clipped_share,
    fine_noise,
    flow_difference,
    frame_gain,
    frames_since_visible,
    luma,
    match_to_earlier,
    saturation,
)
from dreamvideo.metrics.perceptual import load_lpips
from dreamvideo.metrics.video import FrameMetrics, FramePair, VideoMetrics, measure_frames
from dreamvideo.motion.flow import FarnebackFlow
from dreamvideo.networks.torchvision_models import weights_download
from dreamvideo.runtime.threads import leave_core_free
from dreamvideo.types import FloatArray
from tests.conftest import ffmpeg, frames_of
from tests.test_motion_matching import scene

CPU = torch.device("cpu")
HEIGHT, WIDTH = 96, 128
LAYER = "blocks.5.expand"
NOISE = 0.02

MakeDreamer = Callable[..., Dreamer]


@pytest.fixture
def measured(make_dreamer: MakeDreamer) -> Iterator[Callable[..., VideoMetrics]]:
    """Measures sources and dreams, (H, W, 3) each."""

    def measure(sources: Sequence[FloatArray], dreams: Iterable[FloatArray]) -> VideoMetrics:
        times = (index / 25 for index in range(len(sources)))
        pairs = map(FramePair, times, sources, dreams)
        *frames, video = measure_frames(pairs, make_dreamer(layer=LAYER))
        assert isinstance(video, VideoMetrics)
        assert list(video.frames) == frames
        return video

    with leave_core_free(CPU):
        yield measure


def picture(values: FloatArray) -> Tensor:
    return torch.from_numpy(values).permute(2, 0, 1)[None]


def panned(seed: int, frames: int, stride_px: int = 2) -> list[FloatArray]:
    """A window that moves to the right over a scene."""
    wide = scene(seed, HEIGHT, WIDTH + stride_px * frames)
    return [
        np.ascontiguousarray(wide[:, at * stride_px : at * stride_px + WIDTH])
        for at in range(frames)
    ]


class TestFilm:
    def test_a_dream_that_is_its_source(self, measured: Callable[..., VideoMetrics]) -> None:
        clip = panned(0, 12)
        found = measured(clip, clip)
        assert found.curve("warping_error") == found.curve("source_warping_error")
        assert found.curve("clipped") == found.curve("source_clipped")
        assert found.mean("dream_gain") == 1
        assert found.mean("flow_difference") == 0
        assert found.drift("luma") == pytest.approx(0, abs=1e-6)
        assert found.drift("saturation") == pytest.approx(0, abs=1e-6)
        assert found.new_to_rest == pytest.approx(1)
        assert found.fine_noise is None

    def test_noise_on_a_still_clip_changes_by_twice_its_variance(
        self, measured: Callable[..., VideoMetrics]
    ) -> None:
        still, random = scene(0, HEIGHT, WIDTH) * 0.6 + 0.2, np.random.default_rng(0)
        dreams = [
            (still + random.normal(0, NOISE, still.shape)).astype(np.float32) for _ in range(10)
        ]
        found = measured([still] * 10, dreams)
        assert found.mean("warping_error") == pytest.approx(2 * NOISE**2, rel=0.02)
        assert found.mean("long_warping_error") == pytest.approx(2 * NOISE**2, rel=0.02)
        assert found.mean("source_warping_error") == pytest.approx(0, abs=1e-9)

    def test_a_pattern_that_goes_along_is_steady_and_one_that_stays_is_not(
        self, measured: Callable[..., VideoMetrics]
    ) -> None:
        clip, pattern = panned(0, 10), panned(1, 10)
        along = measured(
            clip, [0.5 * one + 0.5 * other for one, other in zip(clip, pattern, strict=True)]
        )
        stays = measured(clip, [0.5 * one + 0.5 * pattern[0] for one in clip])
        assert (along.mean("warping_error") or 1) < 1e-5
        assert (stays.mean("warping_error") or 0) > 30 * (along.mean("warping_error") or 1)
        assert (along.mean("flow_difference") or 1) < (stays.mean("flow_difference") or 0) / 5

    def test_the_long_run_begins_with_the_ninth_frame(
        self, measured: Callable[..., VideoMetrics]
    ) -> None:
        still = scene(0, HEIGHT, WIDTH) * 0.5
        found = measured([still] * 10, [still + np.float32(0.01 * at) for at in range(10)])
        assert found.curve("warping_error")[0] is None
        assert found.curve("warping_error")[1:] == pytest.approx([1e-4] * 9, rel=1e-3)
        assert found.curve("long_warping_error")[:8] == [None] * 8
        assert found.curve("long_warping_error")[8:] == pytest.approx([64e-4] * 2, rel=1e-3)

    def test_nothing_moves_from_one_shot_to_the_next(
        self, measured: Callable[..., VideoMetrics]
    ) -> None:
        one = scene(0, HEIGHT, WIDTH) * np.array([1, 0.2, 0.2], np.float32)
        other = scene(1, HEIGHT, WIDTH) * np.array([0.2, 0.3, 1], np.float32)
        clip = [one] * 9 + [other] * 3
        found = measured(clip, clip)
        nothing = [at for at, value in enumerate(found.curve("warping_error")) if value is None]
        assert nothing == [0, 9]
        assert [value is None for value in found.curve("long_warping_error")] == [
            at != 8 for at in range(12)
        ]
        assert found.new_to_rest is None

    def test_what_is_new_is_dreamed_less(self, measured: Callable[..., VideoMetrics]) -> None:
        """A dream that fades out toward the edge where a pan uncovers."""
        clip = panned(0, 10, stride_px=8)
        weight = np.ones((1, WIDTH, 1), np.float32)
        weight[:, -48:] = 0
        dreams = [(one + weight * (one - one.mean())).clip(0, 1) for one in clip]
        found = measured(clip, dreams)
        assert found.new_to_rest is not None
        assert found.new_to_rest < 0.9
        assert measured(clip, clip).new_to_rest == pytest.approx(1)

    def test_a_class_has_no_places(self, make_dreamer: MakeDreamer) -> None:
        dreamer = make_dreamer(layer=LAYER)
        dreamer.objectives._class_channel = 3
        clip = panned(0, 2)
        assert dreamer.objectives.places(0, picture(clip[0]), picture(clip[1])) == []

    @pytest.mark.parametrize(("frames", "expected"), [(41, 0.1), (6, 0.1), (3, 0.1), (2, None)])
    def test_drift_compares_the_end_with_the_beginning(
        self, frames: int, expected: float | None
    ) -> None:
        """The first frame counts for nothing."""
        half = (frames - 1) // 2
        levels = [9.0, *[0.5] * half, *[7.0] * ((frames - 1) % 2), *[0.55] * half]
        video = VideoMetrics(
            tuple(
                FrameMetrics(at, luma=level, source_luma=0.25, saturation=0.2, source_saturation=s)
                for at, (level, s) in enumerate(zip(levels, levels, strict=True))
            ),
            (),
            None,
        )
        fitting = None if expected is None else pytest.approx(expected)
        assert video.drift("luma") == fitting
        # The source goes up as far, and the dream stays.
        down = None if expected is None else pytest.approx(1 / (1 + expected) - 1)
        assert video.drift("saturation") == down


class TestPictures:
    def test_fine_noise_is_what_is_above_half_the_highest_frequency(self) -> None:
        flat = np.full((64, 64, 3), 0.5, np.float32)
        y, x = np.indices((64, 64))[..., None]
        board = (0.1 * (-1.0) ** (x + y) * np.ones(3)).astype(np.float32)
        wave = (0.1 * np.cos(2 * np.pi * 3 * x / 64) * np.ones(3)).astype(np.float32)
        shares = [
            fine / all_
            for fine, all_ in (
                fine_noise(picture(flat), picture(flat + change))
                for change in (board, wave, board + wave)
            )
        ]
        # Of the board and the wave together, 2/3 of the energy: 0.1² and 0.1² / 2.
        assert shares == pytest.approx([1, 0, 2 / 3], abs=1e-4)

    def test_only_flat_areas_count(self) -> None:
        source = np.full((64, 64, 3), 0.5, np.float32)
        source[:, 32:] += np.random.default_rng(0).uniform(-0.3, 0.3, (64, 32, 1))
        change = np.zeros_like(source)
        change[::2, 32:], change[1::2, 32:] = 0.1, -0.1
        fine, all_ = fine_noise(picture(source), picture(source + change))
        assert (fine, all_) == pytest.approx((0, 0), abs=1e-4)

    def test_clipped_luma_and_saturation(self) -> None:
        red = np.zeros((2, 2, 3), np.float32)
        red[..., 0] = 1
        red[0, 0] = (0.4, 0.5, 0.7)
        assert clipped_share(picture(red)) == 0.75
        assert luma(picture(red)) == pytest.approx(
            0.75 * 0.2126 + 0.25 * (0.4 * 0.2126 + 0.5 * 0.7152 + 0.7 * 0.0722)
        )
        assert saturation(picture(red)) == pytest.approx(0.75 * 1 + 0.25 * 0.3)
        assert luma(picture(red * 1.1)) == pytest.approx(1.1 * luma(picture(red)))


class TestRegions:
    def test_what_a_square_leaves_behind_is_new(self) -> None:
        background, square = scene(0, 216, 288), scene(1, 120, 120)

        def at(left: int) -> FloatArray:
            frame = background.copy()
            frame[48:168, left : left + 120] = square
            return frame

        found = match_to_earlier(at(76), at(60), FarnebackFlow())
        ages = frames_since_visible(None, found)
        # The flow is smooth, so that the square's upper and lower ends are uncertain.
        assert (ages[60:156, 60:76] == 0).float().mean() > 0.8
        assert ages[70:146, 96:176].isinf().float().mean() > 0.95
        far = torch.ones(216, 288, dtype=torch.bool)
        far[24:192, 36:220] = False
        assert ages[far].isinf().float().mean() > 0.99

    def test_ages_count_up_and_move_along(self) -> None:
        flow = np.zeros((4, 8, 2), np.float32)
        flow[..., 0] = -2  # it was 2 px to the left
        new = np.zeros((4, 8), bool)
        new[:, :2] = True
        found = Matches(flow, ~new, new)
        ages = frames_since_visible(None, found)
        for _ in range(2):
            ages = frames_since_visible(ages, found)
        assert ages[0].tolist() == [0, 0, 1, 1, 2, 2, np.inf, np.inf]

    def test_a_camera_that_stands_still_uncovers_nothing(self) -> None:
        still, random = scene(0, HEIGHT, WIDTH), np.random.default_rng(0)
        one, other = (
            (still + random.normal(0, 0.01, still.shape)).clip(0, 1).astype(np.float32)
            for _ in range(2)
        )
        assert not match_to_earlier(one, other, FarnebackFlow()).uncovered.any()

    def test_gains_of_hand_made_maps(self) -> None:
        ages = torch.full((32, 32), torch.inf)
        ages[:, :8], ages[:, 8:12], ages[:, 12:13] = 0, 7, 3
        before, after = torch.full((8, 8), 0.5), torch.full((8, 8), 2.0)
        after[:, :2] = 1.0
        after[:, 2] = 1.5
        regions = GainByAge()
        regions.add(["a"], [(1.0, before)], [(1.0, after)], ages)
        gains = regions.gains_by_age()
        assert len(gains) == OLDEST_FRAMES + 1
        # Age 3 is seen by a quarter of 8 places: too few.
        assert gains == pytest.approx([2, *[None] * 6, 3, None])
        new, rest = (2 * 16 + 4 * 2) / 18, (3 * 8 + 4 * 38) / 46
        assert regions.new_to_rest() == pytest.approx(new / rest)

    def test_layers_mix_by_their_shares_and_may_change(self) -> None:
        ages = torch.zeros(8, 8)
        one = torch.ones(8, 8)
        regions = GainByAge()
        regions.add(["a", "b"], [(0.5, one), (0.5, one)], [(0.5, 4 * one), (0.5, 9 * one)], ages)
        assert regions.gain([0]) == pytest.approx(6)
        regions.add(["c"], [(1.0, one[:4, :4])], [(1.0, 6 * one[:4, :4])], ages)
        assert regions.gain([0]) == pytest.approx(6)
        assert regions.gain([1]) is None
        assert GainByAge().new_to_rest() is None
        assert frame_gain([(0.5, one), (-0.5, one)], [(0.5, 4 * one), (-0.5, 9 * one)]) == (
            pytest.approx(2 / 3)
        )

    def test_flows_differ_by_both_directions(self) -> None:
        one, other = np.zeros((4, 4, 2), np.float32), np.zeros((4, 4, 2), np.float32)
        other[:2] = (1, -3)
        assert flow_difference(one, other) == 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of 20 frames, and a dream of 5 of them that names files which are gone."""
    folder = tmp_path_factory.mktemp("films")
    source = "testsrc2=s=128x96:r=25:d=0.8"
    ffmpeg("-f", "lavfi", "-i", source, "-c:v", "libx264", "-crf", "1", folder / "clip.mp4")
    white = np.full((48, 64, 3), 255, np.uint8)
    for name in ("mask.png", "guide.png"):
        iio.imwrite(folder / name, white)
    words = [str(folder / "clip.mp4"), str(folder / "dream.mp4"), "--quiet"]
    words += ["--size", "64", "--octaves", "1", "--iterations", "2", "--device", "cpu"]
    words += ["--start", "0.2", "--end", "0.6"]
    words += ["--every", "2", "--layer", LAYER, "--channel", "1,2,3"]
    words += ["--mask", str(folder / "mask.png"), "--guide", str(folder / "guide.png")]
    assert main(words) == 0
    (folder / "mask.png").unlink()
    (folder / "guide.png").unlink()
    ffmpeg("-i", folder / "clip.mp4", "-map_metadata", "-1", "-crf", "1", folder / "other.mkv")
    ffmpeg("-i", folder / "clip.mp4", "-frames:v", "1", "-c", "copy", folder / "short.mp4")
    ffmpeg("-i", folder / "clip.mp4", "-vf", "crop=96:96", "-crf", "1", folder / "square.mp4")
    (folder / "frames").mkdir()
    for frame in frames_of(folder / "clip.mp4"):
        pixels = np.rint(frame.image * 255).astype(np.uint8)
        iio.imwrite(folder / "frames" / f"{frame.index}.png", pixels)
    iio.imwrite(folder / "still.png", white)
    return folder


@pytest.fixture
def told(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What measure prints of two files in the folder."""

    def run(source: str, dream: str, *words: str) -> str:
        line = ["measure", str(folder / source), str(folder / dream), "--quiet", *words]
        assert main([*line, "--device", "cpu"]) == 0
        return capsys.readouterr().out

    return run


def strictly(text: str) -> Any:
    """JSON, and no number that is none."""

    def refuse(constant: str) -> NoReturn:
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refuse)


class TestWord:
    def test_settings_come_from_the_film(self, told: Callable[..., str], folder: Path) -> None:
        """The part of the source, the layer and the channels; the mask and the guide are gone."""
        found = strictly(told("clip.mp4", "dream.mp4", "--json"))
        assert found["source"] == str(folder / "clip.mp4")
        assert found["dream"] == str(folder / "dream.mp4")
        assert (found["model"], found["layer"]) == ("efficientnet_lite0", LAYER)
        assert (found["width"], found["height"], found["frames"]) == (64, 48, 5)
        figures, curves = found["figures"], found["curves"]
        assert abs(figures["dream_gain"] - 1) > 0.02
        assert figures["source_warping_error"] > 0
        assert figures["long_warping_error"] is None
        assert figures["perceptual_difference"] is None
        assert {"flow_difference", "new_to_rest", "clipped", "source_clipped"} <= figures.keys()
        assert {"luma_drift", "saturation_drift", "fine_noise"} <= figures.keys()
        assert curves["time_seconds"] == pytest.approx([0, 0.08, 0.16, 0.24, 0.32])
        assert all(len(curve) == 5 for curve in curves.values())
        assert curves["warping_error"][0] is None
        assert len(found["gains_by_age"]) == OLDEST_FRAMES + 1

    def test_the_line_wins_over_the_film(self, told: Callable[..., str]) -> None:
        """Another layer leaves the film's channels, another network its layer."""
        found = strictly(told("clip.mp4", "dream.mp4", "--json", "--layer", "blocks.1"))
        own = strictly(told("clip.mp4", "dream.mp4", "--json"))
        assert found["layer"] == "blocks.1"
        assert found["figures"]["dream_gain"] != own["figures"]["dream_gain"]
        other = ["--model", "squeezenet1_1", "--weights", "random"]
        found = strictly(told("clip.mp4", "dream.mp4", "--json", *other))
        assert found["model"] == "squeezenet1_1"
        assert found["layer"].startswith("features")
        found = strictly(told("clip.mp4", "dream.mp4", "--json", "--class", "tabby"))
        assert found["layer"] == "output"
        assert found["figures"]["new_to_rest"] is None

    def test_the_part_can_be_told(self, told: Callable[..., str]) -> None:
        found = told("clip.mp4", "dream.mp4", "--start", "0", "--end", "0.4", "--every", "2")
        assert ": 5 frames of 64x48" in found

    @pytest.mark.parametrize("dream", ["other.mkv", "frames"])
    def test_films_of_others_and_folders(self, dream: str, told: Callable[..., str]) -> None:
        found = strictly(told("clip.mp4", dream, "--json", "--layer", LAYER))
        assert found["frames"] == 20
        assert found["figures"]["dream_gain"] == pytest.approx(1, abs=0.02)
        assert found["figures"]["long_warping_error"] == pytest.approx(
            found["figures"]["source_long_warping_error"], rel=0.1
        )

    def test_a_dream_larger_than_its_source(
        self, told: Callable[..., str], tmp_path: Path, folder: Path
    ) -> None:
        ffmpeg("-i", folder / "short.mp4", "-vf", "scale=160:120", tmp_path / "large.mp4")
        assert "1 frame of 160x120" in told("short.mp4", str(tmp_path / "large.mp4"))

    def test_one_frame_has_no_motion(self, told: Callable[..., str]) -> None:
        lines = {
            line[:19].strip(): line[19:].split()
            for line in told("short.mp4", "short.mp4", "--layer", LAYER).splitlines()
        }
        assert lines["warping error"][:2] == ["-", "-"]
        assert lines["luma drift"][0] == lines["tOF"][0] == lines["tLP"][0] == "-"
        assert lines["dream gain"][0] == "1"
        found = strictly(told("short.mp4", "short.mp4", "--layer", LAYER, "--json"))
        assert found["figures"]["warping_error"] is None
        assert found["curves"]["warping_error"] == [None]
        assert found["gains_by_age"] == [None] * (OLDEST_FRAMES + 1)

    def test_the_table_has_a_line_for_each_figure(self, told: Callable[..., str]) -> None:
        lines = told("clip.mp4", "dream.mp4").splitlines()
        assert f"5 frames of 64x48, {LAYER} of efficientnet_lite0" in lines[0]
        assert len(lines) == 12
        assert all(len(line) < 110 for line in lines[1:])

    def test_help(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as caught:
            main(["measure", "--help"])
        assert caught.value.code == 0
        text = capsys.readouterr().out
        assert "dreamvideo measure SOURCE DREAM" in text
        assert "--octaves" not in text

    @pytest.mark.parametrize(
        ("words", "expected", "status"),
        [
            (["clip.mp4", "dream.mp4", "--end", "0.4"], ["has 3 frames", "has 5", "--every"], 2),
            (["clip.mp4", "short.mp4"], ["has 20 frames", "has 1;"], 2),
            (["clip.mp4", "square.mp4"], ["96x72 pixels", "96x96", "same shape"], 2),
            (["clip.mp4", "still.png"], ["still.png", "a still"], 2),
            (["noise:64x48", "dream.mp4"], ["noise:64x48", "a still"], 2),
            (["-", "dream.mp4"], ["- is a stream"], 2),
            (["clip.mp4", ""], ["empty"], 2),
            (["clip.mp4"], ["DREAM"], 2),
            (["clip.mp4", "none.mp4"], ["none.mp4", "does not exist"], 1),
            (["clip.mp4", "https://x.org/a.mp4"], ["--allow-network"], 2),
            (["clip.mp4", "dream.mp4", "--layer", "nowhere"], ["nowhere"], 2),
            (["clip.mp4", "dream.mp4", "--channel", "9999"], ["no channel 9999"], 2),
            (["clip.mp4", "dream.mp4", "--plot", "x.txt"], ["x.txt", ".svg"], 2),
            (["clip.mp4", "dream.mp4", "--plot", "none/x.png"], ["does not exist"], 1),
            (["clip.mp4", "dream.mp4", "--octaves", "3"], ["--octaves"], 2),
        ],
        ids=str,
    )
    def test_mistakes_get_one_line(
        self,
        words: list[str],
        expected: list[str],
        status: int,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.chdir(folder)
        before = sorted(folder.iterdir())
        assert main(["measure", *words]) == status
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.count("\n") == 1
        for word in expected:
            assert word in printed.err
        assert sorted(folder.iterdir()) == before

    def test_lengths_that_only_counting_tells(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Where both say the same, and one ends early."""
        monkeypatch.setattr(
            "dreamvideo.media.read.video.VideoSource._frame_count", lambda *_: 20, raising=True
        )
        words = ["measure", str(folder / "clip.mp4"), str(folder / "short.mp4"), "--quiet"]
        assert main(words) == 2
        message = capsys.readouterr().err
        assert "clip.mp4 has 20 frames" in message
        assert "short.mp4 has 1;" in message


class TestPlot:
    @pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
    def test_it_is_a_picture(
        self, suffix: str, told: Callable[..., str], tmp_path: Path, folder: Path
    ) -> None:
        plot = tmp_path / f"curve{suffix}"
        assert "5 frames" in told("clip.mp4", "dream.mp4", "--plot", str(plot))
        content = plot.read_bytes()
        if suffix == ".png":
            pixels = iio.imread(plot)
            assert pixels.shape[0] > pixels.shape[1] > 600
            assert pixels[..., :3].std() > 10
        else:
            assert content.startswith(b"<?xml" if suffix == ".svg" else b"%PDF")
        assert list(tmp_path.iterdir()) == [plot]

    def test_it_damages_nothing(
        self,
        told: Callable[..., str],
        tmp_path: Path,
        folder: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        plot = tmp_path / "curve.png"
        plot.write_text("mine")
        videos = [str(folder / "clip.mp4"), str(folder / "dream.mp4")]
        assert main(["measure", *videos, "--plot", str(plot)]) == 2
        assert "--overwrite" in capsys.readouterr().err
        assert plot.read_text() == "mine"
        told("clip.mp4", "dream.mp4", "--plot", str(plot), "--overwrite")
        assert plot.read_bytes().startswith(b"\x89PNG")

    def test_odd_names_and_gaps_are_drawn(self, tmp_path: Path) -> None:
        frames = [FrameMetrics(0.0, luma=0.5, source_luma=0.0), FrameMetrics(0.04, dream_gain=2.0)]
        draw_curves(frames, "a\udcff $b_ of x", tmp_path / "c.PNG")
        draw_curves(frames[1:], "one", tmp_path / "d.svg")
        assert iio.imread(tmp_path / "c.PNG").std() > 10

    def test_without_matplotlib_it_is_told_before_the_work(
        self,
        folder: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        monkeypatch.setattr("dreamvideo.job.comparison.compare_videos", None)
        videos = [str(folder / "clip.mp4"), str(folder / "dream.mp4")]
        assert main(["measure", *videos, "--plot", str(tmp_path / "c.png")]) == 2
        message = capsys.readouterr().err
        assert "pip install 'dreamvideo[plot]'" in message
        assert message.count("\n") == 1


class TestPerceptual:
    @pytest.fixture
    def alexnet(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Random weights in the place of AlexNet's; what is not used takes no room."""
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        torch.manual_seed(0)
        state = models.alexnet(weights=None).state_dict()
        for name in state:
            if name.startswith("classifier"):
                state[name] = torch.zeros(1).expand(state[name].shape)
        place = weights_download("alexnet").path
        place.parent.mkdir(parents=True)
        torch.save(state, place)

    @pytest.mark.usefixtures("alexnet")
    def test_it_is_that_of_its_authors(self) -> None:
        import lpips

        one, other = (picture(scene(seed, 64, 96)) for seed in (0, 1))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = lpips.LPIPS(net="alex", verbose=False)
        expected = float(theirs(one * 2 - 1, other * 2 - 1).detach())
        ours = load_lpips(CPU)
        assert ours(one, other) == pytest.approx(expected, rel=1e-5)
        assert ours(one, other) > 1e-4
        assert ours(one, one) == 0
        with pytest.raises(UsageError, match="30x40 pixels"):
            ours(one[..., :40, :30], one[..., :40, :30])

    @pytest.mark.usefixtures("alexnet")
    def test_a_dream_that_flickers_is_told(self, told: Callable[..., str]) -> None:
        same = strictly(told("clip.mp4", "other.mkv", "--json", "--lpips", "--layer", LAYER))
        dream = strictly(told("clip.mp4", "dream.mp4", "--json", "--lpips"))
        assert same["figures"]["perceptual_difference"] >= 0
        assert same["figures"]["perceptual_difference"] < dream["figures"]["perceptual_difference"]
        assert dream["curves"]["perceptual_difference"][0] is None

    def test_without_network_it_tells_what_is_wanted(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: Any, **__: Any) -> None:
            raise urllib.error.URLError("no route to host")

        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        monkeypatch.setattr("torch.hub.urlopen", refuse)
        with pytest.raises(WeightsError) as caught, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            load_lpips(CPU)
        for word in ("alexnet", "https://", "no route to host", str(tmp_path), "--lpips"):
            assert word in str(caught.value)

    def test_without_the_package_it_tells_how_to_get_it(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setitem(sys.modules, "lpips", None)
        videos = [str(folder / "clip.mp4"), str(folder / "dream.mp4")]
        assert main(["measure", *videos, "--lpips"]) == 2
        message = capsys.readouterr().err
        assert "pip install 'dreamvideo[lpips]'" in message
        assert message.count("\n") == 1
