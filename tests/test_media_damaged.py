"""Damaged input, full disks, encoders that are missing or fail: one line, and no lost work."""

from __future__ import annotations

import json
import random
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import av
import pytest

from dreamvideo import Settings, dream_video
from dreamvideo.cli.main import main
from dreamvideo.errors import DreamVideoWarning, InputError, OutputError
from dreamvideo.job.work_folder import resumable_frames
from dreamvideo.media.write.encoder import FrameEncoder
from tests.conftest import SAMPLES, UNTOUCHED, X264, MakeClip, ffmpeg, frames_of

pytestmark = pytest.mark.usefixtures("shared_network")

MUTANTS = 200
MAX_SECONDS_EACH = 20
# Dreams each file into a video or still image and prints a report of it. A crash ends the process,
# and so does the watchdog if one hangs: then reports are missing.
DREAM_ALL = """
import faulthandler, functools, json, sys, traceback
from pathlib import Path
from dreamvideo import DreamVideoError, Settings, dream_video
from dreamvideo.media.formats import MediaKind
from dreamvideo.media.opening import Location
from dreamvideo.media.read.contents import contents_of
from dreamvideo.job import image
image.load_extractor = functools.cache(image.load_extractor)  # one network for all runs
folder = Path(sys.argv[1])
settings = Settings(strength=0, size=32, device="cpu", preset="ultrafast", segment_frames=8)
for path in sorted(folder.iterdir()):
    faulthandler.dump_traceback_later(int(sys.argv[2]), exit=True)
    suffix = ".png" if contents_of(Location(str(path))).kind is MediaKind.STILL else ".mp4"
    out = folder.parent / f"{path.name}.out{suffix}"
    try:
        dream_video(path, out, settings)
        report = "made"
    except DreamVideoError as error:
        report = f"refused: {error}"
    except BaseException:
        report = "traceback: " + traceback.format_exc()
    print(json.dumps([path.name, report, out.exists()]), flush=True)
"""


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """Limits the size of files, which has the effect of a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


class TestOutput:
    def test_a_full_disk_gives_one_clear_error(self, sample_clip: Path, tmp_path: Path) -> None:
        out = tmp_path / "out.mp4"
        with largest_file(20_000), pytest.raises(OutputError, match=r"cannot write .*out\.mp4"):
            dream_video(sample_clip, out, UNTOUCHED)
        assert list(tmp_path.iterdir()) == []

    def test_a_disk_that_fills_up_at_the_end_loses_nothing(
        self, sample_clip: Path, tmp_path: Path
    ) -> None:
        """The segments fit, the joined video does not."""
        out = tmp_path / "out.mp4"
        settings = replace(UNTOUCHED, segment_frames=5, crf=20)
        with largest_file(150_000), pytest.raises(OutputError, match=r"cannot write .*out\.mp4"):
            dream_video(sample_clip, out, settings)
        assert not out.exists()
        assert resumable_frames(out) == 75
        assert dream_video(sample_clip, out, settings).frames_resumed == 75
        assert len(frames_of(out)) == 75

    def test_a_full_disk_keeps_the_frames_of_a_folder(
        self, sample_clip: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        settings = replace(UNTOUCHED, segment_frames=5, size=64, end=1.0, crf=None)
        dream_video(sample_clip, tmp_path / "complete", settings)
        size_bytes = max(path.stat().st_size for path in (tmp_path / "complete").iterdir())
        with largest_file(size_bytes - 1), pytest.raises(OutputError, match="cannot write"):
            dream_video(sample_clip, out, settings)
        assert not out.exists()
        assert dream_video(sample_clip, out, settings).frames == 25
        for path in (tmp_path / "complete").iterdir():
            assert (out / path.name).read_bytes() == path.read_bytes()

    def test_an_encoder_that_fails_loses_at_most_a_segment(
        self, sample_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out = tmp_path / "out.mp4"
        settings = replace(UNTOUCHED, segment_frames=10)
        encode = FrameEncoder.encode

        def fail(encoder: FrameEncoder, frame: Any) -> Any:
            if frame is not None and frame.index == 34:
                raise av.error.ExternalError(542398533, "Generic error in an external library")
            return encode(encoder, frame)

        with monkeypatch.context() as patch:
            patch.setattr(FrameEncoder, "encode", fail)
            with pytest.raises(OutputError, match=r"cannot write .*out\.mp4: Generic error"):
                dream_video(sample_clip, out, settings)
        assert resumable_frames(out) == 30
        assert dream_video(sample_clip, out, settings).frames_resumed == 30

    def test_an_encoder_that_does_not_start(self, sample_clip: Path, tmp_path: Path) -> None:
        """NVENC is compiled in, and needs a GPU of NVIDIA's that has it."""
        try:
            dream_video(sample_clip, tmp_path / "o.mp4", Settings(strength=0, encoder="h264_nvenc"))
        except OutputError as error:
            assert "h264_nvenc does not start here" in str(error)
            assert list(tmp_path.iterdir()) == []

    def test_an_encoder_that_is_missing(
        self, sample_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def add_stream(*_: Any, **__: Any) -> None:
            raise av.codec.codec.UnknownCodecError("libx265")

        monkeypatch.setattr(
            "dreamvideo.job.outputs._OpenSegment.__init__",
            lambda *given: FrameEncoder(cast(Any, _Container(add_stream)), given[3], given[4]),
        )
        with pytest.raises(OutputError, match=r"libx265 is not in this build.*libx264"):
            dream_video(sample_clip, tmp_path / "o.mp4", Settings(strength=0, encoder="libx265"))

    def test_too_little_space_is_reported_before_the_start(
        self, sample_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = replace(UNTOUCHED, crf=18, size=64)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000))
        with pytest.raises(OutputError, match=r"0 MB free, and this will need about"):
            dream_video(sample_clip, tmp_path / "o.mp4", settings)
        assert list(tmp_path.iterdir()) == []
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=90_000))
        with pytest.warns(DreamVideoWarning, match="make room"):
            dream_video(sample_clip, tmp_path / "o.mp4", settings)


class _Container:
    """An output container of an FFmpeg that lacks an encoder."""

    def __init__(self, add_stream: Any) -> None:
        self.add_stream = add_stream


class TestInput:
    @pytest.fixture
    def video(self, make_clip: MakeClip) -> Path:
        source = "testsrc2=s=320x180:d=4:r=25"
        return make_clip("a.ts", source, *X264, "-g", "10", "-crf", "20")

    @pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm"])
    @pytest.mark.parametrize("share", [0.3, 0.7, 0.9])
    def test_a_video_that_is_cut_off_is_refused(
        self, name: str, share: float, make_clip: MakeClip
    ) -> None:
        codec = ("-c:v", "libvpx-vp9") if name.endswith("webm") else X264
        clip = make_clip(name, "testsrc2=s=160x90:d=2:r=25", *codec, "-movflags", "+faststart")
        content = clip.read_bytes()
        clip.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(InputError, match=r"cut off|cannot|no frame"):
            frames_of(clip)

    def test_a_trimmed_video_is_complete(self, make_clip: MakeClip, tmp_path: Path) -> None:
        """Streams copied from the middle carry packets that are not shown."""
        clip = make_clip("a.mp4", "testsrc2=s=160x90:d=3:r=25", *X264)
        ffmpeg("-ss", "1.3", "-i", clip, "-c", "copy", tmp_path / "b.mp4")
        assert len(frames_of(tmp_path / "b.mp4")) == pytest.approx(43, abs=1)

    def test_broken_frames_are_left_out_and_counted(
        self, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        data = bytearray(video.read_bytes())
        middle = len(data) // 2
        data[middle : middle + 6000] = random.Random(0).randbytes(6000)
        video.write_bytes(data)
        summary = dream_video(video, tmp_path / "out.mp4", replace(UNTOUCHED, max_broken=0.3))
        assert 0 < summary.frames_lost < 25
        assert summary.frames + summary.frames_lost == 100
        with pytest.raises(InputError, match=r"a\.ts is damaged: .*--max-broken"):
            dream_video(video, tmp_path / "no.mp4", replace(UNTOUCHED, max_broken=0.0))
        options = ["--strength", "0", "--device", "cpu", "--max-broken", "0.3", "--overwrite"]
        assert main([str(video), str(tmp_path / "out.mp4"), *options]) == 0
        assert (
            f"; {summary.frames_lost} broken or missing frames of the source"
            in capsys.readouterr().out
        )

    def test_the_rest_of_a_video_can_be_dreamed(self, make_clip: MakeClip, tmp_path: Path) -> None:
        options = (*X264, "-movflags", "+faststart")
        clip = make_clip("a.mp4", "testsrc2=s=160x90:d=4:r=25", *options)
        clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
        with pytest.raises(InputError, match=r"is cut off: .* of (98|99|100) frames"):
            dream_video(clip, tmp_path / "out.mp4", UNTOUCHED)
        summary = dream_video(clip, tmp_path / "out.mp4", replace(UNTOUCHED, max_broken=1.0))
        assert summary.frames + summary.frames_lost == pytest.approx(100, abs=3)
        assert len(frames_of(tmp_path / "out.mp4")) == summary.frames

    def test_huge_frames_are_refused_before_they_are_decoded(
        self, make_clip: MakeClip, tmp_path: Path
    ) -> None:
        clip = make_clip("a.mkv", "color=s=4000x4000:d=0.1:r=25", *X264, "-preset", "ultrafast")
        with pytest.raises(InputError, match=r"4000x4000 pixels, .*--max-pixels 16000000"):
            dream_video(clip, tmp_path / "o.mp4", replace(UNTOUCHED, max_pixels=10_000_000))
        assert list(tmp_path.iterdir()) == [clip]


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Cut short, with flipped bits, or with a huge value in its header."""
    changed = bytearray(data)
    kind = chance.randrange(5)
    if kind == 0:
        return data[: chance.randrange(len(data))]
    if kind == 1:
        for _ in range(chance.choice((1, 10, 200))):
            changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    elif kind == 2:
        position = chance.randrange(min(len(data) - 8, 600))
        changed[position : position + chance.choice((4, 8))] = b"\xff" * 8
    elif kind == 3:
        position = chance.randrange(len(data))
        changed[position:position] = chance.randbytes(chance.randrange(4000))
    else:
        position = chance.randrange(len(data))
        del changed[position : position + chance.randrange(1, 4000)]
    return bytes(changed)


def test_mutated_files_are_dreamed_or_refused(make_clip: MakeClip, tmp_path: Path) -> None:
    """No traceback, no crash, no hang, and never an incomplete video under the output's name."""
    source = "testsrc2=s=96x64:d=1:r=25"
    audio = "sine=d=1"
    intact = [
        make_clip("a.mp4", source, *X264, audio=audio),
        make_clip("b.mp4", source, *X264, "-movflags", "+faststart", audio=audio),
        make_clip("a.mkv", source, *X264, audio=audio),
        make_clip("a.mov", source, "-c:v", "prores_ks", audio=audio),
        make_clip("a.webm", source, "-c:v", "libvpx-vp9", "-cpu-used", "8", audio=audio),
        make_clip("a.ts", source, "-c:v", "mpeg2video", audio=audio),
        make_clip("a.avi", source, "-c:v", "mpeg4", audio=audio),
        make_clip("a.gif", source),
    ]
    ffmpeg("-i", SAMPLES / "cat.png", "-vf", "scale=96:64", tmp_path / "a.png")
    for suffix in ("jpg", "webp", "tiff", "bmp"):
        ffmpeg("-i", tmp_path / "a.png", tmp_path / f"a.{suffix}")
    intact += [tmp_path / f"a.{suffix}" for suffix in ("png", "jpg", "webp", "tiff", "bmp")]
    folder = tmp_path / "mutants"
    folder.mkdir()
    chance = random.Random(2026)
    for number in range(MUTANTS):
        path = intact[number % len(intact)]
        suffix = chance.choice(intact).suffix if number % 10 == 9 else path.suffix
        data = b"" if number % 50 == 49 else mutated(path.read_bytes(), chance)
        (folder / f"{number:03d}{suffix}").write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", DREAM_ALL, str(folder), str(MAX_SECONDS_EACH)],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    reports = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert done.returncode == 0, (reports[-1:], done.stderr[-3000:])
    assert len(reports) == MUTANTS
    for name, report, exists in reports:
        assert not report.startswith("traceback"), (name, report)
        assert exists == (report == "made"), name
        assert "\n" not in report
    made = sum(report == "made" for _, report, _ in reports)
    assert 20 < made < MUTANTS - 20
