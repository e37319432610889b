"""Still images: every mode and bit depth, alpha, profile, EXIF, limits."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image, ImageCms

from dreamvideo import Settings, dream_video
from dreamvideo.errors import InputError, OutputExistsError
from dreamvideo.job.outputs import open_image_writer
from dreamvideo.types import DreamedFrame
from tests.conftest import UNTOUCHED, frames_of, psnr

pytestmark = pytest.mark.usefixtures("shared_network")

ORIENTATION_TAG, MAKER_TAG = 0x0112, 0x010F
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".bmp", ".webp", ".jpg"])
def test_round_trip(suffix: str, sample_still: Path, tmp_path: Path) -> None:
    out = tmp_path / f"out{suffix}"
    dream_video(sample_still, out, UNTOUCHED)
    before, after = (iio.imread(path, plugin="pillow") for path in (sample_still, out))
    if suffix in (".jpg", ".webp"):
        assert psnr(before / 255, after / 255) > 33
    else:
        assert np.array_equal(before, after)


def test_alpha_is_kept(sample_still: Path, tmp_path: Path) -> None:
    pixels = iio.imread(sample_still)
    alpha = np.arange(pixels.shape[1], dtype=np.uint8)[None].repeat(pixels.shape[0], 0)
    iio.imwrite(tmp_path / "in.png", np.dstack([pixels, alpha]))
    dream_video(tmp_path / "in.png", tmp_path / "out.png", Settings(iterations=1, device="cpu"))
    after = iio.imread(tmp_path / "out.png")
    assert np.array_equal(after[..., 3], alpha)
    assert not np.array_equal(after[..., :3], pixels)


@pytest.mark.parametrize("kind", ["grey", "deep grey", "palette", "exif"])
def test_other_modes_are_read_as_rgb(kind: str, sample_still: Path, tmp_path: Path) -> None:
    image = Image.open(sample_still).convert("L")
    expected = np.asarray(image.convert("RGB"))
    options: dict[str, Any] = {}
    if kind == "deep grey":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    elif kind == "palette":
        image = image.convert("P")
    elif kind == "exif":
        exif = Image.Exif()
        exif[0x0112] = 6  # shown turned by 90°
        options["exif"] = exif
        expected = np.rot90(expected, -1)
    image.save(tmp_path / "in.png", **options)
    read = frames_of(tmp_path / "in.png")[0].image
    assert np.abs(read * 255 - expected).max() < 1.01


def test_size(sample_still: Path, tmp_path: Path) -> None:
    dream_video(sample_still, tmp_path / "o.png", Settings(strength=0, size=200, device="cpu"))
    assert iio.imread(tmp_path / "o.png").shape == (134, 200, 3)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_are_exact(suffix: str, channels: int, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 65536, (48, 64, channels), np.uint16).squeeze()
    before, after = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    iio.imwrite(before, pixels, plugin="opencv")
    dream_video(before, after, UNTOUCHED)
    expected = np.repeat(pixels[..., None], 3, 2) if channels == 1 else pixels
    assert np.array_equal(iio.imread(after, plugin="opencv", flags=-1), expected)


def test_a_dream_of_sixteen_bits_uses_them(tmp_path: Path, sample_still: Path) -> None:
    pixels = iio.imread(sample_still).astype(np.uint16) * 257
    iio.imwrite(tmp_path / "in.png", pixels, plugin="opencv")
    dream_video(tmp_path / "in.png", tmp_path / "o.png", Settings(iterations=1, device="cpu"))
    dreamed = iio.imread(tmp_path / "o.png", plugin="opencv", flags=-1)
    assert dreamed.dtype == np.uint16
    assert len(np.unique(dreamed)) > 1000


@pytest.mark.parametrize(("suffix", "bits"), [
    (".png", 8), (".jpg", 8), (".tiff", 8), (".webp", 8), (".png", 16), (".tiff", 16),
])  # fmt: skip
def test_the_colour_profile_is_kept(suffix: str, bits: int, tmp_path: Path) -> None:
    before, after = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    pixels = np.full((40, 60, 3), 90, np.uint8)
    if bits == 8:
        Image.fromarray(pixels).save(before, icc_profile=PROFILE)
    else:
        options: dict[str, Any] = {
            "plugin": "tifffile",
            "iccprofile": PROFILE,
            "photometric": "rgb",
        }
        if suffix == ".png":  # written from a TIFF of 16 bits that has a profile
            iio.imwrite(tmp_path / "in.tiff", pixels.astype(np.uint16) * 250, **options)
            dream_video(tmp_path / "in.tiff", before, UNTOUCHED)
        else:
            iio.imwrite(before, pixels.astype(np.uint16) * 250, **options)
    dream_video(before, after, UNTOUCHED)
    with Image.open(after) as image:
        assert image.info["icc_profile"] == PROFILE
    assert frames_of(after)[0].metadata.bits == bits  # type: ignore[union-attr]


def test_a_profile_of_other_colours_is_dropped(tmp_path: Path) -> None:
    """It would misrepresent RGB values."""
    grey = PROFILE[:16] + b"GRAY" + PROFILE[20:]
    Image.new("L", (40, 40), 77).save(tmp_path / "in.png", icc_profile=grey)
    dream_video(tmp_path / "in.png", tmp_path / "out.png", UNTOUCHED)
    with Image.open(tmp_path / "out.png") as image:
        assert "icc_profile" not in image.info


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_exif_is_kept_with_an_upright_orientation(suffix: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION_TAG], exif[MAKER_TAG] = 6, "Maker"
    Image.new("RGB", (60, 40), (200, 30, 30)).save(tmp_path / f"in{suffix}", exif=exif)
    dream_video(tmp_path / f"in{suffix}", tmp_path / f"out{suffix}", UNTOUCHED)
    with Image.open(tmp_path / f"out{suffix}") as image:
        assert image.size == (40, 60)
        assert image.getexif().get(ORIENTATION_TAG, 1) == 1
        assert image.getexif()[MAKER_TAG] == "Maker"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(orientation: int, tmp_path: Path) -> None:
    """Images of 16 bits are turned by dreamvideo, others by imageio."""
    ramp = np.arange(40 * 60, dtype=np.uint16).reshape(40, 60)
    pixels = np.dstack([ramp * 20, ramp * 3, ramp])
    tag = [(274, "H", 1, orientation, True)]
    iio.imwrite(tmp_path / "in.tiff", pixels, plugin="tifffile", photometric="rgb", extratags=tag)
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    Image.fromarray((pixels >> 8).astype(np.uint8)).save(tmp_path / "in.png", exif=exif)
    deep, shallow = (frames_of(tmp_path / name)[0].image for name in ("in.tiff", "in.png"))
    assert deep.shape == shallow.shape
    assert np.abs(deep - shallow).max() < 0.005
    for name in ("in.tiff", "in.png"):
        small = frames_of(tmp_path / name, Settings(size=30))[0].image
        assert small.shape == (deep.shape[0] // 2, deep.shape[1] // 2, 3)
        assert np.abs(small - deep[::2, ::2]).mean() < 0.05


@pytest.mark.parametrize("quality", [10, 95])
def test_quality_decides_the_size_of_the_file(
    quality: int, sample_still: Path, tmp_path: Path
) -> None:
    for suffix in (".jpg", ".webp"):
        out = tmp_path / f"o{suffix}"
        dream_video(sample_still, out, Settings(strength=0, quality=quality, device="cpu"))
        assert (out.stat().st_size < 40_000) == (quality == 10)


def test_too_many_pixels_are_refused(tmp_path: Path) -> None:
    Image.new("1", (40, 40)).save(tmp_path / "small.png")
    content = bytearray((tmp_path / "small.png").read_bytes())
    content[16:24] = struct.pack(">2I", 40_000, 40_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "bomb.png").write_bytes(content)
    with pytest.raises(InputError, match=r"bomb\.png has 40000x40000 pixels, .*--max-pixels"):
        frames_of(tmp_path / "bomb.png")
    with pytest.raises(InputError, match=r"100x10 pixels"):
        Image.new("L", (100, 10)).save(tmp_path / "a.png")
        frames_of(tmp_path / "a.png", Settings(max_pixels=999))


@pytest.mark.parametrize(("source", "size"), [((400, 300), 100), ((1500, 1000), 64)])
def test_scaling_keeps_the_whole_image(source: tuple[int, int], size: int, tmp_path: Path) -> None:
    """A side that is rounded to an even size is not cropped at the edge."""
    pixels = np.zeros((source[1], source[0], 3), np.uint8)
    pixels[:, : source[0] // 20] = pixels[:, -source[0] // 20 :] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    small = frames_of(tmp_path / "a.png", Settings(size=size))[0].image
    assert small[:, 0].mean() > 0.95
    assert small[:, -1].mean() > 0.95


def test_a_file_that_is_not_an_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_text("not an image")
    with pytest.raises(InputError, match=r"cannot read .*a\.png as an image .*PNG"):
        frames_of(path)


def test_an_output_that_appears_meanwhile_is_kept(sample_still: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    (frame,) = frames_of(sample_still, UNTOUCHED)
    with (
        pytest.raises(OutputExistsError),
        open_image_writer(out, UNTOUCHED, overwrite=False) as writer,
    ):
        writer.write(DreamedFrame(frame))
        out.write_bytes(b"keep me")
    assert out.read_bytes() == b"keep me"
    assert list(tmp_path.iterdir()) == [out]
