"""Videos without dreaming come back as they went in: a matrix of what videos can be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import imageio.v3 as iio
import pytest

from dreamvideo import Settings, dream_video
from dreamvideo.media.opening import Location
from dreamvideo.media.read import open_source
from dreamvideo.media.read.timeline import as_exact
from tests.conftest import (
    UNTOUCHED,
    X264,
    MakeClip,
    ffmpeg,
    frames_of,
    packets_hash,
    psnr,
    smooth_colours,
)

pytestmark = pytest.mark.usefixtures("shared_network")

VP9 = ("-c:v", "libvpx-vp9", "-b:v", "0", "-crf", "10", "-deadline", "realtime", "-cpu-used", "8")


VARIABLE = ("-vf", "select='not(mod(n\\,3))+lt(n\\,6)'", "-fps_mode", "vfr")


SUBTITLES = "1\n00:00:00,200 --> 00:00:00,600\nFirst\n\n2\n00:00:00,700 --> 00:00:00,900\nSecond\n"


@dataclass(frozen=True)
class Case:
    """One video: how it is encoded, and what a second ffmpeg changes without encoding."""

    suffix: str
    options: tuple[str, ...] = X264
    source: str = "testsrc2=s=160x90:r=25:d=1"
    audio_streams: int = 1
    audio_codec: str = "aac"
    input_options: tuple[str, ...] = ()
    """Of the second ffmpeg, which copies the streams."""
    output_options: tuple[str, ...] = ()
    subtitles: str = ""


def tagged(matrix: str, colour_range: str) -> tuple[str, ...]:
    """Options that encode with a matrix and range, and tag them."""
    scale = f"scale=out_color_matrix={matrix}:out_range={colour_range}:flags=accurate_rnd"
    tag = {"bt601": "smpte170m", "bt2020": "bt2020nc"}.get(matrix, matrix)
    tags = f"setparams=colorspace={tag}:range={colour_range}:color_primaries=bt709"
    return (*X264, "-vf", f"{scale},format=yuv420p,{tags}:color_trc=bt709")


CASES = {
    "mp4": Case(".mp4"),
    "mkv": Case(".mkv"),
    "mov": Case(".mov"),
    "webm": Case(".webm", VP9, audio_codec="libopus"),
    "mp4 variable": Case(".mp4", (*X264, *VARIABLE)),
    "mkv variable": Case(".mkv", (*X264, *VARIABLE)),
    "mov variable": Case(".mov", (*X264, *VARIABLE)),
    "webm variable": Case(".webm", (*VP9, *VARIABLE), audio_codec="libopus"),
    "mp4 29.97": Case(".mp4", source="testsrc2=s=160x90:r=30000/1001:d=1"),
    "mkv 29.97": Case(".mkv", source="testsrc2=s=160x90:r=30000/1001:d=1"),
    "mov 23.976": Case(".mov", source="testsrc2=s=160x90:r=24000/1001:d=1"),
    "webm 23.976": Case(".webm", VP9, "testsrc2=s=160x90:r=24000/1001:d=1", audio_codec="libopus"),
    "mp4 bt601": Case(".mp4", tagged("bt601", "tv")),
    "mkv bt709 full": Case(".mkv", tagged("bt709", "pc")),
    "mp4 bt2020": Case(".mp4", tagged("bt2020", "tv")),
    "mov bt601 full": Case(".mov", tagged("bt601", "pc")),
    "mp4 turned 90": Case(".mp4", input_options=("-display_rotation", "90")),
    "mov turned 180": Case(".mov", input_options=("-display_rotation", "180")),
    "mp4 turned 270": Case(".mp4", input_options=("-display_rotation", "270")),
    "mkv mirrored": Case(".mkv", input_options=("-display_hflip",)),
    "mp4 mirrored": Case(".mp4", input_options=("-display_hflip",)),
    "mp4 turned and mirrored": Case(
        ".mp4", input_options=("-display_rotation", "90", "-display_hflip")
    ),
    "mp4 odd": Case(".mp4", ("-vf", "crop=159:89:exact=1,format=yuv444p", "-c:v", "libx264")),
    "mkv odd": Case(".mkv", ("-vf", "crop=159:90:exact=1,format=yuv444p", "-c:v", "libx264")),
    "webm odd": Case(".webm", ("-vf", "format=yuv444p,crop=161:91:exact=1", *VP9),
                     "testsrc2=s=162x92:r=25:d=0.5", audio_codec="libopus"),
    "mp4 two audio streams": Case(".mp4", audio_streams=2),
    "mkv three audio streams": Case(".mkv", audio_streams=3),
    "webm two audio streams": Case(".webm", VP9, audio_streams=2, audio_codec="libopus"),
    "mp4 late": Case(".mp4", output_options=("-output_ts_offset", "0.5")),
    "mkv late": Case(".mkv", output_options=("-output_ts_offset", "0.7")),
    "mov late": Case(".mov", output_options=("-output_ts_offset", "0.52")),
    "mp4 wide pixels": Case(".mp4", (*X264, "-vf", "setsar=4/3")),
    "mkv narrow pixels": Case(".mkv", (*X264, "-vf", "setsar=8/9")),
    "mp4 wide pixels turned": Case(
        ".mp4", (*X264, "-vf", "setsar=4/3"), input_options=("-display_rotation", "90")
    ),
    "mp4 subtitles": Case(".mp4", subtitles="mov_text"),
    "mkv subtitles": Case(".mkv", subtitles="srt"),
    "webm subtitles": Case(".webm", VP9, audio_codec="libopus", subtitles="webvtt"),
}  # fmt: skip


@pytest.fixture(params=CASES)
def video(request: pytest.FixtureRequest, make_clip: MakeClip, tmp_path: Path) -> Path:
    case = CASES[request.param]
    audio_maps = ["-map", "1"] * case.audio_streams
    options = ["-map", "0", *audio_maps, *case.options, "-c:a", case.audio_codec]
    encoded = make_clip(f"encoded{case.suffix}", case.source, *options, audio="sine=d=1.1:r=48000")
    copied = tmp_path / f"video{case.suffix}"
    inputs: list[str | Path] = [*case.input_options, "-i", encoded]
    streams = ["-map", "0"]
    if case.subtitles:
        (tmp_path / "s.srt").write_text(SUBTITLES)
        inputs += ["-i", tmp_path / "s.srt"]
        streams += ["-map", "1", "-c:s", case.subtitles, "-metadata:s:s:0", "language=fra"]
    ffmpeg(*inputs, "-c", "copy", *streams, *case.output_options, copied)
    return copied


def test_videos_come_back_unchanged(video: Path, tmp_path: Path) -> None:
    out = tmp_path / f"out{video.suffix}"
    crf = 4 if video.suffix == ".webm" else 1
    summary = dream_video(video, out, replace(UNTOUCHED, crf=crf, segment_frames=10))
    before, after = frames_of(video), frames_of(out)
    assert summary.frames == len(after) == len(before) >= 8
    assert [frame.time_seconds for frame in after] == [frame.time_seconds for frame in before]
    assert [f.image.shape for f in after] == [f.image.shape for f in before]
    assert min(psnr(a.image, b.image) for a, b in zip(before, after, strict=True)) > 24
    with av.open(str(video)) as source, av.open(str(out)) as result:
        streams = [container.streams.video[0] for container in (source, result)]
        tags = [
            (int(s.codec_context.color_range), int(s.codec_context.colorspace)) for s in streams
        ]
        assert tags[0][0] in (0, tags[1][0])
        assert tags[0][1] in (2, tags[1][1])
        rates = [as_exact(s.average_rate, Fraction(0)) for s in streams]
        assert not all(rates) or float(rates[1]) == pytest.approx(float(rates[0]), rel=0.05)
        assert len(source.streams.audio) == len(result.streams.audio)
        audio_streams = len(source.streams.audio)
        assert shown_aspect(video) == pytest.approx(shown_aspect(out), rel=0.002)
    for stream in range(audio_streams):
        assert packets_hash(out, stream) == packets_hash(video, stream)
        delays = [audio_delay_seconds(each, stream) for each in (out, video)]
        assert delays[0] == pytest.approx(delays[1], abs=0.0011)  # ticks of Matroska
    assert subtitles_of(out) == subtitles_of(video)
    assert not list(tmp_path.glob("*.part"))


def shown_aspect(path: Path) -> float:
    """Width over height as a player shows it, upright."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frame = next(container.decode(stream))
        aspect = stream.sample_aspect_ratio
        pixel_aspect = aspect.numerator / aspect.denominator if aspect else 1
        aspect_ratio = pixel_aspect * frame.width / frame.height
        return 1 / aspect_ratio if frame.rotation % 180 else aspect_ratio


def audio_delay_seconds(path: Path, stream: int) -> float:
    """How long after the first frame the first audio begins."""
    with av.open(str(path)) as container:
        first = next(container.decode(video=0))
        assert first.time is not None
        container.seek(0)
        packet = next(container.demux(container.streams.audio[stream]))
        assert packet.pts is not None
        return float(packet.pts * packet.time_base) - first.time


def subtitles_of(path: Path) -> list[tuple[str, float, float, bytes]]:
    """Language, start and duration in seconds, and content of each subtitle."""
    with av.open(str(path)) as container:
        return [
            (
                stream.metadata.get("language", ""),
                float((packet.pts or 0) * packet.time_base),
                float((packet.duration or 0) * packet.time_base),
                bytes(packet),
            )
            for stream in container.streams.subtitles
            for packet in container.demux(stream)
            if packet.size > 2  # MP4 fills gaps with empty subtitles of 2 bytes
        ]


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
    upright_again = frames_of(turned)[0].image
    assert psnr(upright_again, iio.imread(reference) / 255) > 30
    dream_video(turned, tmp_path / "out.mp4", UNTOUCHED)
    assert psnr(frames_of(tmp_path / "out.mp4")[0].image, upright_again) > 28


def test_pixel_aspect_is_kept(make_clip: MakeClip, tmp_path: Path) -> None:
    clip = make_clip("a.mp4", "testsrc2=s=160x90:d=0.2:r=25", "-vf", "setsar=4/3", *X264)
    dream_video(clip, tmp_path / "out.mp4", UNTOUCHED)
    with av.open(str(tmp_path / "out.mp4")) as video:
        assert video.streams.video[0].sample_aspect_ratio == Fraction(4, 3)


def test_size_is_the_longest_side(sample_clip: Path) -> None:
    with open_source(Location(str(sample_clip)), Settings(size=384)) as source:
        assert (source.info.width_px, source.info.height_px) == (384, 216)
        assert next(iter(source)).image.shape == (216, 384, 3)
