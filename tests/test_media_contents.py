"""What a file is, is found by looking inside: stills, animations and videos under any name."""

from __future__ import annotations

import subprocess
import sys
import warnings
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image, ImageCms, ImageDraw, ImageFilter

from dreamvideo import Settings, dream_video
from dreamvideo.cli.main import main
from dreamvideo.errors import DreamVideoWarning, InputError, UsageError
from dreamvideo.job.comparison import compare_videos
from dreamvideo.media.formats import MediaKind
from dreamvideo.media.opening import Location
from dreamvideo.media.read.contents import contents_of
from tests.conftest import UNTOUCHED, X264, MakeClip, ffmpeg, frames_of, mean_error

pytestmark = pytest.mark.usefixtures("shared_network")

SIZE = (96, 64)
DURATIONS_MS = [100, 50, 200, 30, 400]
TIMES = [Fraction(ms, 1000) for ms in (0, 100, 150, 350, 380)]
ORIENTATION_TAG = 0x0112
READ_ALL = """
import gc, sys
from dreamvideo import Settings
from dreamvideo.media.opening import Location
from dreamvideo.media.read import open_source
with open_source(Location(sys.argv[1]), Settings()) as source:
    list(source)
gc.collect()
"""


def kind_of(path: Path) -> MediaKind:
    return contents_of(Location(str(path))).kind


@pytest.fixture
def photo(sample_still: Path) -> Image.Image:
    with Image.open(sample_still) as cat:
        # Smooth, so that lossy formats hardly change it.
        return cat.convert("RGB").resize(SIZE).filter(ImageFilter.GaussianBlur(2))


def floats(image: Image.Image) -> npt.NDArray[Any]:
    return np.asarray(image.convert("RGB")) / 255


def discs() -> list[Image.Image]:
    """Five transparent images with a red disc that moves to the right by 10 px each time."""
    images = []
    for number in range(len(DURATIONS_MS)):
        image = Image.new("RGBA", SIZE)
        box = (10 + 10 * number, 20, 30 + 10 * number, 40)
        ImageDraw.Draw(image).ellipse(box, fill=(255, 60, 40, 255))
        images.append(image)
    return images


def save_animation(path: Path, **options: Any) -> Path:
    first, *rest = discs()
    first.save(path, save_all=True, append_images=rest, duration=DURATIONS_MS, **options)
    return path


def assert_discs(path: Path, tolerance: float) -> None:
    """All frames of `save_animation`, with their times and their transparency."""
    frames = frames_of(path)
    assert [frame.time_seconds for frame in frames] == TIMES
    assert [frame.duration_seconds for frame in frames] == [
        Fraction(ms, 1000) for ms in DURATIONS_MS
    ]
    for frame, disc in zip(frames, discs(), strict=True):
        assert frame.alpha is not None
        expected = np.asarray(disc) / 255
        assert np.abs(frame.alpha - expected[..., 3]).mean() < tolerance
        shown = frame.image * frame.alpha[..., None]
        assert np.abs(shown - expected[..., :3] * expected[..., 3:]).mean() < tolerance


def save(image: Image.Image, path: Path, name: str) -> Path:
    image.save(path, format=name)
    return path


class TestStillImages:
    @pytest.mark.parametrize(("name", "written_as"), [
        ("photo.jfif", "JPEG"), ("no_suffix", "JPEG"), ("wrong.png", "JPEG"), ("a.mp4", "PNG"),
        ("photo.jp2", "JPEG2000"), ("photo.avif", "AVIF"), ("photo.tga", "TGA"),
        ("one.gif", "PNG"), ("photo.webp", "WEBP"), ("webp.gif", "WEBP"), ("a.ico", "ICO"),
        ("photo.mpo", "MPO"), ("a.tif", "TIFF"), ("a.ppm", "PPM"), ("a.pcx", "PCX"),
        ("a.sgi", "SGI"), ("a.icns", "ICNS"), ("bmp.jpg", "BMP"),
    ])  # fmt: skip
    def test_a_picture_is_a_still_image_under_any_name(
        self, name: str, written_as: str, photo: Image.Image, tmp_path: Path
    ) -> None:
        if written_as == "ICNS":
            photo = photo.resize((128, 128))
        path = save(photo, tmp_path / name, written_as)
        assert kind_of(path) is MediaKind.STILL
        dream_video(path, tmp_path / "out.png", UNTOUCHED)
        (before,), (after,) = frames_of(path), frames_of(tmp_path / "out.png")
        assert np.array_equal(before.image, after.image)
        if written_as in ("ICO", "ICNS"):  # the largest of its sizes
            photo = photo.resize(before.image.shape[1::-1])
        assert mean_error(before.image, floats(photo)) < 4

    def test_a_still_image_with_the_name_of_a_video_is_zoomed_into(
        self, photo: Image.Image, tmp_path: Path
    ) -> None:
        path = save(photo, tmp_path / "photo.mp4", "PNG")
        summary = dream_video(path, tmp_path / "o.mp4", replace(UNTOUCHED, duration=0.1, fps=30))
        assert summary.frames == 3

    def test_a_video_of_one_frame_is_a_video_unless_it_is_a_picture(
        self, photo: Image.Image, tmp_path: Path
    ) -> None:
        photo.save(tmp_path / "a.png")
        ffmpeg("-i", tmp_path / "a.png", *X264, tmp_path / "film.mp4")
        ffmpeg("-i", tmp_path / "a.png", "-c:v", "mjpeg", "-q:v", "2", tmp_path / "photo.mov")
        assert kind_of(tmp_path / "film.mp4") is MediaKind.VIDEO
        assert kind_of(tmp_path / "photo.mov") is MediaKind.STILL
        assert mean_error(frames_of(tmp_path / "photo.mov")[0].image, floats(photo)) < 4

    def test_an_animation_of_one_frame_is_a_still_image(self, tmp_path: Path) -> None:
        for name in ("a.gif", "a.webp", "a.png", "a.tiff"):
            discs()[0].save(tmp_path / name, save_all=True)
            assert kind_of(tmp_path / name) is MediaKind.STILL

    def test_layers_thumbnails_and_second_views_are_not_frames(
        self, photo: Image.Image, tmp_path: Path
    ) -> None:
        small = np.asarray(photo.resize((24, 16)))
        for name, images in (
            ("pyramid.tiff", [(np.asarray(photo), 0), (small, 1)]),
            ("thumbnail_first.tiff", [(small, 1), (np.asarray(photo), 0)]),
        ):
            with tifffile.TiffWriter(tmp_path / name) as file:
                for pixels, subfile_type in images:
                    file.write(pixels, photometric="rgb", subfiletype=subfile_type)
        view = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        photo.save(tmp_path / "views.mpo", save_all=True, append_images=[view], quality=95)
        for name in ("pyramid.tiff", "thumbnail_first.tiff", "views.mpo"):
            assert kind_of(tmp_path / name) is MediaKind.STILL
            assert mean_error(frames_of(tmp_path / name)[0].image, floats(photo)) < 4

    def test_a_file_with_nothing_but_a_thumbnail_is_refused(self, tmp_path: Path) -> None:
        with tifffile.TiffWriter(tmp_path / "raw.dng") as file:
            file.write(np.zeros((16, 24, 3), np.uint8), photometric="rgb", subfiletype=1)
        with pytest.raises(InputError, match=r"raw\.dng .*only a thumbnail"):
            dream_video(tmp_path / "raw.dng", tmp_path / "o.png", UNTOUCHED)

    @pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr", "I;16"])
    @pytest.mark.parametrize("suffix", [".png", ".tiff", ".jpg", ".jp2"])
    def test_every_mode_that_a_format_writes_is_read(
        self, mode: str, suffix: str, photo: Image.Image, tmp_path: Path
    ) -> None:
        grey = photo.convert("L")
        if mode == "I;16":
            image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
        else:
            image = grey.convert("P").convert(mode) if mode == "PA" else photo.convert(mode)
        try:
            image.save(tmp_path / f"a{suffix}")
        except OSError:
            pytest.skip(f"{suffix} holds no {mode}")
        (frame,) = frames_of(tmp_path / f"a{suffix}")
        expected = grey if mode in ("I;16", "LA", "L", "PA") else image.convert("RGB")
        assert mean_error(frame.image, floats(expected)) < 4

    @pytest.mark.parametrize("name", ["a.jfif", "a.png", "a.webp", "a.avif", "a.tiff", "a.heic"])
    def test_every_format_is_turned_upright(
        self, name: str, photo: Image.Image, tmp_path: Path
    ) -> None:
        exif = Image.Exif()
        exif[ORIENTATION_TAG] = 6  # shown turned to the right
        if name == "a.heic":
            save_heif(photo, tmp_path / name, exif=exif.tobytes())
        else:
            save_as = "JPEG" if name == "a.jfif" else None
            photo.save(tmp_path / name, format=save_as, exif=exif)
        dream_video(tmp_path / name, tmp_path / "o.png", UNTOUCHED)
        (frame,) = frames_of(tmp_path / "o.png")
        assert mean_error(frame.image, np.rot90(floats(photo), -1)) < 9

    def test_a_jpeg_in_a_video_with_exif_is_read(self, photo: Image.Image, tmp_path: Path) -> None:
        """PyAV does not know this kind of side data."""
        exif = Image.Exif()
        exif[ORIENTATION_TAG] = 8
        photo.save(tmp_path / "a.jpg", exif=exif)
        ffmpeg("-i", tmp_path / "a.jpg", "-c", "copy", tmp_path / "a.mkv")
        (frame,) = frames_of(tmp_path / "a.mkv")
        assert mean_error(frame.image, np.rot90(floats(photo))) < 9

    def test_other_programs_are_not_started(self, tmp_path: Path) -> None:
        """Pillow would give PostScript to Ghostscript, whatever the file is called."""
        (tmp_path / "a.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
        with pytest.raises(InputError, match=r"cannot read .*a\.png"):
            dream_video(tmp_path / "a.png", tmp_path / "o.png", UNTOUCHED)


def save_heif(image: Image.Image, path: Path, **options: Any) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    heif = pillow_heif.from_pillow(image)
    heif.info["exif"] = options.pop("exif", None)
    heif.save(path, quality=95, **options)


class TestHeif:
    def test_a_grid_of_tiles_is_one_photo(self, photo: Image.Image, tmp_path: Path) -> None:
        path = tmp_path / "photo.heic"
        save_heif(photo.resize((192, 128)), path, tile_size=64)
        with av.open(str(path)) as container:
            if len(container.streams) == 1:
                pytest.skip("this pillow-heif writes no tiles")
        dream_video(path, tmp_path / "o.png", UNTOUCHED)
        (frame,) = frames_of(tmp_path / "o.png")
        assert frame.image.shape == (128, 192, 3)
        assert mean_error(frame.image, floats(photo.resize((192, 128)))) < 4

    def test_exif_is_kept(self, photo: Image.Image, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x010F] = "Maker"
        save_heif(photo, tmp_path / "a.heic", exif=exif.tobytes())
        dream_video(tmp_path / "a.heic", tmp_path / "o.jpg", UNTOUCHED)
        with Image.open(tmp_path / "o.jpg") as image:
            assert image.getexif()[0x010F] == "Maker"

    @pytest.mark.parametrize("name", ["a.heic", "a.jpg"])
    def test_without_the_package_one_line_says_how_to_install_it(
        self,
        name: str,
        photo: Image.Image,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        save_heif(photo, tmp_path / "a.heic")
        path = (tmp_path / "a.heic").rename(tmp_path / name)
        monkeypatch.setitem(sys.modules, "pillow_heif", None)
        assert main([str(path), str(tmp_path / "o.mp4")]) == 2
        message = capsys.readouterr().err
        assert "pip install 'dreamvideo[heif]'" in message
        assert message.count("\n") == 1
        assert not list(tmp_path.glob("o.*"))


class TestFloats:
    @pytest.mark.parametrize("suffix", [".exr", ".hdr", ".pfm", ".tiff"])
    def test_linear_light_is_shown_as_on_a_screen(self, suffix: str, tmp_path: Path) -> None:
        """sRGB up to 0.8 of linear light; above, all of it stays below white, in its order."""
        light = np.zeros((4, 64, 3), np.float32)
        light[...] = np.geomspace(0.001, 50, 64, dtype=np.float32)[None, :, None]
        path = tmp_path / f"a{suffix}"
        if suffix == ".tiff":
            tifffile.imwrite(path, light, photometric="rgb")
        else:
            planes = light.transpose(2, 0, 1)[[1, 2, 0]]  # FFmpeg's order: green, blue, red
            (tmp_path / "raw").write_bytes(np.ascontiguousarray(planes).tobytes())
            raw = ("-f", "rawvideo", "-pix_fmt", "gbrpf32le", "-s", "64x4")
            ffmpeg(*raw, "-i", tmp_path / "raw", path)
        assert kind_of(path) is MediaKind.STILL
        dream_video(path, tmp_path / "o.png", UNTOUCHED)
        (frame,) = frames_of(tmp_path / "o.png")
        assert frame.metadata is not None
        assert frame.metadata.bits == 16
        row, x = frame.image[0, :, 0], light[0, :, 0]
        expected = np.where(x <= 0.0031308, x * 12.92, 1.055 * x ** (1 / 2.4) - 0.055)
        # Radiance's mantissa has 8 bits.
        assert np.abs(row - expected)[x < 0.8].max() < (0.01 if suffix == ".hdr" else 1e-4)
        assert (np.diff(row) > 0).all() or suffix == ".hdr"
        assert 0.99 < row[-1] < 1

    def test_floats_of_unknown_range_are_refused(self, tmp_path: Path) -> None:
        tifffile.imwrite(tmp_path / "depth.tiff", np.zeros((8, 8), np.float32))
        with pytest.raises(InputError, match=r"depth\.tiff .*floats, whose range is unknown"):
            dream_video(tmp_path / "depth.tiff", tmp_path / "o.png", UNTOUCHED)

    def test_a_format_that_cannot_be_decoded_is_refused(
        self, photo: Image.Image, tmp_path: Path
    ) -> None:
        photo.save(tmp_path / "a.png")
        ffmpeg("-i", tmp_path / "a.png", tmp_path / "a.jxl")
        with pytest.raises(InputError, match=r"a\.jxl .*no decoder.*convert it"):
            dream_video(tmp_path / "a.jxl", tmp_path / "o.png", UNTOUCHED)


class TestAnimations:
    @pytest.mark.parametrize(("name", "written_as", "options", "tolerance"), [
        ("a.webp", "WEBP", {"lossless": True}, 0.001),
        ("a.png", "PNG", {"disposal": 1}, 0.001),
        ("a.gif", "GIF", {"disposal": 2}, 0.001),
        ("a.avif", "AVIF", {"quality": 95}, 0.01),
        ("webp.jpg", "WEBP", {"lossless": True}, 0.001),
        ("no_suffix", "PNG", {"disposal": 1}, 0.001),
        ("gif.png", "GIF", {"disposal": 2}, 0.001),
    ])  # fmt: skip
    def test_all_frames_with_their_durations(
        self, name: str, written_as: str, options: dict[str, Any], tolerance: float, tmp_path: Path
    ) -> None:
        path = save_animation(tmp_path / name, format=written_as, **options)
        assert kind_of(path) is MediaKind.VIDEO
        assert_discs(path, tolerance)

    @pytest.mark.filterwarnings("ignore::dreamvideo.errors.DreamVideoWarning")
    def test_an_animation_is_dreamed_and_measured_like_a_video(self, tmp_path: Path) -> None:
        path = save_animation(tmp_path / "a.webp", lossless=True)
        dream_video(path, tmp_path / "o.mp4", UNTOUCHED)
        frames = frames_of(tmp_path / "o.mp4")
        assert [frame.time_seconds for frame in frames] == TIMES
        assert frames[-1].duration_seconds == Fraction(4, 10)
        dream_video(path, tmp_path / "b.webp", replace(UNTOUCHED, crf=None))
        assert [frame.time_seconds for frame in frames_of(tmp_path / "b.webp")] == TIMES
        comparison = compare_videos(str(path), str(tmp_path / "o.mp4"), Settings(device="cpu"))
        assert len(comparison.measured.frames) == len(TIMES)

    def test_a_colour_profile_in_an_animated_png_does_no_harm(self, tmp_path: Path) -> None:
        """PyAV would free its name twice: the process would end."""
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        save_animation(tmp_path / "a.png", disposal=1, icc_profile=profile)
        command = [sys.executable, "-c", READ_ALL, str(tmp_path / "a.png")]
        subprocess.run(command, check=True, cwd=Path(__file__).parent.parent)
        assert_discs(tmp_path / "a.png", 0.001)

    def test_parts_and_other_rates(self, tmp_path: Path) -> None:
        path = save_animation(tmp_path / "a.webp", lossless=True)
        part = frames_of(path, Settings(start=0.1, end=0.37))
        assert [frame.time_seconds for frame in part] == [0, Fraction(1, 20), Fraction(1, 4)]
        assert part[-1].duration_seconds == Fraction(2, 100)
        assert len(frames_of(path, Settings(every=2))) == 3
        assert len(frames_of(path, Settings(fps=100))) == 78

    def test_a_frame_without_duration_is_shown_as_in_browsers(self, tmp_path: Path) -> None:
        first, *rest = discs()
        first.save(tmp_path / "a.webp", save_all=True, append_images=rest, duration=0)
        times = [frame.time_seconds for frame in frames_of(tmp_path / "a.webp")]
        assert times == [Fraction(number, 10) for number in range(5)]

    def test_the_picture_for_viewers_without_animation_is_no_frame(self, tmp_path: Path) -> None:
        other = Image.new("RGBA", SIZE, (0, 0, 255, 255))
        options: dict[str, Any] = {"duration": DURATIONS_MS, "disposal": 1}
        other.save(
            tmp_path / "a.png", save_all=True, append_images=discs(), default_image=True, **options
        )
        assert_discs(tmp_path / "a.png", 0.001)

    @pytest.mark.parametrize("bits", [8, 16])
    def test_pages_of_a_tiff_are_frames_like_a_folder_of_images(
        self, bits: int, tmp_path: Path
    ) -> None:
        chance = np.random.default_rng(0)
        pages = chance.integers(0, 1 << bits, (3, 32, 48, 3), np.uint8 if bits == 8 else np.uint16)
        tifffile.imwrite(tmp_path / "a.tiff", pages, photometric="rgb")
        frames = frames_of(tmp_path / "a.tiff")
        assert [frame.time_seconds for frame in frames] == [0, Fraction(1, 25), Fraction(2, 25)]
        frames = frames_of(tmp_path / "a.tiff", Settings(fps=10))
        assert [frame.time_seconds for frame in frames] == [0, Fraction(1, 10), Fraction(2, 10)]
        top = (1 << bits) - 1
        for frame, page in zip(frames, pages, strict=True):
            assert np.array_equal(np.rint(frame.image.astype(np.float64) * top), page)

    def test_pages_of_other_shapes_get_bars(self, tmp_path: Path) -> None:
        white = [Image.new("L", size, 255) for size in ((60, 40), (40, 60), (30, 20))]
        white[0].save(tmp_path / "a.tiff", save_all=True, append_images=white[1:])
        with pytest.warns(DreamVideoWarning, match=r"from 60x40 to 40x60 .*bars") as caught:
            frames = frames_of(tmp_path / "a.tiff")
        assert len(caught) == 1
        widths = [round(float(frame.image[20, :, 0].sum())) for frame in frames]
        assert widths == [60, 27, 60]
        assert {frame.image.shape for frame in frames} == {(40, 60, 3)}

    def test_images_in_a_row_are_a_video(self, make_clip: MakeClip, tmp_path: Path) -> None:
        clip = make_clip("a.mjpeg", "testsrc2=s=64x48:r=25:d=0.2", "-c:v", "mjpeg")
        assert kind_of(clip) is MediaKind.VIDEO
        assert len(frames_of(clip)) == 5
        ffmpeg("-i", clip, "-f", "image2pipe", "-c:v", "ppm", tmp_path / "a.ppms")
        assert kind_of(tmp_path / "a.ppms") is MediaKind.VIDEO
        assert len(frames_of(tmp_path / "a.ppms")) == 5

    def test_an_animation_cannot_become_a_still_image(self, tmp_path: Path) -> None:
        path = save_animation(tmp_path / "a.png")
        with pytest.raises(UsageError, match=r"a\.png, a video, cannot become .*b\.png"):
            dream_video(path, tmp_path / "b.png", UNTOUCHED)

    def test_an_animation_has_no_streams_to_choose_from(self, tmp_path: Path) -> None:
        path = save_animation(tmp_path / "a.webp")
        with pytest.raises(UsageError, match="--stream 0 is for videos with several streams"):
            dream_video(path, tmp_path / "o.mp4", replace(UNTOUCHED, stream=0))

    def test_a_damaged_animation_is_refused(self, tmp_path: Path) -> None:
        path = save_animation(tmp_path / "a.webp", lossless=True)
        path.write_bytes(path.read_bytes()[:-300])
        with pytest.raises(InputError, match=r"cannot read .*a\.webp"):
            dream_video(path, tmp_path / "o.mp4", UNTOUCHED)

    def test_a_large_animation_is_refused(self, tmp_path: Path) -> None:
        path = save_animation(tmp_path / "a.webp")
        with pytest.raises(InputError, match="--max-pixels 6144"):
            dream_video(path, tmp_path / "o.mp4", replace(UNTOUCHED, max_pixels=1000))


class TestVideos:
    @pytest.mark.parametrize("name", ["a.png", "a.tiff", "a.webp", "no_suffix", "a.txt"])
    def test_a_video_is_a_video_under_any_name(
        self, name: str, make_clip: MakeClip, tmp_path: Path
    ) -> None:
        clip = make_clip("a.mp4", "testsrc2=s=64x48:r=25:d=0.2", *X264).rename(tmp_path / name)
        assert kind_of(clip) is MediaKind.VIDEO
        assert dream_video(clip, tmp_path / "o.mp4", UNTOUCHED).frames == 5

    def test_a_video_whose_tags_are_not_utf8_is_a_video(self, make_clip: MakeClip) -> None:
        source = "testsrc2=s=64x48:r=25:d=0.2"
        clip = make_clip("a.mkv", source, *X264, "-metadata", "title=Canyon")
        clip.write_bytes(clip.read_bytes().replace(b"Canyon", b"Ca\xf1yon"))
        assert kind_of(clip) is MediaKind.VIDEO
        assert len(frames_of(clip)) == 5

    def test_what_is_neither_is_refused_as_such(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("words")
        for out in ("o.png", "o.mp4"):
            with pytest.raises(InputError, match=r"cannot read .*a\.txt as a video"):
                dream_video(tmp_path / "a.txt", tmp_path / out, UNTOUCHED)


class TestFolders:
    @pytest.fixture
    def mixed(self, photo: Image.Image, tmp_path: Path, make_clip: MakeClip) -> Path:
        folder = tmp_path / "frames"
        folder.mkdir()
        for name, written_as in (
            *(("1.png", "PNG"), ("2.png", "JPEG"), ("3.tga", "TGA"), ("4", "PNG")),
            *(("5.gif", "WEBP"), ("6.jfif", "JPEG"), ("7.jp2", "JPEG2000"), ("8.0001", "PPM")),
        ):
            save(photo, folder / name, written_as)
        (folder / "notes.txt").write_text("words")
        make_clip("a.mp4", "testsrc2=s=64x48:r=25:d=0.2", *X264).rename(folder / "a.mp4")
        return folder

    def test_images_of_all_formats_are_frames(
        self, mixed: Path, photo: Image.Image, tmp_path: Path
    ) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            dream_video(mixed, tmp_path / "out", UNTOUCHED)
        messages = " | ".join(str(warning.message) for warning in caught)
        assert "left out, since not an image: a.mp4, notes.txt" in messages
        assert ".0001, .gif, .jfif, .jp2, .tga, images without suffix: written as .png" in messages
        names = sorted(path.name for path in (tmp_path / "out").iterdir())
        pngs = ["1.png", "2.png", "3.png", "4.png", "5.png", "6.png", "7.png", "8.0001.png"]
        assert names == pngs
        for path in (tmp_path / "out").iterdir():
            assert mean_error(frames_of(path)[0].image, floats(photo)) < 4

    def test_two_images_of_one_new_name_are_refused(
        self, photo: Image.Image, tmp_path: Path
    ) -> None:
        folder = tmp_path / "frames"
        folder.mkdir()
        photo.save(folder / "a.png")
        photo.save(folder / "a.tga")
        with pytest.raises(UsageError, match=r"would be called a\.png"):
            dream_video(folder, tmp_path / "out", UNTOUCHED)
