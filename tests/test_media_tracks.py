"""Sound, subtitles, chapters, fonts and tags of parts of films, and of films of other kinds."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import imageio.v3 as iio
import numpy as np
import pytest

from dreamvideo import dream_video
from dreamvideo.errors import DreamVideoWarning, InputError, SettingsError
from dreamvideo.media.opening import Location
from dreamvideo.media.read import open_source
from dreamvideo.settings import Settings
from dreamvideo.types import ColourTags
from tests.conftest import UNTOUCHED, X264, MakeClip, ffmpeg, frames_of, psnr

SUBTITLES = (
    "1\n00:00:00,500 --> 00:00:01,500\n<i>First</i>\n\n2\n00:00:02,000 --> 00:00:03,000\nLast\n"
)
CHAPTERS = """;FFMETADATA1
title=My film
artist=Me
[CHAPTER]
TIMEBASE=1/1000
START=0
END=1500
title=One
[CHAPTER]
TIMEBASE=1/1000
START=1500
END=4000
title=Two
"""


@pytest.fixture
def rich(make_clip: MakeClip, tmp_path: Path) -> Path:
    """A Matroska film with sound, subtitles, a font, chapters and tags."""
    plain = make_clip("plain.mkv", "testsrc2=s=160x90:r=25:d=4", *X264, sound="sine=d=4:r=48000")
    (tmp_path / "s.srt").write_text(SUBTITLES)
    (tmp_path / "c.txt").write_text(CHAPTERS)
    (tmp_path / "f.ttf").write_bytes(b"a font")
    out = tmp_path / "rich.mkv"
    ffmpeg(
        "-i", plain, "-i", tmp_path / "s.srt", "-i", tmp_path / "c.txt", "-map", "0", "-map", "1",
        "-map_metadata", "2", "-c", "copy", "-c:s", "srt", "-metadata:s:s:0", "language=deu",
        "-metadata:s:a:0", "language=fra", "-metadata:s:v:0", "title=Pictures",
        "-disposition:s:0", "forced",
        "-attach", tmp_path / "f.ttf", "-metadata:s:t:0", "mimetype=font/ttf", out,
    )  # fmt: skip
    return out


def texts(path: Path) -> list[tuple[float, float, str]]:
    """Beginning, end and text of each subtitle."""
    with av.open(str(path)) as video:
        codec = video.streams.subtitles[0].codec_context.name
        packets = [packet for packet in video.demux(subtitles=0) if packet.size > 2]
        prefix = 2 if codec == "mov_text" else 0  # the length of the text
        return [
            (
                float((p.pts or 0) * p.time_base),
                float(((p.pts or 0) + (p.duration or 0)) * p.time_base),
                bytes(p)[prefix:].split(b"\0")[0].decode().replace("<i>", "").replace("</i>", ""),
            )
            for p in packets
        ]


def seconds(chapter: Any, key: str) -> float:
    """When a chapter begins or ends."""
    return float(chapter[key] * chapter["time_base"])


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov", ".webm"])
def test_everything_is_carried_over(suffix: str, rich: Path, tmp_path: Path) -> None:
    out = tmp_path / f"out{suffix}"
    dream_video(rich, out, replace(UNTOUCHED, crf=20))
    assert texts(out) == [(0.5, 1.5, "First"), (2.0, 3.0, "Last")]
    with av.open(str(out)) as video:
        assert video.metadata["title"] == "My film"
        names = {name.lower() for name in video.metadata}
        assert "artist" in names
        chapters = [
            (seconds(chapter, "start"), seconds(chapter, "end"), chapter["metadata"]["title"])
            for chapter in video.chapters()
        ]
        assert chapters == [(0, 1.5, "One"), (1.5, 4, "Two")]
        assert video.streams.audio[0].metadata["language"] == "fra"
        if suffix != ".mov":  # Apple's list of languages is another one
            assert video.streams.subtitles[0].metadata["language"] == "deu"
        if suffix == ".mkv":
            assert video.streams.video[0].metadata["title"] == "Pictures"
            assert video.streams.subtitles[0].disposition & av.stream.Disposition.forced
            assert [stream.metadata["filename"] for stream in video.streams.attachments] == [
                "f.ttf"
            ]


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_part_takes_its_part_of_everything(suffix: str, rich: Path, tmp_path: Path) -> None:
    out = tmp_path / f"out{suffix}"
    summary = dream_video(rich, out, replace(UNTOUCHED, start=1.2, end=2.6))
    assert summary.frames == 35
    found = frames_of(out)
    assert [frame.time_seconds for frame in found] == [Fraction(i, 25) for i in range(35)]
    for one, other in zip(frames_of(rich)[30:65], found, strict=True):
        assert psnr(one.image, other.image) > 28
    assert texts(out) == [(0.0, 0.3, "First"), (0.8, 1.4, "Last")]
    with av.open(str(out)) as video:
        times = [(seconds(c, "start"), seconds(c, "end")) for c in video.chapters()]
        assert times == [(0.0, 0.3), (0.3, 1.4)]
        sounds = [float((p.pts or 0) * p.time_base) for p in video.demux(audio=0) if p.size]
        assert -0.05 < sounds[0] < 0.03  # the encoder's lead-in is before zero
        assert 1.35 < sounds[-1] < 1.4


def test_sound_that_is_encoded_anew_is_cut_too(make_clip: MakeClip, tmp_path: Path) -> None:
    beep = (
        "sine=f=200:d=1:r=48000,apad=whole_dur=1[a];sine=f=2000:d=1:r=48000[b];[a][b]concat=v=0:a=1"
    )
    clip = make_clip("a.mkv", "testsrc2=s=160x90:r=25:d=2", *X264, "-c:a", "wmav2", sound=beep)
    dream_video(clip, tmp_path / "o.mp4", replace(UNTOUCHED, start=1.1))
    with av.open(str(tmp_path / "o.mp4")) as video:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in video.decode(audio=0)])
    assert sound.size == pytest.approx(0.9 * 48000, rel=0.1)
    spectrum = np.abs(np.fft.rfft(sound[4800:33600]))
    assert spectrum.argmax() * 48000 / 28800 == pytest.approx(2000, abs=10)


def test_rounded_times_of_sound_become_exact(make_clip: MakeClip, tmp_path: Path) -> None:
    """Matroska counts in milliseconds; MP4 counts in samples, and is to have no gaps."""
    source, codec = "testsrc2=s=160x90:r=25:d=2", ("-c:a", "aac")
    clip = make_clip("a.mkv", source, *X264, *codec, sound="sine=d=2:r=44100")
    dream_video(clip, tmp_path / "o.mp4", UNTOUCHED)
    with av.open(str(tmp_path / "o.mp4")) as video:
        times = [packet.pts or 0 for packet in video.demux(audio=0) if packet.size]
    assert {later - earlier for earlier, later in pairwise(times)} == {1024}


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("suffix", [".webm", ".mp4"])
def test_any_number_of_channels_arrives(
    channels: int, suffix: str, make_clip: MakeClip, tmp_path: Path
) -> None:
    layouts = ["mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1"]
    sound = f"sine=d=1:r=48000,pan={layouts[channels - 1]}|" + "|".join(
        f"c{number}=c0" for number in range(channels)
    )
    words = ("-c:a", "pcm_s16le")
    clip = make_clip("a.mkv", "testsrc2=s=160x90:r=25:d=1", *X264, *words, sound=sound)
    dream_video(clip, tmp_path / f"o{suffix}", replace(UNTOUCHED, crf=30))
    with av.open(str(tmp_path / f"o{suffix}")) as video:
        assert sum(frame.samples for frame in video.decode(audio=0)) > 47_000


def test_what_a_container_cannot_hold_is_told(make_clip: MakeClip, tmp_path: Path) -> None:
    clip = make_clip("a.mkv", "testsrc2=s=160x90:r=25:d=1", *X264)
    ffmpeg(
        "-i", clip, "-f", "lavfi", "-i", "color=s=160x90:d=1:c=red@0.5,format=rgba", "-map", "0",
        "-c:v:0", "copy", tmp_path / "b.mkv",
    )  # fmt: skip
    (tmp_path / "s.srt").write_text(SUBTITLES)
    ffmpeg("-i", clip, "-i", tmp_path / "s.srt", "-c:s", "ass", "-c:v", "copy", tmp_path / "c.mkv")
    dream_video(tmp_path / "c.mkv", tmp_path / "c.mp4", UNTOUCHED)  # styled text is text
    assert [text for _, _, text in texts(tmp_path / "c.mp4")] == ["First", "Last"]
    dream_video(tmp_path / "c.mkv", tmp_path / "d.mkv", UNTOUCHED)
    with av.open(str(tmp_path / "d.mkv")) as video:
        assert video.streams.subtitles[0].codec_context.codec.canonical_name == "ass"


def test_subtitles_that_cannot_be_converted_do_not_cost_the_film(
    rich: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", lambda: "false")
    with (
        pytest.warns(DreamVideoWarning, match=r"cannot convert the subtitles of stream 2"),
        pytest.warns(DreamVideoWarning, match=r"stream 2 of the source, subtitles, .*\.mkv"),
    ):
        dream_video(rich, tmp_path / "o.mp4", UNTOUCHED)
    assert len(frames_of(tmp_path / "o.mp4")) == 100


class TestRates:
    def test_every_nth_frame_keeps_the_time(self, rich: Path, tmp_path: Path) -> None:
        dream_video(rich, tmp_path / "o.mkv", replace(UNTOUCHED, every=3))
        found = frames_of(tmp_path / "o.mkv")
        assert [frame.time_seconds for frame in found] == [Fraction(3 * i, 25) for i in range(34)]

    @pytest.mark.parametrize(("fps", "count"), [(50, 200), (10, 40), (23.976, 96)])
    def test_another_rate_shows_what_was_seen_then(
        self, fps: float, count: int, rich: Path, tmp_path: Path
    ) -> None:
        dream_video(rich, tmp_path / "o.mp4", replace(UNTOUCHED, fps=fps))
        source, found = frames_of(rich), frames_of(tmp_path / "o.mp4")
        assert len(found) == count
        rate = Fraction(24000, 1001) if fps == 23.976 else Fraction(fps)
        for frame in found:
            assert frame.time_seconds == frame.index / rate
            seen = source[min(int(frame.time_seconds * 25), 99)]
            assert psnr(seen.image, frame.image) > 28

    def test_a_variable_rate_becomes_constant_only_on_purpose(
        self, make_clip: MakeClip, tmp_path: Path
    ) -> None:
        vfr = ("-vf", "select='not(mod(n\\,3))+lt(n\\,9)'", "-fps_mode", "vfr")
        clip = make_clip("a.mp4", "testsrc2=s=160x90:r=30:d=2", *X264, *vfr)
        dream_video(clip, tmp_path / "o.mp4", replace(UNTOUCHED, fps=30))
        found = frames_of(tmp_path / "o.mp4")
        assert [frame.time_seconds for frame in found] == [Fraction(i, 30) for i in range(60)]

    @pytest.mark.parametrize(("fps", "count"), [(None, 3), (10, 25), (60, 150)])
    def test_the_end_cuts_the_last_frame_short(
        self, fps: float | None, count: int, make_clip: MakeClip, tmp_path: Path
    ) -> None:
        clip = make_clip("slow.mp4", "testsrc2=s=160x90:r=1:d=6", *X264, sound="sine=d=6")
        summary = dream_video(clip, tmp_path / "o.mp4", replace(UNTOUCHED, end=2.5, fps=fps))
        assert summary.frames == count
        with av.open(str(tmp_path / "o.mp4")) as video:
            assert video.duration == pytest.approx(2_500_000, abs=30_000)

    def test_frames_of_one_time_follow_each_other(
        self, make_clip: MakeClip, tmp_path: Path
    ) -> None:
        twice = ("-vf", "setpts=floor(N/2)*2/25/TB", "-fps_mode", "passthrough")
        clip = make_clip("a.mkv", "testsrc2=s=160x90:r=25:d=1", *X264, "-bf", "0", *twice)
        dream_video(clip, tmp_path / "o.mp4", replace(UNTOUCHED, segment_frames=1))
        times = [frame.time_seconds for frame in frames_of(tmp_path / "o.mp4")]
        assert len(times) == 25
        assert times == sorted(set(times))

    def test_a_clock_that_jumps_back_is_told(self, make_clip: MakeClip, tmp_path: Path) -> None:
        clip = make_clip("a.ts", "testsrc2=s=160x90:r=25:d=2", *X264)
        clip.write_bytes(clip.read_bytes() * 2)
        with pytest.raises(InputError, match=r"the clock of .*a\.ts jumps back.*-c copy"):
            dream_video(clip, tmp_path / "o.mp4", UNTOUCHED)
        ffmpeg("-i", clip, "-c", "copy", tmp_path / "b.mkv")
        dream_video(tmp_path / "b.mkv", tmp_path / "o.mp4", UNTOUCHED)
        assert len(frames_of(tmp_path / "o.mp4")) == 100

    def test_a_pause_is_no_loss(self, make_clip: MakeClip, tmp_path: Path) -> None:
        pause = ("-vf", "select='lt(n,40)+gt(n,80)'", "-fps_mode", "vfr")
        clip = make_clip("a.mkv", "testsrc2=s=160x90:r=25:d=5", *X264, *pause)
        assert dream_video(clip, tmp_path / "o.mp4", UNTOUCHED).frames_lost == 0

    def test_a_part_that_is_not_there(self, rich: Path, tmp_path: Path) -> None:
        with pytest.raises(
            InputError, match=r"no frame between --start 9 .*last frame is at 3\.96"
        ):
            dream_video(rich, tmp_path / "o.mp4", replace(UNTOUCHED, start=9.0))


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
def test_encoders_that_cannot_be_had_so(
    suffix: str, changes: dict[str, str], words: str, sample_clip: Path, tmp_path: Path
) -> None:
    settings = Settings(strength=0, device="cpu", **changes)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=words):
        dream_video(sample_clip, tmp_path / f"o{suffix}", settings)
    assert list(tmp_path.iterdir()) == []


def test_gif(sample_clip: Path, tmp_path: Path) -> None:
    dream_video(sample_clip, tmp_path / "o.gif", Settings(strength=0, size=160, end=1.0))
    before = frames_of(sample_clip, Settings(size=160, end=1.0))
    after = frames_of(tmp_path / "o.gif")
    assert [frame.time_seconds for frame in after] == [f.time_seconds for f in before]
    assert min(psnr(a.image, b.image) for a, b in zip(before, after, strict=True)) > 24
    assert b"NETSCAPE2.0" in (tmp_path / "o.gif").read_bytes()  # it loops


class TestLight:
    def reference(
        self, clip: Path, folder: Path
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        """Tone-mapped by the filters of the bundled ffmpeg."""
        chain = (
            "zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,tonemap=hable:desat=0,"
            "zscale=t=bt709:m=bt709:r=tv,format=yuv444p,"
            "scale=in_color_matrix=bt709:flags=accurate_rnd+full_chroma_int,format=rgb24"
        )
        ffmpeg("-i", clip, "-frames:v", "1", "-vf", chain, folder / "reference.png")
        return np.asarray(iio.imread(folder / "reference.png")) / 255

    @pytest.mark.parametrize(("transfer", "most"), [("smpte2084", 3.0), ("arib-std-b67", 2.0)])
    def test_high_dynamic_range_is_brought_down(
        self, transfer: str, most: float, make_clip: MakeClip, tmp_path: Path
    ) -> None:
        """HLG's curve for its display is approximate in the reference, but for grey."""
        source = "testsrc2=s=320x180:r=25:d=0.2"
        if transfer == "arib-std-b67":
            source = "color=black:s=256x64:r=25:d=0.2,format=gray16le,geq=lum='X*257'"
        chain = (
            f"format=gbrpf32le,zscale=tin=bt709:pin=bt709:min=gbr:t={transfer}:p=bt2020:m=bt2020nc"
            ":r=tv:npl=400,format=yuv444p10le"
        )
        clip = make_clip(
            "hdr.mkv", source, "-vf", chain, "-c:v", "libx265", "-x265-params",
            "log-level=error:lossless=1", "-color_primaries", "bt2020", "-color_trc", transfer,
            "-colorspace", "bt2020nc",
        )  # fmt: skip
        expected = self.reference(clip, tmp_path)
        with (
            pytest.warns(DreamVideoWarning, match="high dynamic range") as caught,
            open_source(Location(str(clip)), Settings()) as source_of,
        ):
            image = next(iter(source_of)).image
            assert source_of.info.colour == ColourTags(1, 1, 1)
        assert len(caught) == 1
        assert np.abs(image - expected).mean((0, 1)).max() * 255 < most
        with pytest.warns(DreamVideoWarning):
            dream_video(clip, tmp_path / "o.mp4", UNTOUCHED)
        with av.open(str(tmp_path / "o.mp4")) as video:
            assert int(video.streams.video[0].codec_context.color_trc) == 1

    @pytest.mark.parametrize("codec", ["libvpx-vp9", "png", "prores_ks"])
    def test_transparent_films(self, codec: str, make_clip: MakeClip, tmp_path: Path) -> None:
        fade = "color=red:s=96x64:r=25:d=0.2,format=rgba,geq=r=255:g=0:b=0:a='255*X/95'"
        suffix, words = {
            "libvpx-vp9": (".webm", ("-pix_fmt", "yuva420p")),
            "png": (".mov", ()),
            "prores_ks": (".mov", ("-pix_fmt", "yuva444p10le")),
        }[codec]
        clip = make_clip(f"a{suffix}", fade, "-c:v", codec, *words)
        dream_video(clip, tmp_path / "out", UNTOUCHED)
        picture = iio.imread(tmp_path / "out" / "000001.png")
        assert picture.shape == (64, 96, 4)
        assert np.abs(picture[32, :, 3] - np.linspace(0, 255, 96)).max() < 12
        with pytest.warns(DreamVideoWarning, match="transparent") as caught:
            dream_video(clip, tmp_path / "o.mp4", replace(UNTOUCHED, segment_frames=2))
        assert len(caught) == 1
        shown = frames_of(tmp_path / "o.mp4")[0].image
        assert shown[32, 2].max() < 0.1
        assert shown[32, 90, 0] > 0.85

    def test_interlaced_films_lose_their_combs(self, make_clip: MakeClip, tmp_path: Path) -> None:
        """A bar that moves sideways: its edge is torn in every other line of woven fields."""
        source = "color=black:s=320x180:r=50:d=0.6[b];color=white:s=40x180:r=50:d=0.6[w];"
        moving = f"{source}[b][w]overlay=x='n*8'"
        words = (
            "-vf",
            "interlace=lowpass=off",
            "-flags",
            "+ildct+ilme",
            *X264,
            "-x264opts",
            "tff=1",
        )
        clip = make_clip("a.mp4", moving, *words)
        ffmpeg("-i", clip, "-vf", "setfield=prog", *X264, tmp_path / "woven.mp4")
        combs = []
        for path in (tmp_path / "woven.mp4", clip):
            image = frames_of(path)[8].image[..., 0]
            between = (image[:-2:2] + image[2::2]) / 2
            combs.append(np.abs(image[1:-1:2] - between).mean())
        assert combs[1] < 0.25 * combs[0]
        dream_video(clip, tmp_path / "o.mp4", UNTOUCHED)
        before = frames_of(clip)
        assert [f.time_seconds for f in frames_of(tmp_path / "o.mp4")] == [
            f.time_seconds for f in before
        ]
