"""Progress: a bar on a terminal; otherwise a line every ten seconds, and nothing if quiet."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from dreamvideo.cli.progress import LINE_INTERVAL_SECONDS, ProgressDisplay

FAST = ["--octaves", "1", "--iterations", "1", "--size", "64", "--end", "1", "--device", "cpu"]
# The command, with a shorter interval.
DREAM = """
import sys
from dreamvideo.cli import main, progress
progress.LINE_INTERVAL_SECONDS = 0.01
sys.exit(main.main(sys.argv[1:]))
"""


class Clock:
    """A clock that shows the time that it is set to."""

    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def lines_of(
    *updates: tuple[float, int], total: int | None = 1000, quiet: bool = False
) -> list[str]:
    """The lines after updates at these seconds with so many frames done."""
    clock, stream = Clock(), io.StringIO()
    display = ProgressDisplay("frame", quiet, stream, clock)
    for seconds, done in updates:
        clock.seconds = 100 + seconds
        display.update(done, total, "dream gain 1.50")
    display.close()
    return stream.getvalue().splitlines()


class TestLines:
    def test_one_every_ten_seconds(self) -> None:
        frames = [(seconds / 10, seconds + 1) for seconds in range(10, 400)]
        lines = lines_of(*frames)
        assert len(lines) == 3
        assert [line.split(" frames, ")[0] for line in lines] == [
            "dreamvideo: 101/1000",
            "dreamvideo: 201/1000",
            "dreamvideo: 301/1000",
        ]

    def test_it_shows_the_rate_and_the_time_left(self) -> None:
        """20 frames in the 10 s since the first one: 970 more take 485 s."""
        assert lines_of((2, 10), (12, 30)) == [
            "dreamvideo: 30/1000 frames, 2.00 frames/s, 08:05 left, dream gain 1.50"
        ]

    def test_frames_of_an_earlier_run_do_not_count_for_the_rate(self) -> None:
        (line,) = lines_of((1, 501), (11, 521))
        assert "521/1000 frames, 2.00 frames/s" in line

    def test_nothing_before_ten_seconds(self) -> None:
        assert lines_of((1, 1), (LINE_INTERVAL_SECONDS - 0.01, 2)) == []

    def test_the_first_update_may_come_later(self) -> None:
        assert lines_of((60, 1)) == ["dreamvideo: 1/1000 frames, dream gain 1.50"]

    def test_an_unknown_length_has_no_time_left(self) -> None:
        assert lines_of((0, 1), (10, 11), total=None) == [
            "dreamvideo: 11/? frames, 1.00 frames/s, dream gain 1.50"
        ]

    def test_quiet(self) -> None:
        assert lines_of((0, 1), (100, 11), quiet=True) == []


class TestBar:
    def test_it_is_rewritten_and_then_removed(self) -> None:
        stream = Terminal()
        display = ProgressDisplay("frame", False, stream)
        for done in range(1, 75):
            display.update(done, 75, "dream gain 1.50")
        display.close()
        shown = stream.getvalue()
        assert "/75 [" in shown
        assert "\n" not in shown
        assert shown.split("\r")[-1].strip() == ""

    def test_quiet(self) -> None:
        stream = Terminal()
        display = ProgressDisplay("frame", True, stream)
        display.update(1, 75, "")
        display.close()
        assert stream.getvalue() == ""


class TestProcess:
    def test_a_pipe_gets_lines(self, sample_clip: Path, tmp_path: Path) -> None:
        words = [str(sample_clip), str(tmp_path / "out.mp4"), *FAST]
        done = subprocess.run(
            [sys.executable, "-c", DREAM, *words], check=True, capture_output=True, text=True
        )
        assert "\r" not in done.stderr
        lines = done.stderr.splitlines()
        assert lines
        for line in lines:
            assert line.startswith("dreamvideo: ")
            assert "/25 frames" in line
            assert "dream gain " in line
        assert "frames/s" in lines[-1]

    def test_a_short_run_leaves_a_log_empty(self, sample_clip: Path, tmp_path: Path) -> None:
        words = [str(sample_clip), str(tmp_path / "out.mp4"), *FAST]
        done = subprocess.run(
            [sys.executable, "-m", "dreamvideo", *words],
            check=True,
            capture_output=True,
            text=True,
        )
        assert done.stderr == ""

    @pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
    def test_a_terminal_gets_a_bar(self, sample_clip: Path, tmp_path: Path) -> None:
        import fcntl
        import termios

        words = [str(sample_clip), str(tmp_path / "out.mp4"), *FAST]
        ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        os.set_blocking(ours, False)
        try:
            subprocess.run(
                [sys.executable, "-m", "dreamvideo", *words],
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=theirs,
            )
            shown = os.read(ours, 1 << 16).decode()
        finally:
            os.close(ours)
            os.close(theirs)
        assert "/25 [" in shown
        assert "frame/s" in shown
        assert "\n" not in shown
