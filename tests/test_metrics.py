"""The metrics of a dreamed video: values that are known, and the command that reports them."""

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

from dreamvideo import Settings
from dreamvideo.cli.main import main
from dreamvideo.cli.plot import PANELS, draw_curves
from dreamvideo.dream.dreamer import Dreamer
from dreamvideo.errors import UsageError, WeightsError
from dreamvideo.job.image import load_dreamer
from dreamvideo.metrics.formulas import (
    OLDEST_FRAMES,
    GainByAge,
    Matches,
    clipped_share,
    flow_difference,
    frame_gain,
    frames_since_visible,
    luma,
    match_to_earlier,
    residual_energies,
    saturation,
)
from dreamvideo.metrics.perceptual import load_lpips
from dreamvideo.metrics.registry import (
    FRAME_METRICS,
    VIDEO_METRICS,
    FrameMetrics,
    FramePair,
    VideoMetrics,
    source_name,
)
from dreamvideo.metrics.video import measure_frames
from dreamvideo.motion.flow import FarnebackFlow
from dreamvideo.networks.torchvision_models import weights_download
from dreamvideo.runtime.threads import leave_core_free
from dreamvideo.types import FloatArray
from tests.conftest import ffmpeg, frames_of
from tests.synthetic_images import blobs

CPU = torch.device("cpu")
HEIGHT, WIDTH = 96, 128
LAYER = "blocks.5.expand"
NOISE = 0.02

# Takes source, dream and options.
Report = Callable[..., str]
Measure = Callable[[Sequence[FloatArray], Iterable[FloatArray]], VideoMetrics]


@pytest.fixture
def measured(dreamer: Dreamer) -> Iterator[Measure]:
    """Measures sources and dreams, (H, W, 3) each."""

    def measure(sources: Sequence[FloatArray], dreams: Iterable[FloatArray]) -> VideoMetrics:
        return measure_with(dreamer, Settings(layer=LAYER), sources, dreams)

    with leave_core_free(CPU):
        yield measure


def measure_with(
    dreamer: Dreamer,
    settings: Settings,
    sources: Sequence[FloatArray],
    dreams: Iterable[FloatArray],
) -> VideoMetrics:
    times = (index / 25 for index in range(len(sources)))
    *frames, video = measure_frames(map(FramePair, times, sources, dreams), dreamer, settings)
    assert isinstance(video, VideoMetrics)
    assert list(video.frames) == frames
    return video


def frame_metrics(time_seconds: float, **values: float) -> FrameMetrics:
    """Metrics of a frame with some values known."""
    names = [
        name
        for metric, row in FRAME_METRICS.items()
        for name in ([metric, source_name(metric)] if row.has_source else [metric])
    ]
    assert values.keys() <= set(names)
    return FrameMetrics(time_seconds, dict.fromkeys(names) | values)


def as_tensor(values: FloatArray) -> Tensor:
    return torch.from_numpy(values).permute(2, 0, 1)[None]


def panned(seed: int, frames: int, stride_px: int = 2) -> list[FloatArray]:
    """A window that moves to the right over a scene."""
    wide = blobs(seed, HEIGHT, WIDTH + stride_px * frames)
    lefts = range(0, stride_px * frames, stride_px)
    return [np.ascontiguousarray(wide[:, left : left + WIDTH]) for left in lefts]


class TestVideo:
    def test_a_dream_equal_to_its_source(self, measured: Measure) -> None:
        clip = panned(0, 12)
        video = measured(clip, clip)
        assert video.curve("warping_error") == video.curve("source_warping_error")
        assert video.curve("clipped") == video.curve("source_clipped")
        assert video.mean("dream_gain") == 1
        assert video.mean("flow_difference") == 0
        assert video.drift("luma") == pytest.approx(0, abs=1e-6)
        assert video.drift("saturation") == pytest.approx(0, abs=1e-6)
        assert video.new_to_rest == pytest.approx(1)
        assert video.fine_noise is None

    def test_noise_on_a_still_clip_changes_by_twice_its_variance(self, measured: Measure) -> None:
        still, random = blobs(0, HEIGHT, WIDTH) * 0.6 + 0.2, np.random.default_rng(0)
        dreams = [
            (still + random.normal(0, NOISE, still.shape)).astype(np.float32) for _ in range(10)
        ]
        video = measured([still] * 10, dreams)
        assert video.mean("warping_error") == pytest.approx(2 * NOISE**2, rel=0.02)
        assert video.mean("long_warping_error") == pytest.approx(2 * NOISE**2, rel=0.02)
        assert video.mean("source_warping_error") == pytest.approx(0, abs=1e-9)

    def test_a_pattern_that_follows_the_motion_is_steady_and_a_fixed_one_is_not(
        self, measured: Measure
    ) -> None:
        clip, pattern = panned(0, 10), panned(1, 10)
        follows = measured(
            clip, [0.5 * one + 0.5 * other for one, other in zip(clip, pattern, strict=True)]
        )
        fixed = measured(clip, [0.5 * one + 0.5 * pattern[0] for one in clip])
        assert (follows.mean("warping_error") or 1) < 1e-5
        assert (fixed.mean("warping_error") or 0) > 30 * (follows.mean("warping_error") or 1)
        assert (follows.mean("flow_difference") or 1) < (fixed.mean("flow_difference") or 0) / 5

    def test_the_long_term_error_begins_with_the_ninth_frame(self, measured: Measure) -> None:
        still = blobs(0, HEIGHT, WIDTH) * 0.5
        video = measured([still] * 10, [still + np.float32(0.01 * at) for at in range(10)])
        assert video.curve("warping_error")[0] is None
        assert video.curve("warping_error")[1:] == pytest.approx([1e-4] * 9, rel=1e-3)
        assert video.curve("long_warping_error")[:8] == [None] * 8
        assert video.curve("long_warping_error")[8:] == pytest.approx([64e-4] * 2, rel=1e-3)

    def test_there_is_no_motion_from_one_shot_to_the_next(self, measured: Measure) -> None:
        one = blobs(0, HEIGHT, WIDTH) * np.array([1, 0.2, 0.2], np.float32)
        other = blobs(1, HEIGHT, WIDTH) * np.array([0.2, 0.3, 1], np.float32)
        clip = [one] * 9 + [other] * 3
        video = measured(clip, clip)
        first = [at for at, value in enumerate(video.curve("warping_error")) if value is None]
        assert first == [0, 9]
        assert [value is None for value in video.curve("long_warping_error")] == [
            at != 8 for at in range(12)
        ]
        assert video.new_to_rest is None

    def test_new_areas_are_dreamed_less(self, measured: Measure) -> None:
        """A dream that fades out towards the edge at which a pan uncovers the scene."""
        clip = panned(0, 10, stride_px=8)
        weight = np.ones((1, WIDTH, 1), np.float32)
        weight[:, -48:] = 0
        dreams = [(one + weight * (one - one.mean())).clip(0, 1) for one in clip]
        video = measured(clip, dreams)
        assert video.new_to_rest is not None
        assert video.new_to_rest < 0.95
        assert measured(clip, clip).new_to_rest == pytest.approx(1)

    def test_a_class_has_no_positions_and_no_gain_by_age(self) -> None:
        """The gain is that of its probability."""
        clip = panned(0, 2)
        settings = Settings(class_="tabby")
        video = measure_with(load_dreamer(settings, CPU), settings, clip, clip)
        assert video.curve("dream_gain") == pytest.approx([1, 1])
        assert video.new_to_rest is None
        assert set(video.gains_by_age) == {None}

    def test_every_metric_of_the_table_is_in_the_figures(self, measured: Measure) -> None:
        clip = panned(0, 2)
        video = measured(clip, clip)
        of_source = {source_name(name) for name, row in VIDEO_METRICS.items() if row.has_source}
        assert video.figures().keys() == VIDEO_METRICS.keys() | of_source
        assert frame_metrics(0).values.keys() == video.curves().keys() - {"time_seconds"}

    @pytest.mark.parametrize(("frames", "expected"), [(41, 0.1), (6, 0.1), (3, 0.1), (2, None)])
    def test_drift_compares_the_end_with_the_beginning(
        self, frames: int, expected: float | None
    ) -> None:
        """The first frame does not count."""
        half = (frames - 1) // 2
        levels = [9.0, *[0.5] * half, *[7.0] * ((frames - 1) % 2), *[0.55] * half]
        metrics = [
            frame_metrics(
                *(at,), luma=level, source_luma=0.25, saturation=0.2, source_saturation=level
            )
            for at, level in enumerate(levels)
        ]
        video = VideoMetrics(tuple(metrics), (), None)
        rise = None if expected is None else pytest.approx(expected)
        assert video.drift("luma") == rise
        # Here the source rises by as much, and the dream does not.
        fall = None if expected is None else pytest.approx(1 / (1 + expected) - 1)
        assert video.drift("saturation") == fall


class TestImages:
    def test_the_fine_residual_is_above_half_the_nyquist_frequency(self) -> None:
        flat = np.full((64, 64, 3), 0.5, np.float32)
        y, x = np.indices((64, 64))[..., None]
        board = (0.1 * (-1.0) ** (x + y) * np.ones(3)).astype(np.float32)
        wave = (0.1 * np.cos(2 * np.pi * 3 * x / 64) * np.ones(3)).astype(np.float32)
        shares = [
            fine / total
            for fine, total in (
                residual_energies(as_tensor(flat), as_tensor(flat + change))
                for change in (board, wave, board + wave)
            )
        ]
        # The board has an energy of 0.1², the wave of 0.1² / 2.
        assert shares == pytest.approx([1, 0, 2 / 3], abs=1e-4)

    def test_only_flat_areas_count(self) -> None:
        source = np.full((64, 64, 3), 0.5, np.float32)
        source[:, 32:] += np.random.default_rng(0).uniform(-0.3, 0.3, (64, 32, 1))
        change = np.zeros_like(source)
        change[::2, 32:], change[1::2, 32:] = 0.1, -0.1
        fine, total = residual_energies(as_tensor(source), as_tensor(source + change))
        assert (fine, total) == pytest.approx((0, 0), abs=1e-4)

    def test_clipped_luma_and_saturation(self) -> None:
        red = np.zeros((2, 2, 3), np.float32)
        red[..., 0] = 1
        red[0, 0] = (0.4, 0.5, 0.7)
        assert clipped_share(as_tensor(red)) == 0.75
        assert luma(as_tensor(red)) == pytest.approx(
            0.75 * 0.2126 + 0.25 * (0.4 * 0.2126 + 0.5 * 0.7152 + 0.7 * 0.0722)
        )
        assert saturation(as_tensor(red)) == pytest.approx(0.75 * 1 + 0.25 * 0.3)
        assert luma(as_tensor(red * 1.1)) == pytest.approx(1.1 * luma(as_tensor(red)))


class TestGainByAge:
    def test_what_a_moving_square_uncovers_is_new(self) -> None:
        background, square = blobs(0, 216, 288), blobs(1, 120, 120)

        def at(left: int) -> FloatArray:
            frame = background.copy()
            frame[48:168, left : left + 120] = square
            return frame

        matches = match_to_earlier(at(76), at(60), FarnebackFlow())
        ages = frames_since_visible(None, matches)
        # The flow is smooth, so the upper and lower ends of the square are uncertain.
        assert (ages[60:156, 60:76] == 0).float().mean() > 0.4
        assert ages[70:146, 96:176].isinf().float().mean() > 0.95
        far = torch.ones(216, 288, dtype=torch.bool)
        far[24:192, 36:220] = False
        assert ages[far].isinf().float().mean() > 0.99

    def test_ages_increase_and_follow_the_motion(self) -> None:
        flow = np.zeros((4, 8, 2), np.float32)
        flow[..., 0] = -2  # the match is 2 px to the left
        new = np.zeros((4, 8), bool)
        new[:, :2] = True
        matches = Matches(flow, ~new, new)
        ages = frames_since_visible(None, matches)
        for _ in range(2):
            ages = frames_since_visible(ages, matches)
        assert ages[0].tolist() == [0, 0, 1, 1, 2, 2, np.inf, np.inf]

    def test_a_still_camera_uncovers_nothing(self) -> None:
        still, random = blobs(0, HEIGHT, WIDTH), np.random.default_rng(0)
        one, other = (
            (still + random.normal(0, 0.01, still.shape)).clip(0, 1).astype(np.float32)
            for _ in range(2)
        )
        assert not match_to_earlier(one, other, FarnebackFlow()).is_uncovered.any()

    def test_gains_of_known_energies(self) -> None:
        ages = torch.full((32, 32), torch.inf)
        ages[:, :8], ages[:, 8:12], ages[:, 12:13] = 0, 7, 3
        before, after = torch.full((8, 8), 0.5), torch.full((8, 8), 2.0)
        after[:, :2] = 1.0
        after[:, 2] = 1.5
        gains = GainByAge()
        gains.add(["a"], [(1.0, before)], [(1.0, after)], ages)
        by_age = gains.gains_by_age()
        assert len(by_age) == OLDEST_FRAMES + 1
        # Age 3 has a quarter of 8 positions, which is too few.
        assert by_age == pytest.approx([2, *[None] * 6, 3, None])
        new, rest = (2 * 16 + 4 * 2) / 18, (3 * 8 + 4 * 38) / 46
        assert gains.new_to_rest() == pytest.approx(new / rest)

    def test_layers_combine_by_their_weights_and_may_change(self) -> None:
        ages = torch.zeros(8, 8)
        one = torch.ones(8, 8)
        gains = GainByAge()
        gains.add(["a", "b"], [(0.5, one), (0.5, one)], [(0.5, 4 * one), (0.5, 9 * one)], ages)
        assert gains.gain([0]) == pytest.approx(6)
        gains.add(["c"], [(1.0, one[:4, :4])], [(1.0, 6 * one[:4, :4])], ages)
        assert gains.gain([0]) == pytest.approx(6)
        assert gains.gain([1]) is None
        assert GainByAge().new_to_rest() is None
        assert frame_gain([(0.5, one), (-0.5, one)], [(0.5, 4 * one), (-0.5, 9 * one)]) == (
            pytest.approx(2 / 3)
        )

    def test_flow_difference_adds_both_directions(self) -> None:
        one, other = np.zeros((4, 4, 2), np.float32), np.zeros((4, 4, 2), np.float32)
        other[:2] = (1, -3)
        assert flow_difference(one, other) == 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of 20 frames, and a dream of 5 of them whose mask and guide no longer exist."""
    folder = tmp_path_factory.mktemp("videos")
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
def printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> Report:
    """What `measure` prints about two files in the folder."""

    def run(source: str, dream: str, *words: str) -> str:
        line = ["measure", str(folder / source), str(folder / dream), "--quiet", *words]
        assert main([*line, "--device", "cpu"]) == 0
        return capsys.readouterr().out

    return run


def parse_json(text: str) -> Any:
    """JSON without NaN or infinity."""

    def refuse(constant: str) -> NoReturn:
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refuse)


class TestCommand:
    def test_settings_come_from_the_dreamed_video(self, printed: Report, folder: Path) -> None:
        """Range, layer and channels do; a missing mask or guide does not matter."""
        report = parse_json(printed("clip.mp4", "dream.mp4", "--json"))
        assert report["source"] == str(folder / "clip.mp4")
        assert report["dream"] == str(folder / "dream.mp4")
        assert (report["model"], report["layer"]) == ("efficientnet_lite0", LAYER)
        assert (report["width"], report["height"], report["frames"]) == (64, 48, 5)
        figures, curves = report["figures"], report["curves"]
        assert abs(figures["dream_gain"] - 1) > 0.02
        assert figures["source_warping_error"] > 0
        assert figures["long_warping_error"] is None
        assert figures["perceptual_difference"] is None
        assert {"flow_difference", "new_to_rest", "clipped", "source_clipped"} <= figures.keys()
        assert {"luma_drift", "saturation_drift", "fine_noise"} <= figures.keys()
        assert curves["time_seconds"] == pytest.approx([0, 0.08, 0.16, 0.24, 0.32])
        assert all(len(curve) == 5 for curve in curves.values())
        assert curves["warping_error"][0] is None
        assert len(report["gains_by_age"]) == OLDEST_FRAMES + 1

    def test_the_command_line_overrides_the_video(self, printed: Report) -> None:
        """Another layer drops the channels of the video, another network its layer."""
        report = parse_json(printed("clip.mp4", "dream.mp4", "--json", "--layer", "blocks.1"))
        own = parse_json(printed("clip.mp4", "dream.mp4", "--json"))
        assert report["layer"] == "blocks.1"
        assert report["figures"]["dream_gain"] != own["figures"]["dream_gain"]
        other = ["--model", "squeezenet1_1", "--weights", "random"]
        report = parse_json(printed("clip.mp4", "dream.mp4", "--json", *other))
        assert report["model"] == "squeezenet1_1"
        assert report["layer"].startswith("features")
        report = parse_json(printed("clip.mp4", "dream.mp4", "--json", "--class", "tabby"))
        assert report["layer"] == "output"
        assert report["figures"]["new_to_rest"] is None

    def test_the_range_can_be_given(self, printed: Report) -> None:
        report = printed("clip.mp4", "dream.mp4", "--start", "0", "--end", "0.4", "--every", "2")
        assert ": 5 frames of 64x48" in report

    @pytest.mark.parametrize("dream", ["other.mkv", "frames"])
    def test_videos_of_other_programs_and_folders(self, dream: str, printed: Report) -> None:
        report = parse_json(printed("clip.mp4", dream, "--json", "--layer", LAYER))
        assert report["frames"] == 20
        assert report["figures"]["dream_gain"] == pytest.approx(1, abs=0.02)
        assert report["figures"]["long_warping_error"] == pytest.approx(
            report["figures"]["source_long_warping_error"], rel=0.1
        )

    def test_a_dream_larger_than_its_source(
        self, printed: Report, tmp_path: Path, folder: Path
    ) -> None:
        ffmpeg("-i", folder / "short.mp4", "-vf", "scale=160:120", tmp_path / "large.mp4")
        assert "1 frame of 160x120" in printed("short.mp4", str(tmp_path / "large.mp4"))

    def test_one_frame_has_no_motion(self, printed: Report) -> None:
        lines = {
            line[:19].strip(): line[19:].split()
            for line in printed("short.mp4", "short.mp4", "--layer", LAYER).splitlines()
        }
        assert lines["warping error"][:2] == ["-", "-"]
        assert lines["luma drift"][0] == lines["tOF"][0] == lines["tLP"][0] == "-"
        assert lines["dream gain"][0] == "1"
        report = parse_json(printed("short.mp4", "short.mp4", "--layer", LAYER, "--json"))
        assert report["figures"]["warping_error"] is None
        assert report["curves"]["warping_error"] == [None]
        assert report["gains_by_age"] == [None] * (OLDEST_FRAMES + 1)

    def test_the_table_has_a_line_for_each_metric(self, printed: Report) -> None:
        lines = printed("clip.mp4", "dream.mp4").splitlines()
        assert f"5 frames of 64x48, {LAYER} of efficientnet_lite0" in lines[0]
        assert len(lines) == 2 + len(VIDEO_METRICS)
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
    def test_invalid_requests_get_one_line(
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
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        for word in expected:
            assert word in captured.err
        assert sorted(folder.iterdir()) == before

    def test_lengths_that_only_counting_reveals(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Both files declare the same length, and one ends early."""
        monkeypatch.setattr(
            "dreamvideo.media.read.video.VideoSource._frame_count", lambda *_: 20, raising=True
        )
        words = ["measure", str(folder / "clip.mp4"), str(folder / "short.mp4"), "--quiet"]
        assert main(words) == 2
        message = capsys.readouterr().err
        assert "clip.mp4 has 20 frames" in message
        assert "short.mp4 has 1;" in message


class TestPlot:
    def test_every_curve_is_a_metric(self) -> None:
        names = {
            name
            for panel in PANELS
            for curve in panel.curves
            for name in (curve.metric, curve.relative_to)
            if name
        }
        assert names <= frame_metrics(0).values.keys()

    @pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
    def test_it_is_an_image(
        self, suffix: str, printed: Report, tmp_path: Path, folder: Path
    ) -> None:
        plot = tmp_path / f"curve{suffix}"
        assert "5 frames" in printed("clip.mp4", "dream.mp4", "--plot", str(plot))
        content = plot.read_bytes()
        if suffix == ".png":
            pixels = iio.imread(plot)
            assert pixels.shape[0] > pixels.shape[1] > 600
            assert pixels[..., :3].std() > 10
        else:
            assert content.startswith(b"<?xml" if suffix == ".svg" else b"%PDF")
        assert list(tmp_path.iterdir()) == [plot]

    def test_it_overwrites_only_on_request(
        self,
        printed: Report,
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
        printed("clip.mp4", "dream.mp4", "--plot", str(plot), "--overwrite")
        assert plot.read_bytes().startswith(b"\x89PNG")

    def test_unusual_names_and_gaps(self, tmp_path: Path) -> None:
        frames = [
            frame_metrics(0.0, luma=0.5, source_luma=0.0),
            frame_metrics(0.04, dream_gain=2.0),
        ]
        draw_curves(frames, "a\udcff $b_ of x", tmp_path / "c.PNG")
        draw_curves(frames[1:], "one", tmp_path / "d.svg")
        assert iio.imread(tmp_path / "c.PNG").std() > 10

    def test_without_matplotlib_it_is_reported_before_the_work(
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
        """Random weights in place of AlexNet's; unused ones take no memory."""
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        torch.manual_seed(0)
        state = models.alexnet(weights=None).state_dict()
        for name in state:
            if name.startswith("classifier"):
                state[name] = torch.zeros(1).expand(state[name].shape)
        path = weights_download("alexnet").path
        path.parent.mkdir(parents=True)
        torch.save(state, path)

    @pytest.mark.usefixtures("alexnet")
    def test_it_equals_that_of_its_authors(self) -> None:
        import lpips

        one, other = (as_tensor(blobs(seed, 64, 96)) for seed in (0, 1))
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
    def test_a_flickering_dream_differs(self, printed: Report) -> None:
        same = parse_json(printed("clip.mp4", "other.mkv", "--json", "--lpips", "--layer", LAYER))
        dream = parse_json(printed("clip.mp4", "dream.mp4", "--json", "--lpips"))
        assert same["figures"]["perceptual_difference"] >= 0
        assert same["figures"]["perceptual_difference"] < dream["figures"]["perceptual_difference"]
        assert dream["curves"]["perceptual_difference"][0] is None

    def test_without_network_it_says_what_is_needed(
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

    def test_without_the_package_it_says_how_to_install_it(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setitem(sys.modules, "lpips", None)
        videos = [str(folder / "clip.mp4"), str(folder / "dream.mp4")]
        assert main(["measure", *videos, "--lpips"]) == 2
        message = capsys.readouterr().err
        assert "pip install 'dreamvideo[lpips]'" in message
        assert message.count("\n") == 1
