"""Audio, subtitles, chapters, attachments and tags are carried over."""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from dreamvideo import dream_video
from dreamvideo.errors import DreamVideoWarning
from tests.conftest import (
    UNTOUCHED,
    X264,
    MakeClip,
    StoppedError,
    ffmpeg,
    frames_of,
    packet_seconds,
    packets_hash,
    psnr,
    stop_at,
    times_increase,
)

pytestmark = pytest.mark.usefixtures("shared_network")

SUBTITLES = (
    "1\n00:00:00,500 --> 00:00:01,500\n<i>First</i>\n\n2\n00:00:02,000 --> 00:00:03,000\nLast\n"
)


CHAPTERS = """;FFMETADATA1
title=My video
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


@pytest.fixture(scope="module")
def rich(encode_clip: MakeClip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Matroska video with audio, subtitles, a font, chapters and tags."""
    plain = encode_clip(".mkv", "testsrc2=s=160x90:r=25:d=4", *X264, audio="sine=d=4:r=48000")
    folder = tmp_path_factory.mktemp("rich")
    (folder / "s.srt").write_text(SUBTITLES)
    (folder / "c.txt").write_text(CHAPTERS)
    (folder / "f.ttf").write_bytes(b"a font")
    out = folder / "rich.mkv"
    ffmpeg(
        "-i", plain, "-i", folder / "s.srt", "-i", folder / "c.txt", "-map", "0", "-map", "1",
        "-map_metadata", "2", "-c", "copy", "-c:s", "srt", "-metadata:s:s:0", "language=deu",
        "-metadata:s:a:0", "language=fra", "-metadata:s:v:0", "title=Frames",
        "-disposition:s:0", "forced",
        "-attach", folder / "f.ttf", "-metadata:s:t:0", "mimetype=font/ttf", out,
    )  # fmt: skip
    return out


def texts(path: Path) -> list[tuple[float, float, str]]:
    """Start, end (in seconds) and text of each subtitle."""
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
        assert video.metadata["title"] == "My video"
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
            assert video.streams.video[0].metadata["title"] == "Frames"
            assert video.streams.subtitles[0].disposition & av.stream.Disposition.forced
            assert [stream.metadata["filename"] for stream in video.streams.attachments] == [
                "f.ttf"
            ]


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_part_of_a_video_takes_that_part_of_all_streams(
    suffix: str, rich: Path, tmp_path: Path
) -> None:
    out = tmp_path / f"out{suffix}"
    summary = dream_video(rich, out, replace(UNTOUCHED, start=1.2, end=2.6))
    assert summary.frames == 35
    frames = frames_of(out)
    assert [frame.time_seconds for frame in frames] == [Fraction(i, 25) for i in range(35)]
    for one, other in zip(frames_of(rich)[30:65], frames, strict=True):
        assert psnr(one.image, other.image) > 28
    assert texts(out) == [(0.0, 0.3, "First"), (0.8, 1.4, "Last")]
    with av.open(str(out)) as video:
        times = [(seconds(c, "start"), seconds(c, "end")) for c in video.chapters()]
        assert times == [(0.0, 0.3), (0.3, 1.4)]
        audio = [float((p.pts or 0) * p.time_base) for p in video.demux(audio=0) if p.size]
        assert -0.05 < audio[0] < 0.03  # the encoder's priming samples are before zero
        assert 1.35 < audio[-1] < 1.4


def test_every_audio_stream_is_copied(make_clip: MakeClip, tmp_path: Path) -> None:
    clip = make_clip(
        "a.mp4", "testsrc2=s=160x90:d=1:r=25", *X264, "-c:a", "aac", "-map", "0", "-map", "1",
        "-map", "1", audio="sine=d=1.3",
    )  # fmt: skip
    out = tmp_path / "out.mp4"
    dream_video(clip, out, UNTOUCHED)
    with av.open(str(out)) as video:
        assert len(video.streams.audio) == 2
    for stream in (0, 1):
        assert packets_hash(out, stream) == packets_hash(clip, stream)
    assert audio_starts(out) == audio_starts(clip)


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [("libmp3lame", ".mp4"), ("libmp3lame", ".mkv"), ("dca", ".mkv"), ("libopus", ".mp4")],
)
def test_audio_that_the_container_holds_is_copied(
    codec: str, suffix: str, make_clip: MakeClip, tmp_path: Path
) -> None:
    """Some codecs have other names than their decoders."""
    options = ("-c:a", codec, "-strict", "-2")
    source = "testsrc2=s=160x90:d=1:r=25"
    clip = make_clip("a.mkv", source, *X264, *options, audio="sine=d=1:r=48000")
    out = tmp_path / f"out{suffix}"
    dream_video(clip, out, UNTOUCHED)
    assert packets_hash(out, 0) == packets_hash(clip, 0)


def audio_starts(path: Path) -> list[Fraction]:
    """When each audio stream begins, in seconds after the video stream."""
    with av.open(str(path)) as video:
        video_start, *starts = (
            (stream.start_time or 0) * (stream.time_base or Fraction(0))
            for stream in (video.streams.video[0], *video.streams.audio)
        )
        return [start - video_start for start in starts]


@pytest.mark.parametrize("codec", ["libopus", "flac"])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_audio_of_any_codec_is_carried_over(
    codec: str, suffix: str, make_clip: MakeClip, tmp_path: Path
) -> None:
    clip = make_clip(
        "a.mkv", "testsrc2=s=160x90:d=1:r=25", *X264, "-c:a", codec, audio="sine=d=1:r=48000"
    )
    out = tmp_path / f"out{suffix}"
    dream_video(clip, out, UNTOUCHED)
    with av.open(str(out)) as video:
        samples = sum(frame.samples for frame in video.decode(audio=0))
    assert samples == pytest.approx(48000, rel=0.06)


def test_audio_that_the_container_cannot_hold_is_encoded_again(
    make_clip: MakeClip, tmp_path: Path
) -> None:
    clip = make_clip(
        "a.mkv", "testsrc2=s=160x90:d=1:r=25", *X264, "-c:a", "wmav2", audio="sine=d=1"
    )
    out = tmp_path / "out.mp4"
    dream_video(clip, out, UNTOUCHED)
    with av.open(str(out)) as video:
        samples = np.concatenate([f.to_ndarray()[0] for f in video.decode(audio=0)])
        assert video.streams.audio[0].codec_context.name == "aac"
    assert samples.size == pytest.approx(44100, rel=0.06)
    spectrum = np.abs(np.fft.rfft(samples[4096:36864]))
    assert spectrum.argmax() * 44100 / 32768 == pytest.approx(440, abs=3)


def test_audio_that_is_encoded_again_is_cut(make_clip: MakeClip, tmp_path: Path) -> None:
    beep = (
        "sine=f=200:d=1:r=48000,apad=whole_dur=1[a];sine=f=2000:d=1:r=48000[b];[a][b]concat=v=0:a=1"
    )
    clip = make_clip("a.mkv", "testsrc2=s=160x90:r=25:d=2", *X264, "-c:a", "wmav2", audio=beep)
    dream_video(clip, tmp_path / "o.mp4", replace(UNTOUCHED, start=1.1))
    with av.open(str(tmp_path / "o.mp4")) as video:
        samples = np.concatenate([frame.to_ndarray()[0] for frame in video.decode(audio=0)])
    assert samples.size == pytest.approx(0.9 * 48000, rel=0.1)
    spectrum = np.abs(np.fft.rfft(samples[4800:33600]))
    assert spectrum.argmax() * 48000 / 28800 == pytest.approx(2000, abs=10)


def test_rounded_times_of_audio_become_exact(make_clip: MakeClip, tmp_path: Path) -> None:
    """Matroska counts in milliseconds; MP4 counts in samples, and gets no gaps."""
    source, options = "testsrc2=s=160x90:r=25:d=2", ("-c:a", "aac")
    clip = make_clip("a.mkv", source, *X264, *options, audio="sine=d=2:r=44100")
    dream_video(clip, tmp_path / "o.mp4", UNTOUCHED)
    with av.open(str(tmp_path / "o.mp4")) as video:
        times = [packet.pts or 0 for packet in video.demux(audio=0) if packet.size]
    assert {later - earlier for earlier, later in pairwise(times)} == {1024}


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("suffix", [".webm", ".mp4"])
def test_any_number_of_channels_is_carried_over(
    channels: int, suffix: str, make_clip: MakeClip, tmp_path: Path
) -> None:
    layouts = ["mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1"]
    audio = f"sine=d=1:r=48000,pan={layouts[channels - 1]}|" + "|".join(
        f"c{number}=c0" for number in range(channels)
    )
    options = ("-c:a", "pcm_s16le")
    clip = make_clip("a.mkv", "testsrc2=s=160x90:r=25:d=1", *X264, *options, audio=audio)
    dream_video(clip, tmp_path / f"o{suffix}", replace(UNTOUCHED, crf=30))
    with av.open(str(tmp_path / f"o{suffix}")) as video:
        assert sum(frame.samples for frame in video.decode(audio=0)) > 47_000


def test_styled_subtitles_are_converted_or_copied(make_clip: MakeClip, tmp_path: Path) -> None:
    clip = make_clip("a.mkv", "testsrc2=s=160x90:r=25:d=1", *X264)
    (tmp_path / "s.srt").write_text(SUBTITLES)
    ffmpeg("-i", clip, "-i", tmp_path / "s.srt", "-c:s", "ass", "-c:v", "copy", tmp_path / "b.mkv")
    dream_video(tmp_path / "b.mkv", tmp_path / "o.mp4", UNTOUCHED)
    assert [text for _, _, text in texts(tmp_path / "o.mp4")] == ["First", "Last"]
    dream_video(tmp_path / "b.mkv", tmp_path / "o.mkv", UNTOUCHED)
    with av.open(str(tmp_path / "o.mkv")) as video:
        assert video.streams.subtitles[0].codec_context.codec.canonical_name == "ass"


def test_subtitles_that_cannot_be_converted_are_left_out(
    rich: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", lambda: "false")
    with (
        pytest.warns(DreamVideoWarning, match=r"cannot convert the subtitles of stream 2"),
        pytest.warns(DreamVideoWarning, match=r"stream 2 of the source, subtitles, .*\.mkv"),
    ):
        dream_video(rich, tmp_path / "o.mp4", UNTOUCHED)
    assert len(frames_of(tmp_path / "o.mp4")) == 100


TONE = "sine=d=1:r=48000"
ONE_SECOND = "testsrc2=s=160x90:r=25:d=1"


def sound_of(path: Path) -> bytes:
    """The decoded samples of a file's first audio stream."""
    with av.open(str(path)) as container:
        return b"".join(frame.to_ndarray().tobytes() for frame in container.decode(audio=0))


def joined(tmp_path: Path, first: Path, second: Path) -> Path:
    """Two transport streams, one after the other, as people put recordings together."""
    path = tmp_path / "joined.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    return path


class TestTimesThatGoBack:
    """No container takes them: such packets come one tick after the one before."""

    @pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
    def test_an_early_packet(self, suffix: str, make_clip: MakeClip, tmp_path: Path) -> None:
        base = make_clip("base.mp4", ONE_SECOND, *X264, "-c:a", "aac", audio=TONE)
        early = "setts=pts=if(eq(N\\,20)\\,PTS-1500\\,PTS):dts=if(eq(N\\,20)\\,DTS-1500\\,DTS)"
        clip, out = tmp_path / "jitter.mkv", tmp_path / f"out{suffix}"
        ffmpeg("-i", base, "-c", "copy", "-bsf:a", early, clip)
        dream_video(clip, out, UNTOUCHED)
        assert times_increase(out)
        assert packets_hash(out, 0) == packets_hash(clip, 0)
        differences = [
            abs(one - other)
            for one, other in zip(
                packet_seconds(clip, "audio"), packet_seconds(out, "audio"), strict=True
            )
        ]
        assert sorted(differences)[-2] <= Fraction(1, 900)  # all but one packet keep their time
        assert max(differences) < Fraction(1, 20)

    @pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
    def test_joined_recordings(self, suffix: str, make_clip: MakeClip, tmp_path: Path) -> None:
        options = (*X264, "-c:a", "aac")
        first = make_clip("1.ts", ONE_SECOND, *options, audio=TONE)
        second = make_clip("2.ts", ONE_SECOND, *options, "-output_ts_offset", "1", audio=TONE)
        clip, out = joined(tmp_path, first, second), tmp_path / f"out{suffix}"
        summary = dream_video(clip, out, replace(UNTOUCHED, crf=30))
        assert summary.frames == 50
        assert times_increase(out)
        if suffix != ".webm":
            assert sound_of(out) == sound_of(clip)
        delay = packet_seconds(clip)[0] - packet_seconds(clip, "audio")[0]
        assert packet_seconds(out)[0] == pytest.approx(delay, abs=1e-3)

    def test_subtitles_in_a_joined_file(self, make_clip: MakeClip, tmp_path: Path) -> None:
        clip = make_clip("a.mkv", ONE_SECOND, *X264, "-c:a", "aac", audio="sine=d=1")
        (tmp_path / "s.srt").write_text("1\n00:00:00,200 --> 00:00:00,800\nOne\n")
        ffmpeg("-i", clip, "-i", tmp_path / "s.srt", "-c", "copy", tmp_path / "b.mkv")
        (tmp_path / "list.txt").write_text("file b.mkv\nfile b.mkv\n")
        ffmpeg(
            *("-f", "concat", "-i", tmp_path / "list.txt", "-map", "0", "-c", "copy"),
            tmp_path / "c.mkv",
        )
        with av.open(str(tmp_path / "c.mkv")) as video:
            start = (video.start_time or 0) / 1e6
        dream_video(tmp_path / "c.mkv", tmp_path / "o.mp4", UNTOUCHED)
        for before, after in zip(
            texts(tmp_path / "c.mkv"), shown_texts(tmp_path / "o.mp4"), strict=True
        ):
            assert after[2] == before[2] == "One"
            assert after[:2] == pytest.approx((before[0] - start, before[1] - start), abs=2e-3)


def packet_times(path: Path) -> list[float]:
    """When each packet of sound begins, in milliseconds after the file."""
    times = packet_seconds(path, "audio")
    return [round(1000 * float(time - times[0])) for time in times]


def shown_texts(path: Path) -> list[tuple[float, float, str]]:
    return [text for text in texts(path) if text[2]]


class TestWhatIsSaidBeforeTheRun:
    @staticmethod
    def refuse_frames(clip: Path, out: Path, **settings: Any) -> None:
        """A run that ends at its first frame: what it warned of, it warned of before."""
        with pytest.raises(StoppedError):
            dream_video(clip, out, replace(UNTOUCHED, **settings), stop_at(1))

    @pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
    def test_audio_that_changes_midway_is_encoded_again(
        self, suffix: str, make_clip: MakeClip, tmp_path: Path
    ) -> None:
        stereo, mono = (*X264, "-c:a", "aac", "-ac", "2"), (*X264, "-c:a", "aac", "-ac", "1")
        first = make_clip("1.ts", ONE_SECOND, *stereo, audio=TONE)
        second = make_clip(
            "2.ts", ONE_SECOND, *mono, "-output_ts_offset", "1", audio="sine=d=1:r=44100"
        )
        clip, out = joined(tmp_path, first, second), tmp_path / f"out{suffix}"
        with pytest.warns(DreamVideoWarning, match=r"changes midway, .* again as aac"):
            self.refuse_frames(clip, out)
        dream_video(clip, out, UNTOUCHED)
        assert times_increase(out)
        with av.open(str(out)) as video:
            samples = np.concatenate([frame.to_ndarray()[0] for frame in video.decode(audio=0)])
            assert video.streams.audio[0].rate == 48000
        assert samples.size == pytest.approx(2 * 48000, rel=0.04)
        for part in (samples[4800:43200], samples[52800:91200]):
            spectrum = np.abs(np.fft.rfft(part))
            assert spectrum.argmax() * 48000 / part.size == pytest.approx(440, abs=3)

    def test_damaged_packets_are_left_out(self, make_clip: MakeClip, tmp_path: Path) -> None:
        clip = make_clip(
            "a.ts", "testsrc2=s=160x90:r=25:d=2", *X264, "-c:a", "aac", audio="sine=d=2:r=48000"
        )
        data = bytearray(clip.read_bytes())
        sound = [
            i for i in range(0, len(data), 188) if data[i + 1] & 0x1F == 1 and data[i + 2] == 1
        ]
        for position in sound[len(sound) // 2 :][:2]:  # MPEG-TS packets of 188 bytes
            data[position + 20 : position + 180] = random.Random(1).randbytes(160)
        clip.write_bytes(data)
        out = tmp_path / "o.mp4"
        with pytest.warns(DreamVideoWarning, match=r"is damaged: [12] of \d+ packets are left out"):
            self.refuse_frames(clip, out)
        dream_video(clip, out, UNTOUCHED)
        assert times_increase(out)
        left_out = set(packet_times(clip)) - set(packet_times(out))
        assert 1 <= len(left_out) <= 2

    @pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
    def test_a_part_without_sound(self, suffix: str, make_clip: MakeClip, tmp_path: Path) -> None:
        """An MP4 with AC-3 needs a packet of it, and else fails at its end."""
        clip = make_clip(
            "a.mp4", "testsrc2=s=160x90:r=25:d=2", *X264, "-c:a", "ac3", audio="sine=d=0.5"
        )
        out = tmp_path / f"out{suffix}"
        with pytest.warns(DreamVideoWarning, match=r"stream 1 .* no sound in this part"):
            self.refuse_frames(clip, out, start=1.0)
        dream_video(clip, out, replace(UNTOUCHED, start=1.0))
        with av.open(str(out)) as video:
            assert [stream.type for stream in video.streams] == ["video"]

    def test_audio_that_is_not_decoded_is_left_out(
        self, make_clip: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clip = make_clip("a.mkv", ONE_SECOND, *X264, "-c:a", "wmav2", audio=TONE)
        monkeypatch.setattr("dreamvideo.media.write.track_plan.decode_audio", lambda packet: [])
        with pytest.warns(DreamVideoWarning, match=r"stream 1 .*, audio, cannot .* is left out"):
            self.refuse_frames(clip, tmp_path / "o.mp4")

    def test_the_codec_that_is_encoded_again(self, make_clip: MakeClip, tmp_path: Path) -> None:
        clip = make_clip("a.mkv", ONE_SECOND, *X264, "-c:a", "flac", audio=TONE)
        with pytest.warns(DreamVideoWarning, match=r"in a \.mov file as it is \(flac\) .* as aac"):
            self.refuse_frames(clip, tmp_path / "o.mov")


def test_packets_shorter_than_a_tick_keep_their_times(make_clip: MakeClip, tmp_path: Path) -> None:
    """TrueHD has 1200 packets a second, Matroska 1000 ticks."""
    options = (*X264, "-c:a", "truehd", "-strict", "-2")
    clip = make_clip("a.mkv", ONE_SECOND, *options, audio=TONE)
    dream_video(clip, tmp_path / "o.mkv", UNTOUCHED)
    assert packet_seconds(tmp_path / "o.mkv", "audio") == packet_seconds(clip, "audio")
