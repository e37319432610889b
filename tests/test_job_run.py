"""A run: what it reports, how it stops, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dreamvideo import Progress, Settings, Summary, dream_video
from dreamvideo.errors import InputError, OutputError, UsageError
from tests.conftest import MakeClip, StoppedError, stop_at

FRAMES = 75
FAST = Settings(size=96, octaves=1, iterations=2, device="cpu", preset="ultrafast")


@pytest.fixture(scope="module")
def reported(
    sample_clip: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Summary, list[Progress]]:
    """What a run of the sample clip reported."""
    out, progress = tmp_path_factory.mktemp("run") / "out.mp4", list[Progress]()
    return dream_video(sample_clip, out, FAST, progress.append), progress


def test_progress_reports_frames_and_gain(reported: tuple[Summary, list[Progress]]) -> None:
    _, progress = reported
    assert [step.frames_done for step in progress] == list(range(1, FRAMES + 1))
    assert {step.frame_count for step in progress} == {FRAMES}
    assert all(step.dream_gain > 1.05 for step in progress)


def test_the_summary_reports_frames_and_speed(reported: tuple[Summary, list[Progress]]) -> None:
    summary, _ = reported
    assert summary.path.is_file()
    assert (summary.frames, summary.frames_resumed, summary.frames_lost) == (FRAMES, 0, 0)
    assert summary.frames_per_second == pytest.approx(FRAMES / summary.elapsed_seconds)


def test_the_same_call_writes_the_same_file(
    reported: tuple[Summary, list[Progress]], sample_clip: Path, tmp_path: Path
) -> None:
    again = dream_video(sample_clip, tmp_path / "out.mp4", FAST)
    assert again.path.read_bytes() == reported[0].path.read_bytes()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's process files")
def test_memory_does_not_grow_with_the_video(make_clip: MakeClip, tmp_path: Path) -> None:
    import resource  # not on Windows

    clip = make_clip("a.mp4", "testsrc2=s=160x90:r=25:d=80", "-c:v", "libx264")
    megabytes: list[float] = []

    def measure(_: Progress) -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        megabytes.append(pages * resource.getpagesize() / 1e6)

    dream_video(clip, tmp_path / "o.mp4", Settings(strength=0, device="cpu"), measure)
    assert len(megabytes) == 2000
    assert max(megabytes[200:]) - megabytes[199] < 50


def test_an_error_in_the_callback_stops_the_run(sample_clip: Path, tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        dream_video(sample_clip, tmp_path / "o.mp4", FAST, stop_at(3))
    assert list(tmp_path.iterdir()) == []


def test_the_input_is_never_the_output(sample_clip: Path, tmp_path: Path) -> None:
    copy = tmp_path / "clip.mp4"
    copy.write_bytes(sample_clip.read_bytes())
    with pytest.raises(OutputError, match="the input itself"):
        dream_video(copy, copy, overwrite=True)
    (tmp_path / "link.mp4").symlink_to(copy)
    with pytest.raises(OutputError, match="the input itself"):
        dream_video(copy, tmp_path / "link.mp4", overwrite=True)
    assert copy.read_bytes() == sample_clip.read_bytes()


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("a.png", "one still image becomes a still image"),
        ("a.avi", r"\.mp4, \.mov, \.mkv, \.webm"),
        ("a.xyz", r"\.mp4, \.mov, \.mkv, \.webm"),
    ],
)
def test_outputs_that_a_video_cannot_become_are_refused(
    output: str, words: str, sample_clip: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=words):
        dream_video(sample_clip, tmp_path / output)
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_a_video_stream_is_refused(make_clip: MakeClip, tmp_path: Path) -> None:
    song = make_clip("song.m4a", "sine=d=1", "-c:a", "aac")
    with pytest.raises(InputError, match="no video stream"):
        dream_video(song, tmp_path / "o.mp4")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_video_on_a_gpu(sample_clip: Path, tmp_path: Path) -> None:
    settings = Settings(size=192, device="cuda")
    assert dream_video(sample_clip, tmp_path / "o.mp4", settings).frames == FRAMES
