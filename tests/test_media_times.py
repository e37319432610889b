"""Times: exact timestamps, variable rates, parts of videos, other frame rates."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest

from dreamvideo import dream_video
from dreamvideo.errors import InputError
from tests.conftest import (
    CLOSE_PAIRS,
    UNTOUCHED,
    X264,
    MakeClip,
    ffmpeg,
    frames_of,
    packet_seconds,
    psnr,
    times_increase,
)

pytestmark = pytest.mark.usefixtures("shared_network")

TIMING_CLIPS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "25": ("a.mp4", "testsrc2=s=160x90:r=25:d=1", ()),
    "ntsc": ("a.mp4", "testsrc2=s=160x90:r=30000/1001:d=1", ()),
    "cinema": ("a.mkv", "testsrc2=s=160x90:r=24000/1001:d=1", ()),
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
    file, source, options = TIMING_CLIPS[name]
    clip = make_clip(file, source, *X264, *options)
    out = tmp_path / f"out{suffix}"
    summary = dream_video(clip, out, UNTOUCHED)
    before, after = sorted(packet_seconds(clip)), sorted(packet_seconds(out))
    assert after == [time - before[0] for time in before]
    assert summary.frames == len(before)
    with av.open(str(clip)) as source_video, av.open(str(out)) as result:
        if clip.suffix in (".mp4", ".mov"):  # others round theirs, or count from zero
            assert result.start_time == 0
            assert result.duration == source_video.duration


@pytest.mark.parametrize("name", ["a.avi", "a.h264"])
def test_videos_without_times_have_a_constant_rate(
    name: str, make_clip: MakeClip, tmp_path: Path
) -> None:
    """AVI and raw streams store when a frame is decoded: with B-frames, in another order."""
    clip = make_clip(name, "testsrc2=s=160x90:r=25:d=1", *X264, "-bf", "2")
    dream_video(clip, tmp_path / "out.mp4", UNTOUCHED)
    after = frames_of(tmp_path / "out.mp4")
    assert [frame.time_seconds for frame in after] == [Fraction(i, 25) for i in range(25)]


def test_trimmed_matroska_is_complete(make_clip: MakeClip, tmp_path: Path) -> None:
    clip = make_clip("a.mp4", "testsrc2=s=160x90:d=3:r=25", *X264, "-g", "25")
    ffmpeg("-i", clip, "-ss", "1.3", "-t", "1", "-c", "copy", tmp_path / "b.mkv")
    assert len(frames_of(tmp_path / "b.mkv")) >= 10


def test_times_in_matroska_are_exact_to_its_tick(make_clip: MakeClip, tmp_path: Path) -> None:
    clip = make_clip("a.mp4", "testsrc2=s=160x90:r=30000/1001:d=1", *X264)
    dream_video(clip, tmp_path / "out.mkv", UNTOUCHED)
    for before, after in zip(frames_of(clip), frames_of(tmp_path / "out.mkv"), strict=True):
        assert abs(before.time_seconds - after.time_seconds) <= Fraction(1, 2000)


@pytest.fixture
def clip(encode_clip: MakeClip) -> Path:
    """Four seconds in Matroska, with audio."""
    return encode_clip(".mkv", "testsrc2=s=160x90:r=25:d=4", *X264, audio="sine=d=4:r=48000")


class TestPartsAndRates:
    def test_every_nth_frame_keeps_the_time(self, clip: Path, tmp_path: Path) -> None:
        dream_video(clip, tmp_path / "o.mkv", replace(UNTOUCHED, every=3))
        frames = frames_of(tmp_path / "o.mkv")
        assert [frame.time_seconds for frame in frames] == [Fraction(3 * i, 25) for i in range(34)]

    @pytest.mark.parametrize(("fps", "count"), [(50, 200), (10, 40), (23.976, 96)])
    def test_another_rate_shows_the_frame_of_that_time(
        self, fps: float, count: int, clip: Path, tmp_path: Path
    ) -> None:
        dream_video(clip, tmp_path / "o.mp4", replace(UNTOUCHED, fps=fps))
        source, frames = frames_of(clip), frames_of(tmp_path / "o.mp4")
        assert len(frames) == count
        rate = Fraction(24000, 1001) if fps == 23.976 else Fraction(fps)
        for frame in frames:
            assert frame.time_seconds == frame.index / rate
            expected = source[min(int(frame.time_seconds * 25), 99)]
            assert psnr(expected.image, frame.image) > 28

    def test_a_variable_rate_becomes_constant_with_fps(
        self, make_clip: MakeClip, tmp_path: Path
    ) -> None:
        vfr = ("-vf", "select='not(mod(n\\,3))+lt(n\\,9)'", "-fps_mode", "vfr")
        clip = make_clip("a.mp4", "testsrc2=s=160x90:r=30:d=2", *X264, *vfr)
        dream_video(clip, tmp_path / "o.mp4", replace(UNTOUCHED, fps=30))
        frames = frames_of(tmp_path / "o.mp4")
        assert [frame.time_seconds for frame in frames] == [Fraction(i, 30) for i in range(60)]

    @pytest.mark.parametrize(("fps", "count"), [(None, 3), (10, 25), (60, 150)])
    def test_the_end_cuts_the_last_frame_short(
        self, fps: float | None, count: int, make_clip: MakeClip, tmp_path: Path
    ) -> None:
        clip = make_clip("slow.mp4", "testsrc2=s=160x90:r=1:d=6", *X264, audio="sine=d=6")
        summary = dream_video(clip, tmp_path / "o.mp4", replace(UNTOUCHED, end=2.5, fps=fps))
        assert summary.frames == count
        with av.open(str(tmp_path / "o.mp4")) as video:
            assert video.duration == pytest.approx(2_500_000, abs=30_000)

    def test_two_frames_of_one_time_get_two_times(
        self, make_clip: MakeClip, tmp_path: Path
    ) -> None:
        twice = ("-vf", "setpts=floor(N/2)*2/25/TB", "-fps_mode", "passthrough")
        clip = make_clip("a.mkv", "testsrc2=s=160x90:r=25:d=1", *X264, "-bf", "0", *twice)
        dream_video(clip, tmp_path / "o.mp4", replace(UNTOUCHED, segment_frames=1))
        times = [frame.time_seconds for frame in frames_of(tmp_path / "o.mp4")]
        assert len(times) == 25
        assert times == sorted(set(times))

    def test_frames_closer_than_a_tick_of_the_output_get_different_times(
        self, make_clip: MakeClip, tmp_path: Path
    ) -> None:
        clip = make_clip("a.mp4", "testsrc2=s=160x90:r=25:d=1", *CLOSE_PAIRS)
        dream_video(clip, tmp_path / "o.mkv", UNTOUCHED)
        assert sorted(packet_seconds(tmp_path / "o.mkv")) == [
            Fraction(80 * (i // 2) + i % 2, 1000) for i in range(25)
        ]
        assert times_increase(tmp_path / "o.mkv")

    def test_a_clock_that_jumps_back_is_refused(self, make_clip: MakeClip, tmp_path: Path) -> None:
        clip = make_clip("a.ts", "testsrc2=s=160x90:r=25:d=2", *X264)
        clip.write_bytes(clip.read_bytes() * 2)
        with pytest.raises(InputError, match=r"the clock of .*a\.ts jumps back.*-c copy"):
            dream_video(clip, tmp_path / "o.mp4", UNTOUCHED)
        ffmpeg("-i", clip, "-c", "copy", tmp_path / "b.mkv")
        dream_video(tmp_path / "b.mkv", tmp_path / "o.mp4", UNTOUCHED)
        assert len(frames_of(tmp_path / "o.mp4")) == 100

    def test_a_pause_is_not_counted_as_lost_frames(
        self, make_clip: MakeClip, tmp_path: Path
    ) -> None:
        pause = ("-vf", "select='lt(n,40)+gt(n,80)'", "-fps_mode", "vfr")
        clip = make_clip("a.mkv", "testsrc2=s=160x90:r=25:d=5", *X264, *pause)
        assert dream_video(clip, tmp_path / "o.mp4", UNTOUCHED).frames_lost == 0

    def test_a_part_after_the_end_is_refused(self, clip: Path, tmp_path: Path) -> None:
        with pytest.raises(
            InputError, match=r"no frame between --start 9 .*last frame is at 3\.96"
        ):
            dream_video(clip, tmp_path / "o.mp4", replace(UNTOUCHED, start=9.0))
