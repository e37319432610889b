"""How long GIF, WebP and APNG show their frames: what browsers and other viewers honour."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from PIL import Image

from dreamvideo import dream_video
from dreamvideo.errors import DreamVideoWarning
from tests.conftest import UNTOUCHED, X264, MakeClip, StoppedError, stop_at

pytestmark = pytest.mark.usefixtures("shared_network")

SETTINGS = UNTOUCHED.__class__(strength=0, device="cpu")
SUFFIXES = [".gif", ".webp", ".apng"]


def durations_ms(path: Path) -> list[float]:
    with Image.open(path) as image:
        durations = []
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            image.load()
            durations.append(image.info["duration"])
        return durations


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("rate", [60, 120])
def test_no_more_than_fifty_frames_a_second(
    rate: int, suffix: str, make_clip: MakeClip, tmp_path: Path
) -> None:
    clip = make_clip("a.mp4", f"testsrc2=s=160x90:r={rate}:d=0.5", *X264)
    with pytest.warns(DreamVideoWarning, match=rf"{rate} frames a second: some are left out"):
        dream_video(clip, tmp_path / f"o{suffix}", SETTINGS)
    assert durations_ms(tmp_path / f"o{suffix}") == [20] * 25


def test_it_is_said_before_the_run(make_clip: MakeClip, tmp_path: Path) -> None:
    clip = make_clip("a.mp4", "testsrc2=s=160x90:r=60:d=0.5", *X264)
    with (
        pytest.warns(DreamVideoWarning, match=r"--fps 50"),
        pytest.raises(StoppedError),
    ):
        dream_video(clip, tmp_path / "o.gif", SETTINGS, stop_at(1))


@pytest.mark.parametrize(
    ("suffix", "expected"),
    [(".gif", [30, 40, 30] * 4), (".webp", [33, 34, 33] * 4), (".apng", [33, 34, 33] * 4)],
)
def test_slower_videos_keep_all_frames(
    suffix: str, expected: list[int], make_clip: MakeClip, tmp_path: Path
) -> None:
    clip = make_clip("a.mp4", "testsrc2=s=160x90:r=30:d=0.4", *X264)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DreamVideoWarning)
        dream_video(clip, tmp_path / f"o{suffix}", SETTINGS)
    assert durations_ms(tmp_path / f"o{suffix}") == pytest.approx(expected, abs=1)


def test_a_burst_in_a_slow_video(make_clip: MakeClip, tmp_path: Path) -> None:
    """Ten frames at 100 a second, then one every tenth of a second."""
    times = ("-vf", "settb=1/100,setpts='if(lt(N,10),N,10*(N-9))'", "-fps_mode", "vfr")
    burst = (*times, "-enc_time_base", "1/100")
    clip = make_clip("a.mkv", "testsrc2=s=160x90:r=25:d=1", *X264, *burst)
    with pytest.warns(DreamVideoWarning, match=r"5 of 25 frames are left out"):
        dream_video(clip, tmp_path / "o.gif", SETTINGS)
    durations = durations_ms(tmp_path / "o.gif")
    assert durations[:6] == [20, 20, 20, 20, 20, 100]
    assert len(durations) == 20
