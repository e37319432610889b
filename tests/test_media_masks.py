"""Where the dream is shown: masks, mix and keep-colour, exact to the bit."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import numpy.typing as npt
import pytest
import torch

from dreamvideo import Settings, dream_image, dream_video
from dreamvideo.cli.main import main
from dreamvideo.dream.dreamer import composite
from dreamvideo.errors import DreamVideoError, DreamVideoWarning, InputError
from dreamvideo.media.read.masks import Masks
from dreamvideo.types import Frame, VideoInfo
from tests.conftest import MakeClip, params

pytestmark = pytest.mark.usefixtures("shared_network")

Pixels = npt.NDArray[np.uint8]
FAST: dict[str, Any] = {"iterations": 2, "octaves": 2, "device": "cpu"}
HEIGHT, WIDTH = 64, 96


def luma(pixels: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    brightness: npt.NDArray[np.float64] = pixels.astype(np.float64) @ [0.2126, 0.7152, 0.0722]
    return brightness


@pytest.fixture
def photo(sample_still: Path, tmp_path: Path) -> Path:
    iio.imwrite(tmp_path / "photo.png", iio.imread(sample_still)[60:124, 100:196])
    return tmp_path / "photo.png"


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """White on the left, black on the right."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:, : WIDTH // 2] = 255
    iio.imwrite(tmp_path / "left.png", mask)
    return tmp_path / "left.png"


def frames(folder: Path, count: int) -> Path:
    folder.mkdir()
    for index in range(count):
        noise = np.random.default_rng(index).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
        iio.imwrite(folder / f"{index:03}.png", noise)
    return folder


def moving_masks(folder: Path, count: int) -> Path:
    """A white bar that moves to the right."""
    folder.mkdir()
    for index in range(count):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[:, index * 8 : index * 8 + 16] = 255
        iio.imwrite(folder / f"m{index}.png", mask)
    return folder


def check_moving(folder: Path, dreams: Path, count: int) -> None:
    for index in range(count):
        name = f"{index:03}.png"
        changed = (iio.imread(folder / name) != iio.imread(dreams / name)).any(axis=(0, 2))
        inside = np.zeros(WIDTH, bool)
        inside[index * 8 : index * 8 + 16] = True
        assert not changed[~inside].any(), index
        assert changed[inside].all(), index


def test_outside_the_mask_the_source_is_unchanged(photo: Path, left: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    dream_video(photo, out, Settings(mask=str(left), **FAST))
    before, after = iio.imread(photo), iio.imread(out)
    assert np.array_equal(before[:, WIDTH // 2 :], after[:, WIDTH // 2 :])
    whole = dream_image(before, Settings(**FAST))
    assert np.array_equal(after[:, : WIDTH // 2], whole[:, : WIDTH // 2])
    assert np.abs(whole[:, : WIDTH // 2].astype(int) - before[:, : WIDTH // 2]).mean() > 3


def test_outside_the_mask_sixteen_bits_are_unchanged(left: Path, tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 65535, (HEIGHT, WIDTH, 3), np.uint16)
    after = dream_image(deep, Settings(mask=str(left), **FAST))
    assert np.array_equal(deep[:, WIDTH // 2 :], after[:, WIDTH // 2 :])
    assert not np.array_equal(deep, after)


def test_soft_masks_of_other_sizes_blend(photo: Path, tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 255, WIDTH * 2).round().astype(np.uint8), (HEIGHT * 2, 1))
    iio.imwrite(tmp_path / "ramp.png", ramp)
    before = iio.imread(photo)
    whole = dream_image(before, Settings(**FAST)).astype(float) - before
    part = dream_image(before, Settings(mask=str(tmp_path / "ramp.png"), **FAST)).astype(float)
    share = np.linspace(0, 1, WIDTH)[None, :, None]
    np.testing.assert_allclose(part - before, whole * share, atol=2.5)


def test_transparent_parts_of_a_mask_are_black(photo: Path, tmp_path: Path) -> None:
    mask = np.full((HEIGHT, WIDTH, 4), 255, np.uint8)
    mask[: HEIGHT // 2, :, 3] = 0
    iio.imwrite(tmp_path / "mask.png", mask)
    before = iio.imread(photo)
    after = dream_image(before, Settings(mask=str(tmp_path / "mask.png"), **FAST))
    same = (before == after).all(axis=(1, 2))
    assert same[: HEIGHT // 2].all()
    assert not same[HEIGHT // 2 :].any()


def test_a_folder_of_masks(tmp_path: Path) -> None:
    folder, masks = frames(tmp_path / "frames", 6), moving_masks(tmp_path / "masks", 6)
    dream_video(folder, tmp_path / "dreams", Settings(mask=str(masks), **FAST))
    check_moving(folder, tmp_path / "dreams", 6)


def test_a_video_of_masks(tmp_path: Path, make_clip: MakeClip) -> None:
    """An encoded mask: black is not quite black, edges are soft."""
    folder = frames(tmp_path / "frames", 5)
    bar = f"color=black:s={WIDTH}x{HEIGHT}:r=25:d=0.2,drawbox=x=0:y=0:w=48:h=64:color=white:t=fill"
    video = make_clip("mask.mp4", bar, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "23")
    dream_video(folder, tmp_path / "dreams", Settings(mask=str(video), **FAST))
    for path in folder.iterdir():
        same = (iio.imread(path) == iio.imread(tmp_path / "dreams" / path.name)).all(axis=2)
        assert same[:, WIDTH // 2 + 4 :].all()
        assert not same[:, : WIDTH // 2 - 4].all(axis=0).any()


@pytest.mark.parametrize("kind", ["video", "folder"])
def test_masks_of_a_part_of_a_video(kind: str, tmp_path: Path, make_clip: MakeClip) -> None:
    """A mask video is cut like the source; a mask folder has one image per dreamed frame."""
    size, lossless = f"s={WIDTH}x{HEIGHT}:r=10:d=1", ("-c:v", "ffv1", "-pix_fmt", "bgr0")
    clip = make_clip("clip.mkv", f"testsrc2={size}", *lossless)
    bars = f"color=black:{size},geq=lum='255*between(X,8*N,8*N+7)':cb=128:cr=128"
    mask = make_clip("bars.mkv", bars, "-c:v", "ffv1", "-pix_fmt", "yuv444p")
    if kind == "folder":
        mask = moving_masks(tmp_path / "masks", 5)
    options = ["--start", "0.3", "--end", "0.8", "--octaves", "1", "--iterations", "1", "--quiet"]
    out, plain = tmp_path / "out", tmp_path / "plain"
    assert main([str(clip), str(out), "--mask", str(mask), *options]) == 0
    assert main([str(clip), str(plain), "--strength", "0", *options]) == 0
    made = sorted(out.iterdir())
    assert len(made) == 5
    for index, path in enumerate(made):
        changed = (iio.imread(path) != iio.imread(plain / path.name)).any(axis=(0, 2))
        first, wide = (8 * (index + 3), 8) if kind == "video" else (8 * index, 16)
        assert changed[first : first + wide].any(), index
        assert not changed[: max(0, first - 1)].any()
        assert not changed[first + wide + 1 :].any()


def test_masks_are_refused_where_frames_are_lost() -> None:
    class Broken:
        info, frames_lost = VideoInfo(WIDTH, HEIGHT, 3), 0

    source, mask = Broken(), np.ones((HEIGHT, WIDTH), np.float32)
    masks = Masks("m.mkv", iter([mask] * 3), source)
    frame = Frame(0, Fraction(0), np.zeros((HEIGHT, WIDTH, 3), np.float32))
    assert masks.of(frame) is mask
    with pytest.warns(DreamVideoWarning, match="more frames than the source"):
        masks.end()
    source.frames_lost = 1
    with pytest.raises(InputError, match="broken or missing"):
        masks.of(frame)


def test_masks_resume_with_the_run(tmp_path: Path) -> None:
    def stop(progress: Any) -> None:
        if progress.frames_done == 4:
            raise KeyboardInterrupt

    folder, masks = frames(tmp_path / "frames", 7), moving_masks(tmp_path / "masks", 7)
    settings = Settings(mask=str(masks), segment_frames=2, **FAST)
    with pytest.raises(KeyboardInterrupt):
        dream_video(folder, tmp_path / "dreams", settings, stop)
    summary = dream_video(folder, tmp_path / "dreams", settings)
    assert summary.frames_resumed >= 2
    check_moving(folder, tmp_path / "dreams", 7)


def test_another_mask_is_another_run(tmp_path: Path) -> None:
    folder, masks = frames(tmp_path / "frames", 4), moving_masks(tmp_path / "masks", 4)
    settings = Settings(mask=str(masks), segment_frames=1, **FAST)

    def stop(progress: Any) -> None:
        if progress.frames_done == 3:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        dream_video(folder, tmp_path / "dreams", settings, stop)
    iio.imwrite(masks / "m0.png", np.full((HEIGHT, WIDTH), 255, np.uint8))
    with pytest.raises(DreamVideoError, match="input"):
        dream_video(folder, tmp_path / "dreams", settings)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        ("none.png", ["none.png", "does not exist"]),
        ("frames_3", ["has 3 frames and the source 5"]),
        ("square.png", ["64x64", "96x64", "aspect ratio"]),
        ("text.png", ["text.png", "as an image"]),
        ("-", ["stream"]),
    ],
)
def test_masks_that_do_not_fit_are_refused(
    mask: str, words: Sequence[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = frames(tmp_path / "frames", 5)
    moving_masks(tmp_path / "frames_3", 3)
    iio.imwrite(tmp_path / "square.png", np.zeros((64, 64), np.uint8))
    (tmp_path / "text.png").write_text("hello " * 30)
    name = mask if mask == "-" else str(tmp_path / mask)
    words_given = [str(folder), str(tmp_path / "out"), f"--mask={name}", "--octaves", "1"]
    assert main([*words_given, "--iterations", "1"]) in (1, 2)
    message = capsys.readouterr().err.splitlines()[-1]
    for word in words:
        assert word in message
    assert not (tmp_path / "out").exists()


def test_mix_blends_the_dream_over_the_source(photo: Path) -> None:
    before = iio.imread(photo).astype(float) / 255
    whole = dream_image(before, Settings(**FAST)) - before
    for mix in (0.25, 0.6):
        part = dream_image(before, Settings(mix=mix, **FAST)) - before
        np.testing.assert_allclose(part, whole * mix, atol=1e-5)
    none = dream_image(iio.imread(photo), Settings(mix=0, **FAST))
    assert np.array_equal(none, iio.imread(photo))


def test_mix_changes_over_time(tmp_path: Path) -> None:
    folder = frames(tmp_path / "frames", 5)
    changes = {}
    for name, mix in (("mixed", [(0, 0), (0.16, 1)]), ("whole", 1.0)):
        settings = Settings(mix=mix, **FAST)  # type: ignore[arg-type]
        dream_video(folder, tmp_path / name, settings)
        changes[name] = [
            np.abs(iio.imread(path).astype(int) - iio.imread(tmp_path / name / path.name)).mean()
            for path in sorted(folder.iterdir())
        ]
    assert changes["mixed"][0] == 0
    for share, mixed, whole in zip((0, 0.25, 0.5, 0.75, 1), *changes.values(), strict=True):
        assert mixed == pytest.approx(share * whole, abs=0.2)  # rounded to 8 bits
        assert whole > 2


def test_keep_colour_changes_the_luma_only() -> None:
    torch.manual_seed(0)
    source = torch.rand(1, 3, 20, 30) * 0.2 + 0.4
    residual = torch.randn(1, 3, 20, 30) * 0.05
    shown = composite(source, residual, None, params(keep_colour=True))
    before, dream, after = (
        image[0].permute(1, 2, 0).numpy() for image in (source, source + residual, shown)
    )
    np.testing.assert_allclose(luma(after), luma(dream), atol=1e-6)
    # Colour is the difference of each channel from the luma.
    np.testing.assert_allclose(
        after - luma(after)[..., None], before - luma(before)[..., None], atol=1e-6
    )


def test_a_grey_image_stays_grey_with_keep_colour(photo: Path) -> None:
    grey = np.repeat(luma(iio.imread(photo)).round().astype(np.uint8)[..., None], 3, axis=2)
    dream = dream_image(grey, Settings(keep_colour=True, **FAST))
    assert np.ptp(dream.astype(int), axis=2).max() <= 1
    assert np.ptp(dream_image(grey, Settings(**FAST)).astype(int), axis=2).max() > 10
    assert np.abs(dream.astype(int) - grey).mean() > 3


@pytest.mark.parametrize("flag", [["--mix", "0.5"], ["--keep-colour"], ["--mask", "x.png"]])
def test_a_zoom_has_no_source_to_blend_over(
    flag: list[str], photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(photo), str(tmp_path / "out.mp4"), *flag]) == 2
    assert flag[0] in capsys.readouterr().err
