"""The table of formats: what each suffix holds, which options it takes, names of files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dreamvideo import Settings, dream_video
from dreamvideo.errors import InputError, SettingsError
from tests.conftest import (
    UNTOUCHED,
    X264,
    MakeClip,
    frames_of,
    psnr,
)


@contextlib.contextmanager
def working_folder(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def test_names_with_a_colon_are_files(make_clip: MakeClip, tmp_path: Path) -> None:
    clip = make_clip("plain.mp4", "testsrc2=s=160x90:d=0.2:r=25", *X264)
    renamed = clip.rename(tmp_path / "2024-01-01T12:30:05.mp4")
    with working_folder(tmp_path):
        dream_video(renamed.name, "12:30.mp4", UNTOUCHED)
    assert len(frames_of(tmp_path / "12:30.mp4")) == 5


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mkv")
    with pytest.raises(InputError, match="pipe"):
        frames_of(tmp_path / "pipe.mkv")


def test_better_quality_makes_a_larger_file(sample_clip: Path, tmp_path: Path) -> None:
    sizes = []
    for crf, preset in ((18, "medium"), (30, "medium"), (30, "ultrafast")):
        out = tmp_path / f"{crf}{preset}.mp4"
        settings = Settings(strength=0, flow="none", size=160, crf=crf, preset=preset)
        dream_video(sample_clip, out, settings)
        sizes.append(out.stat().st_size)
    assert sizes[0] > 1.3 * sizes[1]
    assert sizes[1] != sizes[2]


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
def test_encoder_options_that_do_not_fit_are_refused(
    suffix: str, changes: dict[str, str], words: str, sample_clip: Path, tmp_path: Path
) -> None:
    settings = Settings(strength=0, device="cpu", **changes)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=words):
        dream_video(sample_clip, tmp_path / f"o{suffix}", settings)
    assert list(tmp_path.iterdir()) == []


def test_a_gif_keeps_times_and_loops(sample_clip: Path, tmp_path: Path) -> None:
    dream_video(sample_clip, tmp_path / "o.gif", Settings(strength=0, size=160, end=1.0))
    before = frames_of(sample_clip, Settings(size=160, end=1.0))
    after = frames_of(tmp_path / "o.gif")
    assert [frame.time_seconds for frame in after] == [f.time_seconds for f in before]
    assert min(psnr(a.image, b.image) for a, b in zip(before, after, strict=True)) > 24
    assert b"NETSCAPE2.0" in (tmp_path / "o.gif").read_bytes()  # it loops
