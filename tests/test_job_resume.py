"""A run that stops for any reason resumes where it was, and ends with the same result."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import av
import imageio.v3 as iio
import numpy as np
import pytest
import torch
from torchvision.models import squeezenet1_1

from dreamvideo import Progress, Settings, dream_video
from dreamvideo.cli.main import main
from dreamvideo.errors import (
    DreamVideoError,
    InputError,
    OutputError,
    OutputExistsError,
    ResumeError,
    SettingsError,
)
from dreamvideo.job.work_folder import resumable_frames, work_path
from tests.conftest import X264, MakeClip, StoppedError, ffmpeg, frames_of, packets_hash, stop_at

SEGMENT = 6
DREAM = Settings(
    size=96, octaves=2, iterations=2, device="cpu", preset="ultrafast", segment_frames=SEGMENT
)
WORDS = [
    *("--size", "96", "--octaves", "2", "--iterations", "2", "--device", "cpu"),
    *("--preset", "ultrafast", "--segment-frames", str(SEGMENT), "--quiet"),
]
FRAMES = 40
# Kills of each sort, and the runs that may be needed for them: about one in two is killed.
KILLS, MOST_RUNS = 4, 30
# Kills its process at the Nth flush to the disk or removal of a file: the states before and after
# each of them are what a power cut can leave. Counts from the start of the run, or from the moment
# at which all segments are joined.
KILL_AT = """
import os, signal, sys
from pathlib import Path
from dreamvideo.job import work_folder
from dreamvideo.media.write import files
from dreamvideo.temporal import state_files
from dreamvideo.cli.main import main
count = 0
def counted(original):
    def call(path, *arguments, **options):
        global count
        joined = Path(sys.argv[2], "finished").exists() or path.name.startswith("result")
        count += sys.argv[3] == "start" or joined
        if count == int(sys.argv[1]):
            os.kill(os.getpid(), signal.SIGKILL)
        return original(path, *arguments, **options)
    return call
work_folder.flush_to_disk = state_files.flush_to_disk = counted(files.flush_to_disk)
Path.unlink = counted(Path.unlink)
sys.exit(main(sys.argv[4:]))
"""


def killed_at(count: int, since: str, words: list[str]) -> bool:
    """Run the command and kill it at the Nth call; whether it got there."""
    command = [sys.executable, "-c", KILL_AT, str(count), f"{words[1]}.part", since, *words]
    return subprocess.run(command, check=False).returncode == -signal.SIGKILL


@pytest.fixture(scope="module")
def clip(sample_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty frames of the sample with sound, and a cut within a segment."""
    path = tmp_path_factory.mktemp("resume") / "clip.mp4"
    cut = f"trim=end_frame={FRAMES},split[a][b];[b]hflip,negate[c];[a][c]overlay=enable='gt(n,20)'"
    ffmpeg("-i", sample_clip, "-filter_complex", cut, "-c:a", "aac", "-t", "1.6", path)
    return path


@pytest.fixture(scope="module")
def uninterrupted(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The video of a run that did not stop."""
    out = tmp_path_factory.mktemp("whole") / "out.mp4"
    assert dream_video(clip, out, DREAM).frames == FRAMES
    return out


@pytest.fixture(scope="module")
def work_of_stopped_run(
    clip: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], Path]:
    """The work folder of a run that stopped after a frame; to be copied."""

    @cache
    def run(stop: int) -> Path:
        out = tmp_path_factory.mktemp("stopped") / "out.mp4"
        with pytest.raises(StoppedError):
            dream_video(clip, out, DREAM, stop_at(stop))
        assert not out.exists()
        return work_path(out)

    return run


@pytest.fixture
def unfinished(work_of_stopped_run: Callable[[int], Path], tmp_path: Path) -> Callable[[int], Path]:
    """The output path of a run that stopped after a frame, with a work folder of its own."""

    def copy(stop: int) -> Path:
        out = tmp_path / "out.mp4"
        shutil.copytree(work_of_stopped_run(stop), work_path(out))
        return out

    return copy


def assert_same_video(one: Path, other: Path) -> None:
    before, after = frames_of(one), frames_of(other)
    assert [f.time_seconds for f in before] == [f.time_seconds for f in after]
    for a, b in zip(before, after, strict=True):
        assert np.array_equal(a.image, b.image), f"frame {a.index}"
    assert packets_hash(one, 0) == packets_hash(other, 0)


@pytest.mark.parametrize("stop", [SEGMENT + 1, 2 * SEGMENT, 23, FRAMES - 1])
def test_a_resumed_video_is_the_same(
    stop: int, unfinished: Callable[[int], Path], clip: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    out = unfinished(stop)
    kept = resumable_frames(out)
    assert stop - SEGMENT - 5 <= kept < stop  # some are still queued for the encoder
    summary = dream_video(clip, out, DREAM)
    assert (summary.frames, summary.frames_resumed) == (FRAMES, kept)
    assert_same_video(out, uninterrupted)
    assert list(tmp_path.iterdir()) == [out]


def test_other_segment_lengths_change_only_the_encoding(
    clip: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.mp4"
    dream_video(clip, out, replace(DREAM, segment_frames=None))
    for one, other in zip(frames_of(uninterrupted), frames_of(out), strict=True):
        assert np.abs(one.image - other.image).mean() < 0.02


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("late.mkv", {}),
        ("variable.mp4", {"every": 2}),
        ("video.ts", {"start": 0.3, "end": 1.5}),
        ("video.mp4", {"fps": 40.0, "start": 0.2}),
        ("video.avi", {}),
        ("video.mp4", {"fps": 12.0, "every": 2}),
        ("fields.mp4", {}),
        ("open.ts", {}),
    ],
)
def test_any_part_of_any_video_resumes(
    name: str, changes: dict[str, float], make_clip: MakeClip, tmp_path: Path
) -> None:
    words = {
        "late.mkv": ("-output_ts_offset", "0.6"),
        "variable.mp4": ("-vf", "select='not(mod(n\\,3))+lt(n\\,22)'", "-fps_mode", "vfr"),
        "fields.mp4": ("-vf", "interlace", "-flags", "+ildct+ilme"),
        "open.ts": ("-c:v", "mpeg2video", "-bf", "2", "-g", "9", "-q:v", "2"),
    }.get(name, ())
    source = f"mandelbrot=s=96x64:r={50 if name == 'fields.mp4' else 25}"
    video = make_clip(name, source, "-t", "2", "-bf", "2", *words)
    settings = replace(DREAM, strength=0, segment_frames=5, **changes)  # type: ignore[arg-type]
    whole, out = tmp_path / "whole.mp4", tmp_path / "out.mp4"
    frames = dream_video(video, whole, settings).frames
    with pytest.raises(StoppedError):
        dream_video(video, out, settings, stop_at(frames // 2 + 4))
    assert dream_video(video, out, settings).frames_resumed >= 5
    for one, other in zip(frames_of(whole), frames_of(out), strict=True):
        assert one.time_seconds == other.time_seconds
        assert np.array_equal(one.image, other.image)


def kill_after(seconds: float, words: list[str]) -> bool:
    """Run the command and kill it after a while; whether it had not ended by then."""
    with subprocess.Popen([sys.executable, "-m", "dreamvideo", *words]) as process:
        try:
            assert process.wait(timeout=seconds) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            return True
    return False


def test_killed_at_random_moments(clip: Path, uninterrupted: Path, tmp_path: Path) -> None:
    """SIGKILL at eight moments: four by the clock, four around flushes and removals.

    A run that ends before its moment does not count, so that a fast machine sees as many kills.
    """
    out = tmp_path / "out.mp4"
    words = [str(clip), str(out), *WORDS]
    started = time.monotonic()
    assert subprocess.run([sys.executable, "-m", "dreamvideo", *words], check=False).returncode == 0
    whole_seconds = time.monotonic() - started
    chance = random.Random(7)

    def by_the_clock() -> bool:
        return kill_after(chance.uniform(0.3, 1) * whole_seconds, words)

    def around_a_file() -> bool:
        return killed_at(chance.randint(1, 16), "start", words)

    for kill in (by_the_clock, around_a_file):
        kills = 0
        for _ in range(MOST_RUNS):
            if out.exists():
                assert_same_video(out, uninterrupted)
                out.unlink()
            kills += kill()
            if kills == KILLS:
                break
        assert kills == KILLS
    assert main([*words, "--overwrite"]) == 0
    assert_same_video(out, uninterrupted)
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("count", [1, 2, 3, 12, 19])
def test_killed_while_the_video_is_published(
    count: int, unfinished: Callable[[int], Path], clip: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    out = unfinished(FRAMES)
    words = [str(clip), str(out), *WORDS]
    assert killed_at(count, "end", words)
    assert main(words) == 0
    assert_same_video(out, uninterrupted)
    assert list(tmp_path.iterdir()) == [out]


@pytest.fixture(scope="module")
def work_of_killed_run(
    work_of_stopped_run: Callable[[int], Path], clip: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The work folder of a run that was killed when its video was finished; to be copied."""
    out = tmp_path_factory.mktemp("finished") / "out.mp4"
    shutil.copytree(work_of_stopped_run(FRAMES), work_path(out))
    assert killed_at(2, "end", [str(clip), str(out), *WORDS])
    assert not out.exists()
    return work_path(out)


class TestFinishedButNotMoved:
    """Killed just before the finished video is moved to the output's place."""

    @pytest.fixture
    def finished(self, work_of_killed_run: Path, tmp_path: Path) -> Path:
        """The output path, with a work folder of its own."""
        out = tmp_path / "out.mp4"
        shutil.copytree(work_of_killed_run, work_path(out))
        return out

    def test_another_run_is_refused(self, finished: Path, clip: Path) -> None:
        with pytest.raises(ResumeError, match=r"strength 1\.0, and this one has 0\.0"):
            dream_video(clip, finished, replace(DREAM, strength=0))
        assert dream_video(clip, finished, DREAM).frames == FRAMES

    def test_an_output_of_another_program_is_kept(self, finished: Path, clip: Path) -> None:
        finished.write_bytes(b"precious")
        with pytest.raises(OutputExistsError):
            dream_video(clip, finished, DREAM)
        assert finished.read_bytes() == b"precious"
        assert dream_video(clip, finished, DREAM, overwrite=True).frames_resumed == FRAMES

    def test_restart_discards_it(self, finished: Path, clip: Path) -> None:
        assert dream_video(clip, finished, DREAM, restart=True).frames_resumed == 0


def test_an_empty_work_folder_is_removed(clip: Path, tmp_path: Path) -> None:
    """Killed between the last two removals, when only the lock is left."""
    out = tmp_path / "out.mp4"
    out.write_bytes(b"whole")
    work_path(out).mkdir()
    (work_path(out) / "lock").touch()
    assert main([str(clip), str(out), *WORDS]) == 2
    assert list(tmp_path.iterdir()) == [out]


def test_folders_resume(clip: Path, tmp_path: Path) -> None:
    frames, whole, out = (tmp_path / name for name in ("frames", "whole", "out"))
    dream_video(clip, frames, replace(DREAM, strength=0, end=1.0))
    dream_video(frames, whole, DREAM)
    with pytest.raises(StoppedError):
        dream_video(frames, out, DREAM, stop_at(20))
    assert not out.exists()
    assert dream_video(frames, out, DREAM).frames_resumed >= 2 * SEGMENT
    names = sorted(path.name for path in whole.iterdir())
    assert sorted(path.name for path in out.iterdir()) == names
    assert all((whole / n).read_bytes() == (out / n).read_bytes() for n in names)
    assert not work_path(out).exists()


class TestRefusals:
    @pytest.fixture
    def stopped(self, unfinished: Callable[[int], Path]) -> Path:
        """The output path of a run that stopped on its way."""
        return unfinished(23)

    def test_a_changed_setting(self, stopped: Path, clip: Path) -> None:
        with pytest.raises(ResumeError, match=r"octaves 2, and this one has 3.*--restart"):
            dream_video(clip, stopped, replace(DREAM, octaves=3))
        assert resumable_frames(stopped) > 0

    def test_a_changed_input(self, stopped: Path, clip: Path, tmp_path: Path) -> None:
        other = tmp_path / clip.name
        data = bytearray(clip.read_bytes())
        data[len(data) // 2] ^= 1
        other.write_bytes(data)
        with pytest.raises(ResumeError, match=r"input .* bytes .*, and this one has"):
            dream_video(other, stopped, DREAM)

    def test_another_version(
        self, stopped: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("dreamvideo.job.identity.version", lambda _: "9.9")
        with pytest.raises(ResumeError, match=r"version .*, and this one has dreamvideo 9\.9"):
            dream_video(clip, stopped, DREAM)

    def test_restart_starts_at_the_first_frame(self, stopped: Path, clip: Path) -> None:
        summary = dream_video(clip, stopped, replace(DREAM, strength=0), restart=True)
        assert (summary.frames, summary.frames_resumed) == (FRAMES, 0)

    def test_a_limit_may_change(self, stopped: Path, clip: Path) -> None:
        assert dream_video(clip, stopped, replace(DREAM, max_broken=0.5)).frames_resumed > 0

    def test_a_moved_input_is_the_same(self, stopped: Path, clip: Path, tmp_path: Path) -> None:
        (tmp_path / "moved").mkdir()
        copy = tmp_path / "moved" / "renamed.mp4"
        copy.write_bytes(clip.read_bytes())
        assert dream_video(copy, stopped, DREAM).frames_resumed > 0

    def test_an_output_that_appeared_is_kept(self, stopped: Path, clip: Path) -> None:
        stopped.write_bytes(b"precious")
        with pytest.raises(OutputExistsError):
            dream_video(clip, stopped, DREAM)
        assert stopped.read_bytes() == b"precious"
        assert resumable_frames(stopped) > 0

    def test_a_restart_that_cannot_run_discards_nothing(
        self, stopped: Path, clip: Path, tmp_path: Path
    ) -> None:
        kept = resumable_frames(stopped)
        with pytest.raises(InputError):
            dream_video(tmp_path / "missing.mp4", stopped, DREAM, restart=True)
        with pytest.raises(SettingsError):
            dream_video(clip, stopped, replace(DREAM, encoder="prores_ks"), restart=True)
        assert resumable_frames(stopped) == kept

    def test_a_partial_video_replaces_no_other_file(self, clip: Path, tmp_path: Path) -> None:
        partial = tmp_path / "out.partial.mp4"
        partial.write_bytes(clip.read_bytes())
        for source in (clip, partial):
            with pytest.raises((OutputError, OutputExistsError)):
                dream_video(source, tmp_path / "out.mp4", DREAM, stop_at(20), keep_partial=True)
        assert partial.read_bytes() == clip.read_bytes()

    def test_a_folder_of_another_program(self, clip: Path, tmp_path: Path) -> None:
        work = tmp_path / "out.mp4.part"
        work.mkdir()
        (work / "mine.txt").write_text("precious")
        (work / "lock").touch()
        with pytest.raises(OutputError, match=r"contains mine\.txt"):
            dream_video(clip, tmp_path / "out.mp4", DREAM)
        assert (work / "mine.txt").read_text() == "precious"


def test_a_second_run_on_the_same_output_is_refused(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    refusals = []

    def run_again(progress: Progress) -> None:
        if progress.frames_done == 3:
            refusals.append(
                subprocess.run(
                    [sys.executable, "-m", "dreamvideo", str(clip), str(out), *WORDS],
                    check=False, capture_output=True, text=True,
                )
            )  # fmt: skip

    assert dream_video(clip, out, replace(DREAM, end=0.4), run_again).frames == 10
    assert refusals[0].returncode == 1
    assert refusals[0].stderr.startswith(f"dreamvideo: another run is writing {out}")
    assert list(tmp_path.iterdir()) == [out]


def test_keep_partial_leaves_a_video(clip: Path, uninterrupted: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    with pytest.raises(StoppedError):
        dream_video(clip, out, DREAM, stop_at(20), keep_partial=True)
    partial = frames_of(tmp_path / "out.partial.mp4")
    assert len(partial) == resumable_frames(out) >= 12
    for one, other in zip(partial, frames_of(uninterrupted), strict=False):
        assert np.array_equal(one.image, other.image)
    with av.open(str(tmp_path / "out.partial.mp4")) as video:
        assert video.streams.audio
    assert dream_video(clip, out, DREAM).frames == FRAMES
    assert_same_video(out, uninterrupted)


def test_an_early_stop_leaves_nothing(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        dream_video(clip, tmp_path / "out.mp4", DREAM, stop_at(3), keep_partial=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "kill"), reason="needs signals")
def test_ctrl_c_reports_what_is_kept(clip: Path, uninterrupted: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    command = [sys.executable, "-m", "dreamvideo", str(clip), str(out), *WORDS]
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        # A test run in the background inherits that SIGINT is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    ) as process:
        deadline = time.monotonic() + 60
        while not resumable_frames(out):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    kept = resumable_frames(out)
    assert process.returncode == 130
    assert errors.splitlines()[-1].endswith(
        f"interrupted; no output was written ({kept} frames are kept: the same command resumes "
        "from them)"
    )
    assert main(command[3:]) == 0
    assert_same_video(out, uninterrupted)


def test_restart_keeps_the_work_until_the_new_run_can_start(
    make_clip: MakeClip, tmp_path: Path
) -> None:
    clip, out = make_clip("c.mp4", "testsrc2=s=96x64:r=25:d=0.6", *X264), tmp_path / "o.mp4"

    def stop(progress: Progress) -> None:
        if progress.frames_done == 2 * SEGMENT + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dream_video(clip, out, DREAM, stop)
    kept = resumable_frames(out)
    assert kept
    for mistake in ({"mask": "none.png"}, {"guide": "none.png"}, {"layer": "none"}):
        with pytest.raises(DreamVideoError):
            dream_video(clip, out, replace(DREAM, **mistake), restart=True)  # type: ignore[arg-type]
        assert resumable_frames(out) == kept


@pytest.mark.parametrize("name", ["guide", "weights"])
def test_another_file_is_another_run(name: str, make_clip: MakeClip, tmp_path: Path) -> None:
    clip, out = make_clip("c.mp4", "testsrc2=s=96x64:r=25:d=0.6", *X264), tmp_path / "o.mp4"
    file = tmp_path / ("f.png" if name == "guide" else "f.pth")

    def write(seed: int) -> None:
        generator = np.random.default_rng(seed)
        if name == "guide":
            iio.imwrite(file, generator.integers(0, 255, (64, 64, 3), np.uint8))
        else:
            torch.manual_seed(seed)
            torch.save(squeezenet1_1(weights=None).state_dict(), file)

    def stop(progress: Progress) -> None:
        if progress.frames_done == SEGMENT + 1:
            raise KeyboardInterrupt

    write(0)
    options = {name: str(file)} | ({"model": "squeezenet1_1"} if name == "weights" else {})
    settings = replace(DREAM, **options)  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        dream_video(clip, out, settings, stop)
    write(1)
    with pytest.raises(ResumeError, match=name):
        dream_video(clip, out, settings)
    write(0)
    assert dream_video(clip, out, settings).frames_resumed == SEGMENT
