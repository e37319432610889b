"""The table of formats: what each suffix holds, which options it takes, names of files."""

from __future__ import annotations

import os
from pathlib import Path

import av
import imageio.v3 as iio
import pytest

from dreamvideo import Settings, dream_video
from dreamvideo.errors import InputError, SettingsError
from dreamvideo.media.formats import (
    ENCODERS,
    OUTPUT_FORMATS,
    VIDEO_SUFFIXES,
    MediaKind,
    OutputFormat,
    output_format,
    output_kind,
    suffixes_of_encoder,
)
from dreamvideo.media.metadata import read_signature
from tests.conftest import (
    UNTOUCHED,
    X264,
    MakeClip,
    ffmpeg,
    frames_of,
    psnr,
)

pytestmark = pytest.mark.usefixtures("shared_network")


SUBTITLES = "1\n00:00:00,000 --> 00:00:00,200\nHello\n"


@pytest.fixture(scope="module")
def source(encode_clip: MakeClip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video with audio that no format copies, styled subtitles and a font."""
    folder = tmp_path_factory.mktemp("source")
    options = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "wmav2")
    clip = encode_clip(".mkv", "testsrc2=s=64x48:r=25:d=0.4", *options, audio="sine=d=0.4:r=48000")
    (folder / "s.srt").write_text(SUBTITLES)
    (folder / "f.ttf").write_bytes(b"a font")
    ffmpeg(
        "-i", clip, "-i", folder / "s.srt", "-map", "0", "-map", "1", "-c", "copy", "-c:s", "ass",
        "-attach", folder / "f.ttf", "-metadata:s:t:0", "mimetype=font/ttf", folder / "a.mkv",
    )  # fmt: skip
    return folder / "a.mkv"


@pytest.mark.parametrize("row", OUTPUT_FORMATS.values(), ids=OUTPUT_FORMATS)
class TestOutputFormat:
    """Each row of the table, so that a new one needs no test of its own."""

    def test_a_video_is_written_as_the_row_declares(
        self, row: OutputFormat, source: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / f"out{row.suffix}"
        summary = dream_video(source, out, Settings(strength=0, device="cpu"))
        assert summary.frames == 10
        if row.suffix in VIDEO_SUFFIXES:
            assert len(frames_of(out)) == 10
        else:  # a .webp, which is read as a still image; libwebp joins frames that look alike
            assert 1 < len(list(iio.imiter(out))) <= 10
        if row.animation is not None:
            return
        with av.open(str(out)) as video:
            audio, subtitles = video.streams.audio[0], video.streams.subtitles[0]
            assert audio.codec_context.codec.canonical_name in row.audio_codecs
            assert subtitles.codec_context.codec.canonical_name in row.subtitle_codecs
            assert bool(video.streams.attachments) == row.holds_attachments
        assert row.holds_settings
        assert '"strength": 0' in read_signature(out)

    def test_its_names_are_known(self, row: OutputFormat, tmp_path: Path) -> None:
        name = str(tmp_path / f"A{row.suffix.upper()}")
        assert output_format(name) is row
        assert output_kind(name) in (MediaKind.VIDEO, MediaKind.STILL)
        assert set(row.encoders) <= set(ENCODERS)
        assert av.ContainerFormat(row.muxer, "w").is_output


@pytest.mark.parametrize(
    ("suffix", "encoder"),
    [(suffix, encoder) for encoder in ENCODERS for suffix in suffixes_of_encoder(encoder)],
)
def test_every_encoder_of_a_format_is_written(
    suffix: str, encoder: str, source: Path, tmp_path: Path
) -> None:
    if "nvenc" in encoder or encoder not in av.codecs_available:
        pytest.skip(f"{encoder} may not run here")
    out = tmp_path / f"out{suffix}"
    dream_video(source, out, Settings(strength=0, device="cpu", encoder=encoder))
    assert len(frames_of(out)) == 10
    with av.open(str(out)) as video:
        context = video.streams.video[0].codec_context
        tag = ENCODERS[encoder].apple_codec_tag
        assert (context.codec_tag == tag) == bool(tag and output_format(out).needs_apple_codec_tags)


def test_names_with_a_colon_are_files(
    make_clip: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_clip("plain.mp4", "testsrc2=s=160x90:d=0.2:r=25", *X264)
    renamed = clip.rename(tmp_path / "2024-01-01T12:30:05.mp4")
    monkeypatch.chdir(tmp_path)
    dream_video(renamed.name, "12:30.mp4", UNTOUCHED)
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


@pytest.mark.parametrize(
    ("suffix", "changes", "words"),
    [
        (".webm", {"encoder": "libx264"}, r"libx264 cannot be in \.webm.*libvpx-vp9"),
        (".mp4", {"encoder": "prores_ks"}, r"prores_ks cannot be in \.mp4: allowed is \.mov"),
        (".gif", {"encoder": "libx264"}, r"encoder cannot be libx264 for a \.gif"),
        (".mp4", {"crf": 60}, "crf cannot be 60 with libx264: allowed is 0 to 51"),
        (".mkv", {"encoder": "ffv1", "crf": 3}, "has no quality"),
        (".mp4", {"preset": "quick"}, "preset cannot be quick with libx264: .*veryslow"),
        (".mp4", {"pixel_format": "rgb24"}, "pixel-format cannot be rgb24 .*yuv444p"),
    ],
)
def test_encoder_options_that_do_not_fit_are_refused(
    suffix: str, changes: dict[str, str], words: str, sample_clip: Path, tmp_path: Path
) -> None:
    settings = Settings(strength=0, device="cpu", **changes)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=words):
        dream_video(sample_clip, tmp_path / f"o{suffix}", settings)
    assert list(tmp_path.iterdir()) == []


def test_a_gif_keeps_times_and_loops(sample_clip: Path, tmp_path: Path) -> None:
    dream_video(sample_clip, tmp_path / "o.gif", Settings(strength=0, size=160, end=1.0))
    before = frames_of(sample_clip, Settings(size=160, end=1.0))
    after = frames_of(tmp_path / "o.gif")
    assert [frame.time_seconds for frame in after] == [f.time_seconds for f in before]
    assert min(psnr(a.image, b.image) for a, b in zip(before, after, strict=True)) > 24
    assert b"NETSCAPE2.0" in (tmp_path / "o.gif").read_bytes()  # it loops
