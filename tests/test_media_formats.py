"""What goes in comes out: times, colours, sizes, sound, transparency."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import imageio.v3 as iio
import numpy as np
import pytest

from dreamvideo import Settings, dream_video
from dreamvideo.errors import InputError, OutputExistsError
from dreamvideo.job.outputs import open_image_writer
from dreamvideo.media.opening import Location
from dreamvideo.media.read import open_source
from dreamvideo.types import DreamedFrame
from tests.conftest import (
    UNTOUCHED,
    X264,
    MakeClip,
    ffmpeg,
    frames_of,
    mean_error,
    packets_hash,
    psnr,
    smooth_colours,
)


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


TIMING_CLIPS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "25": ("a.mp4", "testsrc2=s=160x90:r=25:d=1", ()),
    "ntsc": ("a.mp4", "testsrc2=s=160x90:r=30000/1001:d=1", ()),
    "film": ("a.mkv", "testsrc2=s=160x90:r=24000/1001:d=1", ()),
    "variable": (
        "a.mp4",
        "testsrc2=s=160x90:r=30:d=2",
        ("-vf", "select='not(mod(n\\,3))+lt(n\\,12)'", "-fps_mode", "vfr"),
    ),
    "late start": ("a.mp4", "testsrc2=s=160x90:r=25:d=1", ("-output_ts_offset", "0.5")),
    "mov": ("a.mov", "testsrc2=s=160x90:r=50:d=0.5", ()),
    "transport stream": ("a.ts", "testsrc2=s=160x90:r=30000/1001:d=1", ("-bf", "2")),
    "late matroska": ("a.mkv", "testsrc2=s=160x90:r=25:d=1", ("-output_ts_offset", "0.5")),
    "web": ("a.webm", "testsrc2=s=160x90:r=25:d=1", ("-c:v", "libvpx-vp9")),
}


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize("name", TIMING_CLIPS)
def test_every_time_is_kept_exactly(
    name: str, suffix: str, make_clip: MakeClip, tmp_path: Path
) -> None:
    file, source, words = TIMING_CLIPS[name]
    clip = make_clip(file, source, *X264, *words)
    out = tmp_path / f"out{suffix}"
    summary = dream_video(clip, out, UNTOUCHED)
    before, after = frames_of(clip), frames_of(out)
    assert [f.time_seconds for f in after] == [f.time_seconds for f in before]
    assert summary.frames == len(before)
    with av.open(str(clip)) as one, av.open(str(out)) as other:
        if clip.suffix in (".mp4", ".mov"):  # others round theirs, or count from zero
            assert other.duration == one.duration


@pytest.mark.parametrize("name", ["a.avi", "a.h264"])
def test_films_without_times_have_a_constant_rate(
    name: str, make_clip: MakeClip, tmp_path: Path
) -> None:
    """AVI and raw streams say when a frame is decoded: with B-frames, in another order."""
    clip = make_clip(name, "testsrc2=s=160x90:r=25:d=1", *X264, "-bf", "2")
    dream_video(clip, tmp_path / "out.mp4", UNTOUCHED)
    after = frames_of(tmp_path / "out.mp4")
    assert [frame.time_seconds for frame in after] == [Fraction(i, 25) for i in range(25)]


def test_trimmed_matroska_is_whole(make_clip: MakeClip, tmp_path: Path) -> None:
    clip = make_clip("a.mp4", "testsrc2=s=160x90:d=3:r=25", *X264, "-g", "25")
    ffmpeg("-i", clip, "-ss", "1.3", "-t", "1", "-c", "copy", tmp_path / "b.mkv")
    assert len(frames_of(tmp_path / "b.mkv")) >= 10


def test_names_with_a_colon_are_files(make_clip: MakeClip, tmp_path: Path) -> None:
    clip = make_clip("plain.mp4", "testsrc2=s=160x90:d=0.2:r=25", *X264)
    odd = clip.rename(tmp_path / "2024-01-01T12:30:05.mp4")
    with inside(tmp_path):
        dream_video(odd.name, "12:30.mp4", UNTOUCHED)
    assert len(frames_of(tmp_path / "12:30.mp4")) == 5


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mkv")
    with pytest.raises(InputError, match="pipe"):
        frames_of(tmp_path / "pipe.mkv")


def test_better_quality_makes_a_larger_file(sample_clip: Path, tmp_path: Path) -> None:
    sizes = []
    for crf, preset in ((18, "medium"), (30, "medium"), (30, "ultrafast")):
        out = tmp_path / f"{crf}{preset}.mp4"
        settings = Settings(strength=0, flow="none", size=160, crf=crf, preset=preset)
        dream_video(sample_clip, out, settings)
        sizes.append(out.stat().st_size)
    assert sizes[0] > 1.3 * sizes[1]
    assert sizes[1] != sizes[2]


def test_times_in_matroska_are_right_to_its_tick(make_clip: MakeClip, tmp_path: Path) -> None:
    clip = make_clip("a.mp4", "testsrc2=s=160x90:r=30000/1001:d=1", *X264)
    dream_video(clip, tmp_path / "out.mkv", UNTOUCHED)
    for before, after in zip(frames_of(clip), frames_of(tmp_path / "out.mkv"), strict=True):
        assert abs(before.time_seconds - after.time_seconds) <= Fraction(1, 2000)


COLOUR_CLIPS = {
    "bt709": ("bt709", "tv", "480x270"),
    "bt601": ("smpte170m", "tv", "480x270"),
    "full range": ("bt709", "pc", "480x270"),
    "bt2020": ("bt2020nc", "tv", "480x270"),
    "untagged small": ("", "tv", "480x270"),
    "untagged hd": ("", "tv", "1280x720"),
}


@pytest.mark.parametrize("name", COLOUR_CLIPS)
def test_colours_are_true(name: str, make_clip: MakeClip, tmp_path: Path) -> None:
    """Smooth colours, as ffmpeg's source makes them in RGB, come back in RGB."""
    matrix, colour_range, size = COLOUR_CLIPS[name]
    encoded_as = matrix or ("bt709" if size == "1280x720" else "bt601")
    source, truth = smooth_colours(size, tmp_path)
    scale = (
        f"scale=out_color_matrix={encoded_as}:out_range={colour_range}"
        ":flags=bicubic+accurate_rnd+full_chroma_int,format=yuv420p"
    )
    tags = f",setparams=colorspace={matrix or 'unknown'}:range={colour_range}"
    clip = make_clip("clip.mp4", source, "-vf", scale + tags, *X264)
    before = frames_of(clip)[0].image
    # FFmpeg itself is 0.9 off when it makes full-range films.
    assert mean_error(before, truth) < (1.2 if colour_range == "pc" else 0.8)
    out = tmp_path / "out.mp4"
    dream_video(clip, out, UNTOUCHED)
    after = frames_of(out)[0].image
    assert mean_error(after, before) < 0.8
    assert np.abs((after - before).mean((0, 1)) * 255).max() < 0.1
    with av.open(str(out)) as video:
        tagged = video.streams.video[0].codec_context
        expected = {"bt709": 1, "smpte170m": 6, "bt2020nc": 9, "bt601": 6}[encoded_as]
        assert int(tagged.colorspace) == expected


def test_five_generations_do_not_darken(make_clip: MakeClip, tmp_path: Path) -> None:
    first = video = make_clip("a.mp4", smooth_colours("160x90", tmp_path)[0], *X264)
    for generation in range(5):
        following = tmp_path / f"{generation}.mp4"
        dream_video(video, following, UNTOUCHED)
        video = following
    drift = (frames_of(video)[0].image - frames_of(first)[0].image).mean((0, 1)) * 255
    assert np.abs(drift).max() < 0.5


def test_encoding_keeps_the_picture(sample_clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    dream_video(sample_clip, out, Settings(strength=0, flow="none", device="cpu", size=320))
    for before, after in zip(
        frames_of(sample_clip, Settings(size=320)), frames_of(out), strict=True
    ):
        assert psnr(before.image, after.image) > 34


@pytest.mark.parametrize("size", ["161x91", "160x91", "161x90"])
def test_odd_sizes_keep_their_pixels(size: str, make_clip: MakeClip, tmp_path: Path) -> None:
    width, height = size.split("x")
    crop = f"format=gbrp,crop={width}:{height}:exact=1"
    clip = make_clip("a.mkv", "testsrc2=s=162x92:d=0.2:r=25", "-vf", crop, "-c:v", "ffv1")
    out = tmp_path / "out.mp4"
    dream_video(clip, out, UNTOUCHED)
    before, after = frames_of(clip)[0].image, frames_of(out)[0].image
    assert after.shape == before.shape == (int(height), int(width), 3)
    assert psnr(before, after) > 40


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_applied(degrees: int, make_clip: MakeClip, tmp_path: Path) -> None:
    upright = make_clip("a.mp4", smooth_colours("160x90", tmp_path)[0], *X264)
    turned = tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", str(degrees), "-i", upright, "-c", "copy", turned)
    reference = tmp_path / "reference.png"
    ffmpeg("-i", turned, "-frames:v", "1", reference)
    seen = frames_of(turned)[0].image
    assert psnr(seen, iio.imread(reference) / 255) > 30
    dream_video(turned, tmp_path / "out.mp4", UNTOUCHED)
    assert psnr(frames_of(tmp_path / "out.mp4")[0].image, seen) > 28


def test_pixel_aspect_is_kept(make_clip: MakeClip, tmp_path: Path) -> None:
    clip = make_clip("a.mp4", "testsrc2=s=160x90:d=0.2:r=25", "-vf", "setsar=4/3", *X264)
    dream_video(clip, tmp_path / "out.mp4", UNTOUCHED)
    with av.open(str(tmp_path / "out.mp4")) as video:
        assert video.streams.video[0].sample_aspect_ratio == Fraction(4, 3)


def test_size_is_the_longest_side(sample_clip: Path) -> None:
    with open_source(Location(str(sample_clip)), Settings(size=384)) as source:
        assert (source.info.width_px, source.info.height_px) == (384, 216)
        assert next(iter(source)).image.shape == (216, 384, 3)


def test_every_sound_is_copied(make_clip: MakeClip, tmp_path: Path) -> None:
    clip = make_clip(
        "a.mp4", "testsrc2=s=160x90:d=1:r=25", *X264, "-c:a", "aac", "-map", "0", "-map", "1",
        "-map", "1", sound="sine=d=1.3",
    )  # fmt: skip
    out = tmp_path / "out.mp4"
    dream_video(clip, out, UNTOUCHED)
    with av.open(str(out)) as video:
        assert len(video.streams.audio) == 2
    for stream in (0, 1):
        assert packets_hash(out, stream) == packets_hash(clip, stream)
    assert sound_starts(out) == sound_starts(clip)


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [("libmp3lame", ".mp4"), ("libmp3lame", ".mkv"), ("dca", ".mkv"), ("libopus", ".mp4")],
)
def test_sound_that_the_container_holds_is_copied(
    codec: str, suffix: str, make_clip: MakeClip, tmp_path: Path
) -> None:
    """Some codecs have another name than their decoder."""
    sound = ("-c:a", codec, "-strict", "-2")
    source = "testsrc2=s=160x90:d=1:r=25"
    clip = make_clip("a.mkv", source, *X264, *sound, sound="sine=d=1:r=48000")
    out = tmp_path / f"out{suffix}"
    dream_video(clip, out, UNTOUCHED)
    assert packets_hash(out, 0) == packets_hash(clip, 0)


def sound_starts(path: Path) -> list[Fraction]:
    """When each audio stream begins, relative to the picture."""
    with av.open(str(path)) as video:
        picture, *sounds = (
            (stream.start_time or 0) * (stream.time_base or Fraction(0))
            for stream in (video.streams.video[0], *video.streams.audio)
        )
        return [sound - picture for sound in sounds]


@pytest.mark.parametrize("codec", ["libopus", "flac"])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_sound_of_any_codec_arrives(
    codec: str, suffix: str, make_clip: MakeClip, tmp_path: Path
) -> None:
    clip = make_clip(
        "a.mkv", "testsrc2=s=160x90:d=1:r=25", *X264, "-c:a", codec, sound="sine=d=1:r=48000"
    )
    out = tmp_path / f"out{suffix}"
    dream_video(clip, out, UNTOUCHED)
    with av.open(str(out)) as video:
        samples = sum(frame.samples for frame in video.decode(audio=0))
    assert samples == pytest.approx(48000, rel=0.06)


def test_sound_that_the_container_cannot_hold_is_encoded_anew(
    make_clip: MakeClip, tmp_path: Path
) -> None:
    clip = make_clip(
        "a.mkv", "testsrc2=s=160x90:d=1:r=25", *X264, "-c:a", "wmav2", sound="sine=d=1"
    )
    out = tmp_path / "out.mp4"
    dream_video(clip, out, UNTOUCHED)
    with av.open(str(out)) as video:
        sound = np.concatenate([f.to_ndarray()[0] for f in video.decode(audio=0)])
        assert video.streams.audio[0].codec_context.name == "aac"
    assert sound.size == pytest.approx(44100, rel=0.06)
    spectrum = np.abs(np.fft.rfft(sound[4096:36864]))
    assert spectrum.argmax() * 44100 / 32768 == pytest.approx(440, abs=3)


class TestFaults:
    def test_bad_pictures_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        path.write_text("not a picture")
        with pytest.raises(InputError, match=r"a\.png"):
            frames_of(path)

    @pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm"])
    @pytest.mark.parametrize("share", [0.3, 0.7, 0.9])
    def test_a_film_that_is_cut_off_is_refused(
        self, name: str, share: float, make_clip: MakeClip
    ) -> None:
        codec = ("-c:v", "libvpx-vp9") if name.endswith("webm") else X264
        clip = make_clip(name, "testsrc2=s=160x90:d=2:r=25", *codec, "-movflags", "+faststart")
        whole = clip.read_bytes()
        clip.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(InputError, match=r"cut off|cannot|no frame"):
            frames_of(clip)

    def test_a_trimmed_film_is_whole(self, make_clip: MakeClip, tmp_path: Path) -> None:
        """Streams copied from the middle carry packets that are not shown."""
        clip = make_clip("a.mp4", "testsrc2=s=160x90:d=3:r=25", *X264)
        ffmpeg("-ss", "1.3", "-i", clip, "-c", "copy", tmp_path / "b.mp4")
        assert len(frames_of(tmp_path / "b.mp4")) == pytest.approx(43, abs=1)

    def test_an_output_that_appears_meanwhile_is_kept(
        self, sample_still: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out.png"
        with (
            open_source(Location(str(sample_still)), UNTOUCHED) as source,
            pytest.raises(OutputExistsError),
            open_image_writer(out, UNTOUCHED, overwrite=False) as writer,
        ):
            writer.write(DreamedFrame(next(iter(source))))
            out.write_bytes(b"precious")
        assert out.read_bytes() == b"precious"
        assert list(tmp_path.iterdir()) == [out]
