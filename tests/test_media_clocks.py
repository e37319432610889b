"""Clocks of recorders: hours ahead, wrapped, negative; and AVI, which counts frames."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from dreamvideo import dream_video
from dreamvideo.errors import InputError
from dreamvideo.media.opening import Location
from dreamvideo.media.read import open_source
from tests.conftest import (
    UNTOUCHED,
    X264,
    MakeClip,
    StoppedError,
    frames_of,
    packet_seconds,
    psnr,
    start_seconds,
    stop_at,
    times_increase,
)

pytestmark = pytest.mark.usefixtures("shared_network")

PICTURE, SOUND = "testsrc2=s=160x90:r=25:d=2", "sine=d=2:r=48000"
AT_11_HOURS = ("-output_ts_offset", "40000")
# Clocks of 33 bits at 90 kHz wrap after 95443.7 s.
BEFORE_WRAP = ("-muxdelay", "0", "-output_ts_offset", "95443")
MPEG2 = ("-c:v", "mpeg2video", "-bf", "2", "-q:v", "2", "-c:a", "mp2")
CLOCKS: dict[str, tuple[str, tuple[str, ...]]] = {
    "ordinary .ts": (".ts", (*X264, "-c:a", "aac")),
    "ordinary .vob": (".vob", MPEG2),
    "ordinary .flv": (".flv", (*X264, "-c:a", "aac")),
    "11 h .ts": (".ts", (*X264, "-c:a", "aac", *AT_11_HOURS)),
    "11 h .mkv": (".mkv", (*X264, "-c:a", "aac", *AT_11_HOURS)),
    "11 h .mov": (".mov", (*X264, "-c:a", "aac", *AT_11_HOURS)),
    "11 h .flv": (".flv", (*X264, "-c:a", "aac", *AT_11_HOURS)),
    "11 h .wmv": (".wmv", ("-c:v", "wmv2", "-q:v", "2", "-c:a", "wmav2", *AT_11_HOURS)),
    "wrapping .ts": (".ts", (*X264, "-c:a", "aac", *BEFORE_WRAP)),
    "wrapping .m2ts": (".m2ts", (*X264, "-c:a", "ac3", *BEFORE_WRAP)),
    "wrapping .mpg": (".mpg", (*MPEG2, "-output_ts_offset", "95442")),
}


def clip_of(name: str, encode_clip: MakeClip) -> Path:
    suffix, options = CLOCKS[name]
    return encode_clip(suffix, PICTURE, *options, audio=SOUND)


def audio_delay_seconds(path: Path) -> float:
    """How long the sound of a file begins after the picture."""
    with av.open(str(path)) as video:
        first, second = (
            (stream.start_time or 0) * (stream.time_base or Fraction(0))
            for stream in (video.streams.audio[0], video.streams.video[0])
        )
        return float(first - second)


@pytest.mark.parametrize("name", CLOCKS)
def test_a_film_begins_at_zero_and_keeps_its_offsets(
    name: str, encode_clip: MakeClip, tmp_path: Path
) -> None:
    clip, out = clip_of(name, encode_clip), tmp_path / "out.mp4"
    assert dream_video(clip, out, UNTOUCHED).frames == 50
    start = start_seconds(clip)
    before = [time - start for time in sorted(packet_seconds(clip))]
    after = sorted(packet_seconds(out))
    assert after == pytest.approx(before, abs=1e-5)
    assert after[0] < 0.1
    assert times_increase(out)
    with av.open(str(out)) as video:
        assert (video.start_time or 0) < 100_000
        assert video.duration == pytest.approx(2e6, abs=1e5)
    if clip.suffix != ".wmv":  # whose first frame of sound decodes to nothing
        assert audio_delay_seconds(out) == pytest.approx(audio_delay_seconds(clip), abs=1.1e-3)


@pytest.mark.parametrize("name", ["11 h .flv", "wrapping .ts", "wrapping .mpg"])
def test_parts_count_from_the_beginning(name: str, encode_clip: MakeClip, tmp_path: Path) -> None:
    clip, out = clip_of(name, encode_clip), tmp_path / "out.mp4"
    dream_video(clip, out, replace(UNTOUCHED, start=0.5, end=1.5))
    whole, part = frames_of(clip), frames_of(out)
    kept = [frame for frame in whole if 0.5 <= frame.time_seconds < 1.5]
    assert len(part) == len(kept) == 25
    for one, other in zip(kept, part, strict=True):
        assert one.time_seconds - kept[0].time_seconds == pytest.approx(other.time_seconds)
        assert psnr(one.image, other.image) > 28
    with av.open(str(out)) as video:
        assert sum(frame.samples for frame in video.decode(audio=0)) / 48000 == pytest.approx(
            1, abs=0.06
        )


@pytest.mark.parametrize("name", ["11 h .mkv", "wrapping .ts", "wrapping .mpg"])
def test_a_resumed_run_equals_an_uninterrupted_one(
    name: str, encode_clip: MakeClip, tmp_path: Path
) -> None:
    clip, settings = clip_of(name, encode_clip), replace(UNTOUCHED, segment_frames=20)
    dream_video(clip, tmp_path / "one.mp4", settings)
    with pytest.raises(StoppedError):
        dream_video(clip, tmp_path / "two.mp4", settings, stop_at(45))
    assert dream_video(clip, tmp_path / "two.mp4", settings).frames_resumed > 0
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()


def test_frames_before_zero_get_their_times(make_clip: MakeClip, tmp_path: Path) -> None:
    """Matroska cannot store them: its demuxer gives such frames without a time."""
    negative = ("-avoid_negative_ts", "disabled", "-output_ts_offset", "-1")
    clip = make_clip("a.mkv", PICTURE, *X264, "-bf", "2", "-c:a", "aac", *negative, audio=SOUND)
    assert dream_video(clip, tmp_path / "out.mp4", UNTOUCHED).frames == 50
    after = sorted(packet_seconds(tmp_path / "out.mp4"))
    assert [time - after[0] for time in after] == [Fraction(i, 25) for i in range(50)]
    assert 0 <= after[0] < 0.03


AVI_CODECS = {
    "mpeg4": ("-c:v", "mpeg4", "-bf", "0", "-q:v", "2"),
    "mpeg4 with B-frames": ("-c:v", "mpeg4", "-bf", "2", "-q:v", "2"),
    "h264 with B-frames": (*X264, "-bf", "2"),
    "mjpeg": ("-c:v", "mjpeg", "-q:v", "2"),
}


class TestAvi:
    @staticmethod
    def make(make_clip: MakeClip, shown: str, codec: str = "mpeg4") -> Path:
        options = ("-vf", f"select='{shown}'", "-fps_mode", "vfr", "-c:a", "pcm_s16le")
        return make_clip("a.avi", PICTURE, *AVI_CODECS[codec], *options, audio=SOUND)

    @pytest.mark.parametrize("codec", AVI_CODECS)
    @pytest.mark.parametrize(("first", "last"), [(10, 29), (12, 12)])
    def test_nulls_repeat_the_frame_before(
        self, first: int, last: int, codec: str, make_clip: MakeClip, tmp_path: Path
    ) -> None:
        clip = self.make(make_clip, f"not(between(n,{first},{last}))", codec)
        shown = [index for index in range(50) if not first <= index <= last]
        summary = dream_video(clip, tmp_path / "out.mp4", UNTOUCHED)
        assert (summary.frames, summary.frames_lost) == (len(shown), 0)
        after = frames_of(tmp_path / "out.mp4")
        assert [frame.time_seconds for frame in after] == [Fraction(i, 25) for i in shown]
        plain = frames_of(make_clip("plain.mkv", PICTURE, *X264))
        for index, frame in zip(shown, after, strict=True):
            assert psnr(plain[index].image, frame.image) > 22
        assert audio_delay_seconds(tmp_path / "out.mp4") == 0

    def test_nulls_at_the_end_are_shown(self, make_clip: MakeClip, tmp_path: Path) -> None:
        clip = self.make(make_clip, "lt(n,20)+eq(n,49)", "mjpeg")
        data = clip.read_bytes()  # and the last frame becomes a null, too
        last = data.rindex(b"00dc", 0, data.rindex(b"idx1"))
        entry = data.rindex(b"00dc")
        junk = data[:last] + b"JUNK" + data[last + 4 : entry + 12] + bytes(4) + data[entry + 16 :]
        clip.write_bytes(junk)
        summary = dream_video(clip, tmp_path / "out.mp4", UNTOUCHED)
        assert (summary.frames, summary.frames_lost) == (20, 0)
        with open_source(Location(str(clip)), UNTOUCHED) as source:
            final = list(source)[-1]
        assert (final.time_seconds, final.duration_seconds) == (Fraction(19, 25), Fraction(31, 25))

    def test_a_file_that_is_cut_off_is_refused(self, make_clip: MakeClip, tmp_path: Path) -> None:
        clip = self.make(make_clip, "not(between(n,10,12))")
        clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
        with pytest.raises(InputError, match=r"a\.avi is cut off: about \d+ of \d+ frames"):
            dream_video(clip, tmp_path / "out.mp4", UNTOUCHED)

    def test_broken_frames_leave_the_others_in_time(
        self, make_clip: MakeClip, tmp_path: Path
    ) -> None:
        clip = self.make(make_clip, "1", "mjpeg")
        with av.open(str(clip)) as video:
            packets = [packet for packet in video.demux(video=0) if packet.size]
            position, size = packets[20].pos, packets[20].size
        assert position is not None
        data = bytearray(clip.read_bytes())
        data[position + 8 : position + 8 + size] = np.random.default_rng(0).bytes(size)
        clip.write_bytes(data)
        summary = dream_video(clip, tmp_path / "out.mp4", replace(UNTOUCHED, max_broken=0.5))
        times = [frame.time_seconds for frame in frames_of(tmp_path / "out.mp4")]
        assert summary.frames_lost == 1
        assert times == [Fraction(i, 25) for i in range(50) if i != 20]
