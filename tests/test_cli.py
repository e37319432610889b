"""The command as a user runs it: one line for every error, and no files left behind."""

from __future__ import annotations

import importlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from dreamvideo import __version__
from dreamvideo.cli.main import main
from dreamvideo.settings import Settings
from dreamvideo.settings.options import options_of
from tests.conftest import MakeClip

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FAST = ["--octaves", "1", "--iterations", "1", "--size", "96", "--device", "cpu"]


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dreamvideo", *map(str, words)]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


def test_a_clip_becomes_a_video(sample_clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    done = run(sample_clip, out, *FAST)
    assert done.returncode == 0
    assert done.stdout.startswith(f"{out}: 75 frames in ")
    assert done.stdout.count("\n") == 1
    assert "frames per second" in done.stdout
    assert list(tmp_path.iterdir()) == [out]


def test_a_still_image_becomes_a_still_image(sample_still: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    done = run(sample_still, out, "--iterations", "2", "--device", "cpu", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    before, after = iio.imread(sample_still), iio.imread(out)
    assert before.shape == after.shape
    assert 2 < np.abs(before.astype(int) - after).mean() < 60


def test_help_shows_every_option_with_its_default() -> None:
    help_text = " ".join(run("--help").stdout.split())
    for option in options_of(Settings).values():
        assert f"{option.flag} " in help_text or f"{option.flag}, " in help_text
        default = option.default_in_words
        has_default = default and option.value_type is not bool
        assert not has_default or f"default: {default}" in help_text
    assert "()" not in help_text
    for word in ("--overwrite", "--quiet", "--debug", "px", "INPUT", "OUTPUT"):
        assert word in help_text
    assert run("--version").stdout.strip() == f"dreamvideo {__version__}"


def test_options_reach_the_settings() -> None:
    from dreamvideo.cli.arguments import parse

    command = parse(["a", "b", "--octave-scale", "1.6", "--warm-iterations", "2"], "")
    assert command.settings == Settings(octave_scale=1.6, warm_iterations=2)
    assert not command.run.overwrite


def broken(name: str, content: bytes, folder: Path) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


USAGE_MISTAKES: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "no arguments": ([], ["INPUT"]),
    "one argument": (["{clip}"], ["OUTPUT"]),
    "unknown option": (["{clip}", "{out}", "--colour", "red"], ["--colour"]),
    "shortened option": (["{clip}", "{out}", "--octave", "3"], ["--octave"]),
    "no number": (["{clip}", "{out}", "--octaves", "many"], ["octaves", "many"]),
    "out of bounds": (["{clip}", "{out}", "--octaves", "99"], ["octaves", "99", "1 to 12"]),
    "layer": (["{clip}", "{out}", "--layer", "blocks.9.expnd"], ["blocks.9.expand"]),
    "device": (["{clip}", "{out}", "--device", "gpu9"], ["gpu9", "cpu"]),
    "flow": (["{clip}", "{out}", "--flow", "tvl1"], ["tvl1", "raft"]),
    "existing output": (["{clip}", "{precious}"], ["precious.mp4", "--overwrite"]),
    "kinds": (["{clip}", "{folder}/o.png"], ["becomes a still image"]),
    "no end of digits": (["{clip}", "{out}", "--octaves", "9" * 400], ["octaves", "1 to 12"]),
    "suffix": (["{clip}", "{folder}/o.xyz"], [".mp4"]),
}
FAILURES: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "missing input": (["{folder}/none.mp4", "{out}"], ["none.mp4", "does not exist"]),
    "folder with a bad image": (["{folder}", "{out}"], ["text.png", "image"]),
    "empty input": (["{empty}", "{out}"], ["empty.mp4", "empty"]),
    "text as video": (["{text}", "{out}"], ["text.mp4", "cannot read"]),
    "text as image": (["{text_png}", "{folder}/o.png"], ["text.png", "image"]),
    "cut off": (["{cut}", "{out}"], ["cut.mp4", "cut off", "complete file"]),
    "cut off head": (["{headless}", "{out}"], ["headless.mp4", "cannot read"]),
    "name too long": (["{folder}/" + "x" * 300 + ".mp4", "{out}"], ["File name too long"]),
    "song": (["{song}", "{out}"], ["song.mp4", "no video stream"]),
    "no such folder": (["{clip}", "{folder}/none/o.mp4"], ["none", "does not exist"]),
    "folder as output": (["{clip}", "{folder}/sub.mp4"], ["sub.mp4", "is a folder"]),
    "unwritable": (["{clip}", "/proc/o.mp4"], ["cannot write", "/proc/o.mp4"]),
    "input is output": (["{clip}", "{clip}", "--overwrite"], ["the input itself"]),
}


@pytest.fixture
def places(tmp_path: Path, make_clip: MakeClip) -> dict[str, Path]:
    (tmp_path / "sub.mp4").mkdir()
    clip = make_clip(
        "clip.mp4", "testsrc2=s=96x64:r=25:d=2", "-c:v", "libx264", "-movflags", "+faststart"
    )
    whole = clip.read_bytes()
    return {
        "folder": tmp_path,
        "clip": clip,
        "out": tmp_path / "out.mp4",
        "precious": broken("precious.mp4", b"precious", tmp_path),
        "empty": broken("empty.mp4", b"", tmp_path),
        "text": broken("text.mp4", b"all work and no play\n" * 40, tmp_path),
        "text_png": broken("text.png", b"all work and no play\n" * 40, tmp_path),
        "cut": broken("cut.mp4", whole[: len(whole) * 6 // 10], tmp_path),
        "headless": broken("headless.mp4", whole[len(whole) // 2 :], tmp_path),
        "song": make_clip("song.mp4", "sine=d=1", "-c:a", "aac"),
    }


@pytest.mark.parametrize(
    ("words", "expected", "status"),
    [(*case, 2) for case in USAGE_MISTAKES.values()] + [(*case, 1) for case in FAILURES.values()],
    ids=[*USAGE_MISTAKES, *FAILURES],
)
def test_a_mistake_gets_one_line_and_leaves_nothing(
    words: Sequence[str],
    expected: Sequence[str],
    status: int,
    places: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = {path: path.read_bytes() for path in places["folder"].rglob("*") if path.is_file()}
    assert main([word.format(**places) for word in words]) == status
    printed = capsys.readouterr()
    line = printed.err.removesuffix("\n")
    assert printed.out == ""
    assert line.startswith("dreamvideo: ")
    assert "\n" not in line
    for word in expected:
        assert word in line
    after = {path: path.read_bytes() for path in places["folder"].rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.parametrize("names", [("-clip.mp4", "out.mp4"), ("-clip.mp4", "-out.mp4")])
def test_names_after_two_dashes_may_begin_with_one(
    names: tuple[str, str],
    make_clip: MakeClip,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_clip("-clip.mp4", "testsrc2=s=64x48:r=25:d=0.2", "-c:v", "libx264")
    monkeypatch.chdir(tmp_path)
    assert main(["--strength", "0", "--device", "cpu", "--", *names]) == 0
    assert (tmp_path / names[1]).is_file()
    assert main(["measure", "--", *names]) == 0
    assert main(["--quiet", "--"]) == 2
    assert "INPUT, OUTPUT" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a" * 251 + ".mp4", "is too long for its work folder, which adds .part to its 255 bytes"),
        ("a" * 248 + ".mp4", "adds .part to its 252 bytes; choose a shorter name"),
        ("ä" * 124 + ".mp4", "adds .part to its 252 bytes; choose a shorter name"),
        ("a" * 252 + ".mp4", "File name too long; choose a shorter name"),
        ("a" * 252 + ".png", "File name too long; choose a shorter name"),
    ],
)
def test_a_name_that_is_too_long_says_so(
    name: str,
    expected: str,
    places: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
    sample_still: Path,
) -> None:
    source = sample_still if name.endswith(".png") else places["clip"]
    assert main([str(source), str(places["folder"] / name)]) == 1
    assert expected in capsys.readouterr().err


def test_the_longest_names_work(make_clip: MakeClip, tmp_path: Path) -> None:
    clip = make_clip("a.mp4", "testsrc2=s=64x48:r=25:d=0.2", "-c:v", "libx264")
    out = tmp_path / ("a" * 246 + ".mp4")
    assert main([str(clip), str(out), "--strength", "0", "--device", "cpu"]) == 0
    assert out.is_file()


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = run(tmp_path / "none.mp4", tmp_path / "o.mp4", "--debug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "InputError" in done.stderr


def test_overwrite_replaces_the_output_only_by_a_finished_one(places: dict[str, Path]) -> None:
    precious = places["precious"]
    assert main([str(places["cut"]), str(precious), "--overwrite", "--quiet", *FAST]) == 1
    assert precious.read_bytes() == b"precious"
    assert main([str(places["clip"]), str(precious), "--overwrite", "--quiet", *FAST]) == 0
    assert precious.read_bytes() != b"precious"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_says_so_and_leaves_nothing(
    how: signal.Signals, sample_clip: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "dreamvideo", str(sample_clip), str(tmp_path / "o.mp4")]
    with subprocess.Popen(
        [*command, "--size", "320", "--device", "cpu"],
        stderr=subprocess.PIPE,
        text=True,
        # A test run in the background inherits that SIGINT is ignored.
        preexec_fn=lambda: signal.signal(how, signal.SIG_DFL),  # noqa: PLW1509
    ) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.iterdir()):  # the work folder
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(1.5)
        process.send_signal(how)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    last = errors.splitlines()[-1].strip()
    assert last == "dreamvideo: interrupted; no output was written"
    assert list(tmp_path.iterdir()) == []


class TestHostProgram:
    """`main` can be called by a program, whose process it leaves as it was."""

    def test_the_process_is_left_as_it_was(
        self, sample_still: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("SVT_LOG", raising=False)
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), errors="strict"))

        def state() -> list[object]:
            signals = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
            environment = {k: v for k, v in os.environ.items() if k != "GOMP_SPINCOUNT"}
            return [
                warnings.showwarning,
                list(warnings.filters),
                [signal.getsignal(number) for number in signals],
                environment,
                sys.stdout.errors,
                sys.stderr,
                threading.enumerate(),
            ]

        main(["looks"])  # imports what there is to import
        before = state()
        out = str(tmp_path / "out.png")
        for words, status in [
            ([str(sample_still), out, *FAST], 0),
            ([str(sample_still), out, *FAST, "--overwrite", "--quiet"], 0),
            ([str(sample_still), out], 2),
            (["looks"], 0),
        ]:
            assert main(words) == status
            assert state() == before

    def test_a_thread_can_call_it(self, sample_still: Path, tmp_path: Path) -> None:
        """Only the main thread may set signal handlers."""
        words = [str(sample_still), str(tmp_path / "out.png"), *FAST, "--quiet"]
        with ThreadPoolExecutor(1) as executor:
            assert executor.submit(main, words).result() == 0

    def test_the_entry_point_exists(self) -> None:
        """pyproject.toml names a function."""
        pyproject = Path(__file__).parent.parent / "pyproject.toml"
        target = tomllib.loads(pyproject.read_text())["project"]["scripts"]["dreamvideo"]
        module, _, name = target.partition(":")
        assert callable(getattr(importlib.import_module(module), name))
