"""Frame folders: names, order, formats, oddities; from and to videos."""

from __future__ import annotations

import warnings
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from PIL import Image

from dreamvideo import Settings, dream_video
from dreamvideo.errors import (
    DreamVideoWarning,
    InputError,
    OutputError,
    OutputExistsError,
    UsageError,
)
from dreamvideo.runtime.threads import leave_core_free
from tests.conftest import UNTOUCHED, MakeClip, frames_of, psnr

pytestmark = pytest.mark.usefixtures("shared_network")


def grey_image(number: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """An image whose grey level is its number."""
    return Image.new("RGB", size, (number * 10,) * 3)


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in (1, 2, 3, 10, 11):
        grey_image(number).save(folder / f"frame{number}.png")
    return folder


def numbers(path: Path, settings: Settings | None = None) -> list[int]:
    return [round(frame.image[0, 0, 0] * 255 / 10) for frame in frames_of(path, settings)]


@pytest.mark.filterwarnings("ignore::dreamvideo.errors.DreamVideoWarning")
class TestOrder:
    def test_order_is_that_of_the_numbers(self, frames: Path) -> None:
        assert numbers(frames) == [1, 2, 3, 10, 11]

    def test_part_of_a_folder(self, frames: Path) -> None:
        assert numbers(frames, Settings(every=2)) == [1, 3, 11]
        assert numbers(frames, Settings(fps=10, start=0.1, end=0.4)) == [2, 3, 10]

    def test_times(self, frames: Path) -> None:
        read = frames_of(frames, Settings(fps=23.976, every=2))
        assert [f.time_seconds for f in read] == [Fraction(2 * i * 1001, 24000) for i in range(3)]

    def test_names_are_kept(self, frames: Path, tmp_path: Path) -> None:
        dream_video(frames, tmp_path / "out", UNTOUCHED)
        assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(
            p.name for p in frames.iterdir()
        )
        assert numbers(tmp_path / "out") == [1, 2, 3, 10, 11]


def warnings_of(frames: Path) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        frames_of(frames)
    return [str(warning.message) for warning in caught]


def test_gaps_and_other_files_give_one_warning(frames: Path) -> None:
    (frames / "notes.txt").write_text("hello")
    (frames / ".DS_Store").write_text("hello")
    (frames / "Thumbs.db").write_text("hello")
    (frames / "sub").mkdir()
    (line,) = warnings_of(frames)
    assert "left out, since not an image: notes.txt, sub" in line
    assert "missing in the numbering: frame4.png, frame5.png, frame6.png … (6 in all)" in line
    assert "DS_Store" not in line
    assert "Thumbs" not in line


def test_a_folder_of_numbered_images_gives_no_warning(tmp_path: Path) -> None:
    for number in range(3):
        grey_image(number).save(tmp_path / f"{number:04d}.png")
    assert warnings_of(tmp_path) == []


@pytest.mark.filterwarnings("ignore::dreamvideo.errors.DreamVideoWarning")
class TestRefusals:
    def test_mixed_sizes_name_the_first_that_differs(self, frames: Path, tmp_path: Path) -> None:
        grey_image(4, (65, 48)).save(frames / "frame4.png")
        grey_image(5, (66, 48)).save(frames / "frame5.png")
        with pytest.raises(InputError, match=r"frame4\.png has 65x48.*--independent"):
            dream_video(frames, tmp_path / "out", UNTOUCHED)
        assert not (tmp_path / "out.part").exists()

    def test_an_empty_folder(self, tmp_path: Path) -> None:
        (tmp_path / "frames").mkdir()
        with pytest.raises(InputError, match="contains no images"):
            dream_video(tmp_path / "frames", tmp_path / "out", UNTOUCHED)

    def test_a_part_after_the_end(self, frames: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"no image between --start.*0\.20 s at 25"):
            dream_video(frames, tmp_path / "out", replace(UNTOUCHED, start=9.0))

    def test_an_output_with_files_in_it(self, frames: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        out.mkdir()
        (out / "mine.txt").write_text("keep me")
        grey_image(25).save(out / "frame1.png")
        with pytest.raises(OutputExistsError, match="--overwrite"):
            dream_video(frames, out, UNTOUCHED)
        dream_video(frames, out, UNTOUCHED, overwrite=True)
        assert (out / "mine.txt").read_text() == "keep me"
        assert numbers(out) == [1, 2, 3, 10, 11]

    def test_the_input_itself(self, frames: Path) -> None:
        with pytest.raises(OutputError, match="the input itself"):
            dream_video(frames, f"{frames}/", UNTOUCHED, overwrite=True)

    def test_a_file_in_the_way(self, frames: Path, tmp_path: Path) -> None:
        (tmp_path / "out").write_text("keep me")
        with pytest.raises(OutputError, match="is a file"):
            dream_video(frames, tmp_path / "out", UNTOUCHED)

    def test_two_images_of_one_name(self, frames: Path, tmp_path: Path) -> None:
        grey_image(4).save(frames / "frame1.bmp")
        with pytest.raises(UsageError, match=r"frame1\.tiff"):
            dream_video(frames, tmp_path / "out", replace(UNTOUCHED, picture_format="tiff"))
        assert not (tmp_path / "out.part").exists()

    def test_independent_images_make_no_video(self, frames: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="--independent is for folders of images, not for"):
            dream_video(frames, tmp_path / "out.mp4", replace(UNTOUCHED, independent=True))


@pytest.mark.filterwarnings("ignore::dreamvideo.errors.DreamVideoWarning")
class TestFormats:
    def test_every_format_is_kept(self, sample_still: Path, tmp_path: Path) -> None:
        folder, out = tmp_path / "frames", tmp_path / "out"
        folder.mkdir()
        with Image.open(sample_still) as cat:
            for number, suffix in enumerate(("png", "jpg", "tiff", "webp", "bmp")):
                cat.save(folder / f"{number}.{suffix}", quality=95)
        deep = np.random.default_rng(0).integers(0, 65536, (*cat.size[::-1], 4), np.uint16)
        iio.imwrite(folder / "5.png", deep, plugin="opencv")
        dream_video(folder, out, UNTOUCHED)
        for one, other in zip(frames_of(folder), frames_of(out), strict=True):
            assert one.metadata is not None
            assert other.metadata is not None
            assert (other.metadata.name, other.metadata.bits) == (
                one.metadata.name,
                one.metadata.bits,
            )
            lossless = Path(one.metadata.name).suffix not in (".jpg", ".webp")
            assert np.array_equal(one.image, other.image) or not lossless
            assert psnr(one.image, other.image) > 33
        assert np.array_equal(iio.imread(out / "5.png", plugin="opencv", flags=-1), deep)

    def test_another_format_can_be_chosen(self, frames: Path, tmp_path: Path) -> None:
        dream_video(frames, tmp_path / "out", replace(UNTOUCHED, picture_format="jpg"))
        assert [p.suffix for p in (tmp_path / "out").iterdir()] == [".jpg"] * 5
        assert numbers(tmp_path / "out") == [1, 2, 3, 10, 11]

    def test_independent_images_are_dreamed_separately(
        self, sample_still: Path, tmp_path: Path
    ) -> None:
        folder, out = tmp_path / "frames", tmp_path / "out"
        folder.mkdir()
        settings = Settings(octaves=2, iterations=2, device="cpu", independent=True)
        with Image.open(sample_still) as cat:
            cat.resize((90, 60)).save(folder / "a.png")
            cat.resize((64, 80)).save(folder / "b.png")
        dream_video(folder, out, settings)
        with leave_core_free(torch.device("cpu")):  # as for folders: threads decide the rounding
            dream_video(folder / "a.png", tmp_path / "a.png", replace(settings, independent=False))
        assert (out / "a.png").read_bytes() == (tmp_path / "a.png").read_bytes()
        assert frames_of(out / "b.png")[0].image.shape == (80, 64, 3)
        assert not np.array_equal(
            frames_of(out / "b.png")[0].image, frames_of(folder / "b.png")[0].image
        )


@pytest.mark.filterwarnings("ignore::dreamvideo.errors.DreamVideoWarning")
class TestAcrossKinds:
    def test_folder_to_video(self, frames: Path, tmp_path: Path) -> None:
        dream_video(frames, tmp_path / "out.mp4", replace(UNTOUCHED, fps=12.5))
        written = frames_of(tmp_path / "out.mp4")
        assert [f.time_seconds for f in written] == [Fraction(2 * i, 25) for i in range(5)]
        assert numbers(tmp_path / "out.mp4") == [1, 2, 3, 10, 11]

    def test_video_to_folder_and_back(self, make_clip: MakeClip, tmp_path: Path) -> None:
        clip = make_clip("a.mkv", "testsrc2=s=160x90:d=0.5:r=24", "-c:v", "ffv1")
        dream_video(clip, tmp_path / "out/", UNTOUCHED)
        names = sorted(path.name for path in (tmp_path / "out").iterdir())
        assert names == [f"{number:06d}.png" for number in range(1, 13)]
        settings = replace(UNTOUCHED, fps=24, encoder="ffv1", crf=None)
        dream_video(tmp_path / "out", tmp_path / "b.mkv", settings)
        for one, other in zip(frames_of(clip), frames_of(tmp_path / "b.mkv"), strict=True):
            assert abs(one.time_seconds - other.time_seconds) <= Fraction(1, 2000)
            assert np.abs(one.image - other.image).max() <= 1 / 255

    def test_alpha_is_kept_in_images(self, tmp_path: Path) -> None:
        folder = tmp_path / "frames"
        folder.mkdir()
        alpha = np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))
        pixels = np.dstack([np.full((48, 64, 3), 90, np.uint8), alpha])
        for number in range(2):
            iio.imwrite(folder / f"{number}.png", pixels)
        dream_video(folder, tmp_path / "out", Settings(octaves=1, iterations=1, device="cpu"))
        assert np.array_equal(iio.imread(tmp_path / "out" / "1.png")[..., 3], alpha)
        with pytest.warns(DreamVideoWarning, match="transparent") as caught:
            dream_video(folder, tmp_path / "out.mp4", UNTOUCHED)
        assert len(caught) == 1
        shown = frames_of(tmp_path / "out.mp4")[0].image
        assert shown[:, 2].max() < 0.05
        assert shown[:, 62].min() > 0.3
