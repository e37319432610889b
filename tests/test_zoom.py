"""Zooms are sharp, level, steady and repeatable, without a border or a seam."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from PIL import Image

from dreamvideo import Progress, Settings, dream_video
from dreamvideo.cli.arguments import parse
from dreamvideo.dream.dreamer import Dreamer
from dreamvideo.errors import (
    DreamVideoWarning,
    InputError,
    OutputError,
    ResumeError,
    SettingsError,
    UsageError,
)
from dreamvideo.job.image import load_dreamer
from dreamvideo.media.read.still import natural_noise
from dreamvideo.metrics.formulas import clipped_share, luma, saturation
from dreamvideo.networks.extractor import FeatureExtractor
from dreamvideo.runtime.devices import upload
from dreamvideo.settings.frame_params import frame_params
from dreamvideo.types import FloatArray
from dreamvideo.zoom.reference import ColourStatistics, match_colours
from dreamvideo.zoom.zoom import zoom_settings
from scripts.zoom import (
    camera_of,
    coherence,
    displacement_px,
    seam,
    sharpness,
    zoom_frames,
)
from tests.conftest import CPU, frames_of, mean_error, params, psnr

SMALL = Settings(size=160, fps=12.0, duration=1.0, device="cpu", preset="ultrafast")


@pytest.fixture(scope="module")
def falling(sample_still: Path) -> list[FloatArray]:
    """Five seconds of the default camera; `scripts/zoom.py` measures nine."""
    return zoom_frames([sample_still], DEFAULT)


DEFAULT = Settings(duration=5.1, device="cpu")


class TestDefaultZoom:
    def test_begins_with_the_untouched_still(
        self, falling: list[FloatArray], sample_still: Path
    ) -> None:
        still = frames_of(sample_still, replace(DEFAULT, size=451))[0].image
        assert mean_error(falling[0], still) < 0.01
        changes = [np.abs(now - before).mean() for before, now in pairwise(falling[:30])]
        assert changes[0] < 0.02  # it does not pop in

    def test_stays_sharp_and_level(self, falling: list[FloatArray]) -> None:
        # Of single frames it depends on what is just passed: these means are 0.77 to 0.91 for six
        # seeds. Without the narrow smoothing of zooms a quarter is left after 9 s.
        means = [
            np.mean([sharpness(frame) for frame in part])
            for part in (falling[45:75], falling[135:])
        ]
        assert 0.7 <= means[1] / means[0] <= 1.25
        images = [upload(frame, CPU) for frame in falling]
        assert abs(luma(images[150]) / luma(images[60]) - 1) <= 0.08
        assert abs(saturation(images[150]) / saturation(images[60]) - 1) <= 0.08
        assert max(map(clipped_share, images)) < 0.06

    def test_keeps_its_gain(self, falling: list[FloatArray], dreamer: Dreamer) -> None:
        gains = [
            dreamer.gain(dreamer.upload(falling[0]), dreamer.upload(falling[index]), params())
            for index in (60, 150)
        ]
        assert min(gains) > 1.4
        assert max(gains) < 1.25 * min(gains)

    def test_is_steady_under_the_camera(
        self, falling: list[FloatArray], sample_still: Path
    ) -> None:
        assert coherence([sample_still], DEFAULT, falling) <= 0.15


@pytest.mark.parametrize("layer", ["blocks.5.expand"])
def test_other_layers_stay_level(layer: str, sample_still: Path) -> None:
    frames = zoom_frames([sample_still], replace(DEFAULT, layer=layer, fps=15.0, duration=4))
    early, late = frames[30], frames[-1]
    assert 0.6 <= sharpness(late) / sharpness(early) <= 1.4
    first, last = upload(early, CPU), upload(late, CPU)
    assert abs(luma(last) / luma(first) - 1) <= 0.08
    assert abs(saturation(last) / saturation(first) - 1) <= 0.08
    assert clipped_share(last) < 0.06


@pytest.mark.parametrize(
    "options",
    [
        {"objective": "mean"},
        {"channel": (40, 100)},
        {"weakest": 30},
        {"guide": "noise:96x96"},
        {"class_": "goldfish"},
        {"layer": "blocks.5.expand=-1"},
        {"layer": "blocks.10.expand+blocks.5.expand=-0.5"},
    ],
    ids=str,
)
def test_every_objective_is_raised_and_kept_level(
    options: dict[str, Any], sample_still: Path
) -> None:
    settings = Settings(size=128, fps=10.0, duration=3.0, zoom=1.0, device="cpu", **options)
    frames = zoom_frames([sample_still], settings)
    dreamer = load_dreamer(zoom_settings(settings), torch.device("cpu"))
    images = [dreamer.upload(frames[index]) for index in (0, 15, 29)]
    objective = dreamer.objectives.build(frame_params(settings, 0.0), images[0])
    with torch.no_grad():
        before, early, late = (float(objective(image)) for image in images)
    assert early > before + 0.05
    assert late > before + 0.7 * (early - before)
    assert np.abs(frames[15] - frames[0]).mean() > 0.03
    assert clipped_share(upload(frames[29], CPU)) < 0.06


@pytest.mark.parametrize("rate", [24, 60])
def test_any_frame_rate_ends_at_the_same_zoom(rate: int, sample_still: Path) -> None:
    settings = Settings(
        size=320, strength=0.0, zoom=1.6, fps=float(rate), duration=2.1, device="cpu"
    )
    frames = zoom_frames([sample_still], settings)
    move = camera_of(settings, frames[0]).between(0, 2)
    assert displacement_px(frames[0], frames[2 * rate], move) < 1


@pytest.mark.parametrize(
    "camera",
    [
        {"zoom": 1.6},
        {"zoom": 1.5, "rotate": 30.0, "centre": (0.4, 0.6)},
        {"zoom": 0.8},
        {"zoom": 1.0, "pan_x": 0.1},
        {"zoom": [(0, 1.0), (2, 2.0, "smooth"), (4, 1.0)]},
    ],
    ids=str,
)
def test_a_loop_has_no_seam(camera: dict[str, Any], sample_still: Path) -> None:
    settings = Settings(size=144, fps=12.0, duration=4.0, loop=True, device="cpu", **camera)
    frames = zoom_frames([sample_still], settings)
    assert len(frames) == 48
    # 0.2 to 1.3 by seed and camera; without the loop it is 60 to 70.
    assert seam(frames, camera_of(settings, frames[0]), 12) < 2
    # In between, the camera moved far away.
    assert np.abs(frames[24] - frames[0]).mean() > 0.05


@pytest.mark.parametrize(
    "camera", [{"zoom": 0.8}, {"zoom": 1.0, "pan_x": 0.15}, {"zoom": 1.0, "rotate": 30.0}], ids=str
)
def test_no_border_shows(
    camera: dict[str, Any], sample_still: Path, backbone: FeatureExtractor
) -> None:
    settings = Settings(size=208, fps=16.0, duration=3.0, device="cpu", **camera)
    frames = zoom_frames([sample_still], settings)
    layer = Settings().layer
    for index in (30, 40, 47):
        image = frames[index]
        picture = torch.from_numpy(image).permute(2, 0, 1)[None]
        activation = backbone(picture, [layer])[0].square().mean(1)[0]
        ring = torch.ones_like(activation, dtype=torch.bool)
        ring[1:-1, 1:-1] = False
        # It is dreamed like the rest, and as bright.
        assert activation[ring].mean() > 0.5 * activation[~ring].mean()
        edges = [image[:6].mean(), image[-6:].mean(), image[:, :6].mean(), image[:, -6:].mean()]
        assert min(edges) > 0.5 * image.mean()
        # What lies along the right edge is not the mirror image of what lies beside it.
        band, beside = image[:, -12:], image[:, -24:-12][:, ::-1]
        assert np.corrcoef(band.ravel(), beside.ravel())[0, 1] < 0.9


def test_a_zoom_passes_through_every_still(sample_still: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.png"
    iio.imwrite(other, np.ascontiguousarray(255 - iio.imread(sample_still)[::-1]))
    settings = Settings(size=160, fps=15.0, duration=6.0, zoom=1.6, device="cpu")
    frames = zoom_frames([sample_still, other, sample_still], settings)
    stills = [
        zoom_frames([path], replace(settings, duration=0.1))[0] for path in (sample_still, other)
    ]
    for index, still in ((0, stills[0]), (30, stills[1]), (60, stills[0])):
        inner = np.s_[8:-8, 8:-8]
        assert np.corrcoef(frames[index][inner].ravel(), still[inner].ravel())[0, 1] > 0.85
    # On the way it is neither.
    for still in stills:
        assert np.corrcoef(frames[18].ravel(), still.ravel())[0, 1] < 0.6


@pytest.mark.parametrize(("stills", "frames", "fps"), [(8, 24, 30.0), (3, 6, 1.0), (4, 16, 10.0)])
def test_every_still_arrives_however_short_its_stage(
    stills: int, frames: int, fps: float, sample_still: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.png"
    iio.imwrite(other, np.ascontiguousarray(255 - iio.imread(sample_still)[::-1]))
    pair = [sample_still, other]
    settings = replace(SMALL, size=96, fps=fps, duration=frames / fps)
    shown = zoom_frames([pair[i % 2] for i in range(stills)], settings)
    assert len(shown) == frames
    plain = [zoom_frames([path], replace(settings, duration=max(0.1, 1 / fps)))[0] for path in pair]
    for index in range(stills):
        assert psnr(shown[index * frames // stills], plain[index % 2]) > 60


def test_a_step_size_that_grows_from_zero_reaches_its_target_level(sample_still: Path) -> None:
    """The target level follows the keyframes and is not that of the first one."""
    settings = replace(SMALL, size=128, zoom=1.0, duration=2.5)
    rising: dict[str, Any] = {"step_size": [(0, 0.0), (0.5, 0.015)]}
    spread = [
        float((frames[-1] - frames[0]).std())
        for frames in (
            zoom_frames([sample_still], settings),
            zoom_frames([sample_still], replace(settings, **rising)),
        )
    ]
    assert spread[1] > 0.8 * spread[0]


def test_long_loops_that_zoom_out_are_finite(sample_still: Path) -> None:
    settings = Settings(
        size=64, fps=0.5, duration=1200.0, zoom=0.5, loop=True, warm_iterations=0, device="cpu"
    )
    frames = zoom_frames([sample_still], settings)
    assert len(frames) == 600
    assert all(np.isfinite(frame).all() for frame in frames[::50])


class TestRepeatability:
    def test_same_command_same_frames(self, sample_still: Path) -> None:
        one, two = (zoom_frames([sample_still], replace(SMALL, rotate=20.0)) for _ in range(2))
        other = zoom_frames([sample_still], replace(SMALL, rotate=20.0, seed=1))
        assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
        assert not np.array_equal(one[-1], other[-1])

    @pytest.mark.parametrize("camera", [{}, {"zoom": 0.7, "pan_x": 0.1, "loop": True}], ids=str)
    def test_a_resumed_run_gives_the_same_frames(
        self, camera: dict[str, Any], sample_still: Path, tmp_path: Path
    ) -> None:
        settings = replace(SMALL, segment_frames=4, encoder="ffv1", preset=None, **camera)
        dream_video(sample_still, tmp_path / "whole.mkv", settings)

        def stop(progress: Progress) -> None:
            if progress.frames_done == 11:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            dream_video(sample_still, tmp_path / "cut.mkv", settings, stop)
        summary = dream_video(sample_still, tmp_path / "cut.mkv", settings)
        assert summary.frames == 12
        assert summary.frames_resumed >= 4
        whole, cut = (frames_of(tmp_path / name) for name in ("whole.mkv", "cut.mkv"))
        for one, other in zip(whole, cut, strict=True):
            assert np.array_equal(one.image, other.image)
            assert one.time_seconds == other.time_seconds
        assert not list(tmp_path.glob("*.part"))

    def test_another_order_is_another_run(self, sample_still: Path, tmp_path: Path) -> None:
        settings = replace(SMALL, segment_frames=2, size=64)

        def stop(progress: Progress) -> None:
            if progress.frames_done == 8:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            dream_video(["noise:96x64", sample_still], tmp_path / "o.mp4", settings, stop)
        with pytest.raises(ResumeError, match="input"):
            dream_video([sample_still, "noise:96x64"], tmp_path / "o.mp4", settings)


def test_a_second_is_dreamed_as_much_at_any_frame_rate(sample_still: Path) -> None:
    spreads = []
    for fps in (10.0, 30.0):
        settings = replace(SMALL, fps=fps, duration=1.5, zoom=1.0, size=128)
        frames = zoom_frames([sample_still], settings)
        spreads.append(float((frames[-1] - frames[0]).std()))
    assert spreads[0] == pytest.approx(spreads[1], rel=0.25)


def test_keyframes_change_the_dream_of_a_zoom_and_of_a_clip(
    sample_still: Path, sample_clip: Path, tmp_path: Path
) -> None:
    fading: dict[str, Any] = {"strength": [(0, 0.0), (0.4, 0.0), (0.8, 2.0)]}
    plain = zoom_frames([sample_still], replace(SMALL, strength=0.0))
    dreamed = zoom_frames([sample_still], replace(SMALL, **fading))
    changes = [np.abs(a - b).mean() for a, b in zip(dreamed, plain, strict=True)]
    assert max(changes[:5]) < 1e-3
    assert changes[11] > 0.02
    settings = Settings(size=128, end=1.0, device="cpu", octaves=2, crf=1, **fading)
    dream_video(sample_clip, tmp_path / "d.mp4", settings)
    dream_video(sample_clip, tmp_path / "p.mp4", replace(settings, strength=0.0))
    videos = [frames_of(tmp_path / name) for name in ("d.mp4", "p.mp4")]
    errors = [mean_error(a.image, b.image) for a, b in zip(*videos, strict=True)]
    assert max(errors[:10]) < 0.6
    assert errors[24] > 4


def test_layers_change_over_time(sample_still: Path) -> None:
    settings = replace(SMALL, zoom=1.0)
    layers = ("blocks.5.expand", "blocks.10.expand")
    first = zoom_frames([sample_still], replace(settings, layer=layers[0]))
    changing: dict[str, Any] = {"layer": [(0, layers[0]), (0.5, layers[0]), (0.7, layers[1])]}
    both = zoom_frames([sample_still], replace(settings, **changing))
    assert all(np.array_equal(first[index], both[index]) for index in range(7))
    assert np.abs(first[11] - both[11]).mean() > 0.005


def test_the_colour_anchor_keeps_the_colours(sample_still: Path) -> None:
    away = {}
    for anchor in (0.0, 0.97):
        settings = replace(SMALL, colour_anchor=anchor, strength=2.0, duration=3.0)
        frames = zoom_frames([sample_still], settings)
        first, last = (
            ColourStatistics.of(torch.from_numpy(frames[i]).permute(2, 0, 1)[None]) for i in (0, -1)
        )
        away[anchor] = np.abs(first.covariance - last.covariance).max()
    assert away[0.97] < 0.5 * away[0.0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_zoom(sample_still: Path) -> None:
    settings = replace(SMALL, rotate=20.0, duration=0.5)
    videos = [
        zoom_frames([sample_still], replace(settings, device=name)) for name in ("cpu", "cuda")
    ]
    for one, other in zip(*videos, strict=True):
        assert psnr(one, other) > 35


class TestColours:
    def test_a_share_of_one_gives_the_target(self) -> None:
        torch.manual_seed(0)
        image = 0.3 + 0.2 * torch.rand(1, 3, 40, 60)
        target = ColourStatistics.of(torch.rand(1, 3, 40, 60).cumsum(1) / 4 + 0.1)
        matched = ColourStatistics.of(match_colours(image, ColourStatistics.of(image), target, 1.0))
        np.testing.assert_allclose(matched.mean, target.mean, atol=0.01)
        np.testing.assert_allclose(matched.covariance, target.covariance, atol=0.002)

    def test_a_share_of_zero_changes_nothing_and_a_half_goes_half_way(self) -> None:
        torch.manual_seed(0)
        image = 0.3 + 0.2 * torch.rand(1, 3, 40, 60)
        present = ColourStatistics.of(image)
        target = ColourStatistics.of(torch.rand(1, 3, 40, 60) * 0.5)
        torch.testing.assert_close(match_colours(image, present, target, 0.0), image)
        half = ColourStatistics.of(match_colours(image, present, target, 0.5))
        np.testing.assert_allclose(half.mean, (present.mean + target.mean) / 2, atol=0.01)
        blended = ColourStatistics.blend([present, target], [0.25, 0.75])
        np.testing.assert_allclose(blended.mean, present.mean * 0.25 + target.mean * 0.75)

    def test_grey_images_stay_finite(self) -> None:
        grey = torch.full((1, 3, 8, 8), 0.5)
        colourful = ColourStatistics.of(torch.rand(1, 3, 8, 8))
        matched = match_colours(grey, ColourStatistics.of(grey), colourful, 0.5)
        assert matched.isfinite().all()
        assert matched.std() < 0.1


class TestNoise:
    def test_is_the_same_for_a_seed_and_has_no_edges(self) -> None:
        noise = natural_noise(96, 64, (0, 0))
        assert noise.shape == (64, 96, 3)
        assert noise.dtype == np.float32
        assert np.array_equal(noise, natural_noise(96, 64, (0, 0)))
        for seed in ((1, 0), (0, 1)):  # of another run, of the next still
            assert not np.array_equal(noise, natural_noise(96, 64, seed))
        assert 0 <= noise.min() < 0.2
        assert 0.8 < noise.max() <= 1
        inner = np.abs(np.diff(noise, axis=1)).mean()
        assert np.abs(noise[:, 0] - noise[:, -1]).mean() < 1.5 * inner
        assert natural_noise(1, 1, (0, 0)).shape == (1, 1, 3)

    def test_becomes_a_video_or_a_still(self, tmp_path: Path) -> None:
        dream_video("noise:96x64", tmp_path / "o.mp4", replace(SMALL, size=None))
        video = frames_of(tmp_path / "o.mp4")
        assert len(video) == 12
        assert video[0].image.shape == (64, 96, 3)
        assert psnr(video[0].image, natural_noise(96, 64, (0, 0))) > 30
        dream_video("noise:97x65", tmp_path / "o.png", Settings(iterations=1, device="cpu"))
        assert iio.imread(tmp_path / "o.png").shape == (65, 97, 3)

    @pytest.mark.parametrize("name", ["noise:", "noise:96", "noise:0x5", "noise:9x", "noise:axb"])
    def test_without_a_size_is_refused(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="noise:WIDTHxHEIGHT"):
            dream_video(name, tmp_path / "o.mp4", SMALL)
        assert not list(tmp_path.iterdir())

    def test_of_too_many_pixels_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="--max-pixels 10000000000"):
            dream_video("noise:100000x100000", tmp_path / "o.mp4", SMALL)


class TestOutputs:
    @pytest.mark.parametrize("suffix", [".gif", ".webp", ".apng"])
    def test_animated_images_loop(self, suffix: str, sample_still: Path, tmp_path: Path) -> None:
        out = tmp_path / f"o{suffix}"
        dream_video(sample_still, out, Settings(strength=0, duration=0.8, zoom=1.5, device="cpu"))
        with Image.open(out) as video:
            assert video.info["loop"] == 0  # for ever
            assert max(video.size) <= 480
            assert video.n_frames == (20 if suffix == ".gif" else 24)  # type: ignore[attr-defined]
            durations = []
            for index in range(video.n_frames):  # type: ignore[attr-defined]
                video.seek(index)
                video.load()
                durations.append(video.info["duration"])
            assert sum(durations) == pytest.approx(800, abs=2)
            video.seek(0)
            first = np.asarray(video.convert("RGB"), np.float32) / 255
        still = zoom_frames(
            [sample_still], Settings(size=max(first.shape), device="cpu", duration=0.1)
        )
        assert psnr(first, still[0]) > (26 if suffix == ".gif" else 30)

    def test_large_sources_become_small_animated_images(self, tmp_path: Path) -> None:
        picture = tmp_path / "large.png"
        iio.imwrite(picture, np.zeros((700, 1401, 3), np.uint8))
        settings = Settings(strength=0, duration=0.1, device="cpu")
        dream_video(picture, tmp_path / "o.webp", settings)
        dream_video(picture, tmp_path / "o.mp4", settings)
        dream_video(picture, tmp_path / "own.mp4", replace(settings, size=1400))
        sizes = {
            name: frames_of(tmp_path / name, Settings())[0].image.shape[:2]
            for name in ("o.mp4", "own.mp4")
        }
        assert sizes == {"o.mp4": (640, 1280), "own.mp4": (700, 1400)}
        with Image.open(tmp_path / "o.webp") as video:
            assert video.size == (480, 240)

    def test_a_webp_is_a_still_unless_an_option_asks_for_a_video(
        self, sample_still: Path, sample_clip: Path, tmp_path: Path
    ) -> None:
        settings = Settings(strength=0, device="cpu", size=96)
        dream_video(sample_still, tmp_path / "still.webp", settings)
        dream_video(sample_still, tmp_path / "film.webp", replace(settings, duration=0.2))
        dream_video(sample_clip, tmp_path / "clip.webp", replace(settings, end=0.2))
        frames = {}
        for name in ("still", "film", "clip"):
            with Image.open(tmp_path / f"{name}.webp") as picture:
                frames[name] = picture.n_frames  # type: ignore[attr-defined]
        assert frames == {"still": 1, "film": 6, "clip": 5}

    def test_a_folder_of_frames(self, sample_still: Path, tmp_path: Path) -> None:
        dream_video(sample_still, tmp_path / "frames", replace(SMALL, duration=0.5, preset=None))
        assert len(list((tmp_path / "frames").glob("*.png"))) == 6

    def test_transparent_stills_lie_on_black(self, tmp_path: Path) -> None:
        pixels = np.full((64, 96, 4), 200, np.uint8)
        pixels[..., 3] = np.where(np.arange(96) < 48, 0, 255)
        iio.imwrite(tmp_path / "a.png", pixels)
        with pytest.warns(DreamVideoWarning, match="on black"):
            frames = zoom_frames([tmp_path / "a.png"], replace(SMALL, size=None, duration=0.1))
        assert frames[0][:, :47].max() < 0.02
        assert frames[0][:, 49:].min() > 0.75


class TestInputs:
    @pytest.fixture
    def folder(self, sample_still: Path, tmp_path: Path) -> Path:
        folder = tmp_path / "stills"
        folder.mkdir()
        cat = iio.imread(sample_still)
        iio.imwrite(folder / "1.png", cat[:200, :300])
        iio.imwrite(folder / "2.png", cat[:150, :300])
        return folder

    def test_a_folder_with_an_option_of_zooms_becomes_a_zoom(
        self, folder: Path, tmp_path: Path
    ) -> None:
        settings = replace(SMALL, strength=0.0, size=96)
        summary = dream_video(folder, tmp_path / "o.mp4", replace(settings, zoom=1.5))
        assert summary.frames == 12
        assert frames_of(tmp_path / "o.mp4")[0].image.shape == (64, 96, 3)
        with pytest.raises(UsageError, match="--zoom"):  # its frames have several sizes
            dream_video(folder, tmp_path / "p.mp4", settings)

    def test_stills_of_other_shapes_are_cropped(self, folder: Path) -> None:
        settings = replace(SMALL, strength=0.0, size=96, duration=1.0, zoom=4.0)
        frames = zoom_frames([folder / "1.png", folder / "2.png"], settings)
        assert frames[6].shape == (64, 96, 3)

    @pytest.mark.parametrize(
        ("inputs", "output", "options", "words"),
        [
            (["cat.png"], "o.png", {"zoom": 1.1}, ["--zoom", "still image that becomes a still"]),
            (["clip.mp4"], "o.mp4", {"rotate": 5.0}, ["--rotate", "zooms into still images"]),
            (["clip.mp4"], "o.mp4", {"loop": True}, ["--loop"]),
            (["clip.mp4"], "o.mp4", {"duration": 5.0}, ["--duration"]),
            (["cat.png"], "o.mp4", {"start": 1.0}, ["--start", "--duration"]),
            (["cat.png"], "o.mp4", {"every": 2}, ["--every"]),
            (["cat.png"], "o.mp4", {"persistence": 0.5}, ["--persistence", "zoom"]),
            (["cat.png"] * 4, "o.mp4", {"duration": 0.1}, ["4 still images", "3 frames"]),
            (["cat.png"], "o.mp4", {"zoom": 0.1, "fps": 0.1}, ["--zoom", "--fps"]),
            (["cat.png", "clip.mp4"], "o.mp4", {}, ["clip.mp4", "a video", "alone"]),
            (["cat.png", "cat.png"], "o.png", {}, ["o.png", "a still image"]),
            ([], "o.mp4", {}, ["empty"]),
            (["cat.png"], "o.gif", {"crf": 20}, ["crf", ".gif"]),
            (["cat.png"], "o.apng", {"encoder": "ffv1"}, ["encoder", ".apng"]),
        ],
    )
    def test_invalid_combinations_are_refused(
        self,
        inputs: list[str],
        output: str,
        options: dict[str, Any],
        words: list[str],
        sample_still: Path,
        tmp_path: Path,
    ) -> None:
        paths = [sample_still.parent / name for name in inputs]
        with pytest.raises((UsageError, SettingsError)) as caught:
            dream_video(paths, tmp_path / output, Settings(device="cpu", **options))
        for word in words:
            assert word in str(caught.value)
        assert not list(tmp_path.iterdir())

    def test_a_missing_or_broken_still_is_named(self, sample_still: Path, tmp_path: Path) -> None:
        broken = tmp_path / "broken.png"
        broken.write_bytes(sample_still.read_bytes()[:5000])
        made: list[Progress] = []
        for path, word in ((tmp_path / "no.png", "does not exist"), (broken, "broken.png")):
            with pytest.raises(InputError, match=word):
                dream_video([sample_still, path], tmp_path / "o.mp4", SMALL, made.append)
        assert not made  # before the first frame is dreamed
        assert [path.name for path in tmp_path.iterdir()] == ["broken.png"]

    def test_the_input_is_not_overwritten(self, sample_still: Path, tmp_path: Path) -> None:
        picture = tmp_path / "a.webp"
        with Image.open(sample_still) as image:
            image.save(picture)
        before = picture.read_bytes()
        with pytest.raises(OutputError, match="the input itself"):
            dream_video([sample_still, picture], picture, SMALL, overwrite=True)
        assert picture.read_bytes() == before


@pytest.mark.parametrize(
    "words",
    [
        "a.png b.png c.mp4 --pan-x -0.5 --loop",
        "a.png b.png --pan-x -0.5 --loop c.mp4",
        "--loop a.png --pan-x -0.5 b.png c.mp4",
    ],
)
def test_the_command_takes_several_stills_and_options_anywhere(words: str) -> None:
    command = parse(words.split(), "")
    assert (command.inputs, command.output) == (["a.png", "b.png"], "c.mp4")
    assert command.settings == Settings(pan_x=-0.5, loop=True)


def test_a_still_in_the_output_folder_is_not_overwritten(
    sample_still: Path, tmp_path: Path
) -> None:
    picture = tmp_path / "000001.png"
    picture.write_bytes(sample_still.read_bytes())
    with pytest.raises(OutputError, match="contains the input"):
        dream_video(picture, tmp_path, replace(SMALL, preset=None), overwrite=True)
    assert picture.read_bytes() == sample_still.read_bytes()
