"""A film with zero dreaming comes back as it went in: a matrix of what films can be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from dreamvideo import dream_video
from dreamvideo.media.read.timeline import as_exact
from tests.conftest import (
    UNTOUCHED,
    X264,
    MakeClip,
    ffmpeg,
    frames_of,
    mean_error,
    packets_hash,
    psnr,
)

VP9 = ("-c:v", "libvpx-vp9", "-b:v", "0", "-crf", "10", "-deadline", "realtime", "-cpu-used", "8")
VARIABLE = ("-vf", "select='not(mod(n\\,3))+lt(n\\,6)'", "-fps_mode", "vfr")
SUBTITLES = "1\n00:00:00,200 --> 00:00:00,600\nFirst\n\n2\n00:00:00,700 --> 00:00:00,900\nSecond\n"


@dataclass(frozen=True)
class Case:
    """One film: how it is made, and what is done to it without encoding it anew."""

    suffix: str
    words: tuple[str, ...] = X264
    source: str = "testsrc2=s=160x90:r=25:d=1"
    sounds: int = 1
    codec: str = "aac"
    before: tuple[str, ...] = ()
    """Options of a second ffmpeg for its input, which copies the streams."""
    after: tuple[str, ...] = ()
    subtitles: str = ""


def tagged(matrix: str, colour_range: str) -> tuple[str, ...]:
    """Options that encode with a matrix and range, and say so."""
    scale = f"scale=out_color_matrix={matrix}:out_range={colour_range}:flags=accurate_rnd"
    named = {"bt601": "smpte170m", "bt2020": "bt2020nc"}.get(matrix, matrix)
    tags = f"setparams=colorspace={named}:range={colour_range}:color_primaries=bt709"
    return (*X264, "-vf", f"{scale},format=yuv420p,{tags}:color_trc=bt709")


CASES = {
    "mp4": Case(".mp4"),
    "mkv": Case(".mkv"),
    "mov": Case(".mov"),
    "webm": Case(".webm", VP9, codec="libopus"),
    "mp4 variable": Case(".mp4", (*X264, *VARIABLE)),
    "mkv variable": Case(".mkv", (*X264, *VARIABLE)),
    "mov variable": Case(".mov", (*X264, *VARIABLE)),
    "webm variable": Case(".webm", (*VP9, *VARIABLE), codec="libopus"),
    "mp4 29.97": Case(".mp4", source="testsrc2=s=160x90:r=30000/1001:d=1"),
    "mkv 29.97": Case(".mkv", source="testsrc2=s=160x90:r=30000/1001:d=1"),
    "mov 23.976": Case(".mov", source="testsrc2=s=160x90:r=24000/1001:d=1"),
    "webm 23.976": Case(".webm", VP9, "testsrc2=s=160x90:r=24000/1001:d=1", codec="libopus"),
    "mp4 bt601": Case(".mp4", tagged("bt601", "tv")),
    "mkv bt709 full": Case(".mkv", tagged("bt709", "pc")),
    "mp4 bt2020": Case(".mp4", tagged("bt2020", "tv")),
    "mov bt601 full": Case(".mov", tagged("bt601", "pc")),
    "mp4 turned 90": Case(".mp4", before=("-display_rotation", "90")),
    "mov turned 180": Case(".mov", before=("-display_rotation", "180")),
    "mp4 turned 270": Case(".mp4", before=("-display_rotation", "270")),
    "mkv mirrored": Case(".mkv", before=("-display_hflip",)),
    "mp4 mirrored": Case(".mp4", before=("-display_hflip",)),
    "mp4 turned and mirrored": Case(".mp4", before=("-display_rotation", "90", "-display_hflip")),
    "mp4 odd": Case(".mp4", ("-vf", "crop=159:89:exact=1,format=yuv444p", "-c:v", "libx264")),
    "mkv odd": Case(".mkv", ("-vf", "crop=159:90:exact=1,format=yuv444p", "-c:v", "libx264")),
    "webm odd": Case(".webm", ("-vf", "format=yuv444p,crop=161:91:exact=1", *VP9),
                     "testsrc2=s=162x92:r=25:d=0.5", codec="libopus"),
    "mp4 two sounds": Case(".mp4", sounds=2),
    "mkv three sounds": Case(".mkv", sounds=3),
    "webm two sounds": Case(".webm", VP9, sounds=2, codec="libopus"),
    "mp4 late": Case(".mp4", after=("-output_ts_offset", "0.5")),
    "mkv late": Case(".mkv", after=("-output_ts_offset", "0.7")),
    "mov late": Case(".mov", after=("-output_ts_offset", "0.52")),
    "mp4 wide pixels": Case(".mp4", (*X264, "-vf", "setsar=4/3")),
    "mkv narrow pixels": Case(".mkv", (*X264, "-vf", "setsar=8/9")),
    "mp4 wide pixels turned": Case(
        ".mp4", (*X264, "-vf", "setsar=4/3"), before=("-display_rotation", "90")
    ),
    "mp4 subtitles": Case(".mp4", subtitles="mov_text"),
    "mkv subtitles": Case(".mkv", subtitles="srt"),
    "webm subtitles": Case(".webm", VP9, codec="libopus", subtitles="webvtt"),
}  # fmt: skip


@pytest.fixture(params=CASES)
def video(request: pytest.FixtureRequest, make_clip: MakeClip, tmp_path: Path) -> Path:
    case = CASES[request.param]
    sounds = [word for _ in range(case.sounds) for word in ("-map", "1")]
    words = ["-map", "0", *sounds, *case.words, "-c:a", case.codec]
    sound = "sine=d=1.1:r=48000"
    path = make_clip(f"made{case.suffix}", case.source, *words, sound=sound)
    copied = tmp_path / f"film{case.suffix}"
    inputs: list[str | Path] = [*case.before, "-i", path]
    streams = ["-map", "0"]
    if case.subtitles:
        (tmp_path / "s.srt").write_text(SUBTITLES)
        inputs += ["-i", tmp_path / "s.srt"]
        streams += ["-map", "1", "-c:s", case.subtitles, "-metadata:s:s:0", "language=fra"]
    ffmpeg(*inputs, "-c", "copy", *streams, *case.after, copied)
    return copied


def test_what_goes_in_comes_out(video: Path, tmp_path: Path) -> None:
    out = tmp_path / f"out{video.suffix}"
    crf = 4 if video.suffix == ".webm" else 1
    summary = dream_video(video, out, replace(UNTOUCHED, crf=crf, segment_frames=10))
    before, after = frames_of(video), frames_of(out)
    assert summary.frames == len(after) == len(before) >= 8
    assert [frame.time_seconds for frame in after] == [frame.time_seconds for frame in before]
    assert [f.image.shape for f in after] == [f.image.shape for f in before]
    assert min(psnr(a.image, b.image) for a, b in zip(before, after, strict=True)) > 24
    with av.open(str(video)) as one, av.open(str(out)) as other:
        pictures = [container.streams.video[0] for container in (one, other)]
        tags = [
            (int(s.codec_context.color_range), int(s.codec_context.colorspace)) for s in pictures
        ]
        assert tags[0][0] in (0, tags[1][0])
        assert tags[0][1] in (2, tags[1][1])
        rates = [as_exact(s.average_rate, Fraction(0)) for s in pictures]
        assert not all(rates) or float(rates[1]) == pytest.approx(float(rates[0]), rel=0.05)
        assert len(one.streams.audio) == len(other.streams.audio)
        sounds = len(one.streams.audio)
        assert shown_aspect(video) == pytest.approx(shown_aspect(out), rel=0.002)
    for stream in range(sounds):
        assert packets_hash(out, stream) == packets_hash(video, stream)
        assert sound_begins(out, stream) == sound_begins(video, stream)
    assert subtitles_of(out) == subtitles_of(video)
    assert not list(tmp_path.glob("*.part"))


def shown_aspect(path: Path) -> float:
    """Width over height as a player shows it, upright."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frame = next(container.decode(stream))
        aspect = stream.sample_aspect_ratio
        pixel = aspect.numerator / aspect.denominator if aspect else 1
        shape = pixel * frame.width / frame.height
        return 1 / shape if frame.rotation % 180 else shape


def sound_begins(path: Path, stream: int) -> float:
    with av.open(str(path)) as container:
        sound = container.streams.audio[stream]
        packet = next(container.demux(sound))
        assert packet.pts is not None
        return float(packet.pts * packet.time_base)


def subtitles_of(path: Path) -> list[tuple[str, float, float, bytes]]:
    """Language, time, duration and text of each; a gap between two is none."""
    with av.open(str(path)) as container:
        return [
            (
                stream.metadata.get("language", ""),
                float((packet.pts or 0) * packet.time_base),
                float((packet.duration or 0) * packet.time_base),
                bytes(packet),
            )
            for stream in container.streams.subtitles
            for packet in av.open(str(path)).demux(subtitles=0)
            if packet.size > 2
        ]


@pytest.mark.parametrize(
    ("suffix", "encoder", "most"),
    [(".mkv", "ffv1", 0.6), (".mp4", "libx265", 0.8), (".mov", "prores_ks", 0.8),
     (".mp4", "libsvtav1", 1.6), (".webm", "libvpx-vp9", 1.2), (".mkv", "libx264", 0.8)],
)  # fmt: skip
def test_every_encoder_keeps_colours(
    suffix: str, encoder: str, most: float, gradient: Path, tmp_path: Path
) -> None:
    """Smooth colours; AV1 and VP9 have no setting as fine as x264's 1."""
    out = tmp_path / f"out{suffix}"
    crf = None if encoder in ("ffv1", "prores_ks") else 1
    dream_video(gradient, out, replace(UNTOUCHED, encoder=encoder, crf=crf, segment_frames=3))
    before, after = frames_of(gradient), frames_of(out)
    assert [frame.time_seconds for frame in after] == [frame.time_seconds for frame in before]
    for one, other in zip(before, after, strict=True):
        assert mean_error(one.image, other.image) < most
        assert np.abs((other.image - one.image).mean((0, 1)) * 255).max() < 0.12


@pytest.mark.parametrize(("pixel_format", "bits"), [("yuv420p10le", 10), ("yuv444p12le", 12)])
def test_deep_films_stay_deep(pixel_format: str, bits: int, gradient: Path, tmp_path: Path) -> None:
    deep = tmp_path / "deep.mkv"
    encoder = ("-c:v", "libx265", "-x265-params", "lossless=1:log-level=error")
    ffmpeg("-i", gradient, "-pix_fmt", pixel_format, *encoder, deep)
    out = tmp_path / "out.mkv"
    settings = replace(UNTOUCHED, encoder="libx265", crf=1, pixel_format=pixel_format)
    dream_video(deep, out, settings)
    before, after = frames_of(deep), frames_of(out)
    assert mean_error(before[0].image, after[0].image) < 0.5  # 8 bits: 0.8
    assert np.abs((after[0].image - before[0].image).mean((0, 1)) * 255).max() < 0.1
    with av.open(str(out)) as container:
        kind = container.streams.video[0].codec_context.format
        assert kind is not None
        assert kind.components[0].bits == bits
