"""Closed sources and writers leave no open file, no thread and no changed setting behind."""

from __future__ import annotations

import io
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dreamvideo.errors import InputError
from dreamvideo.job.outputs import open_image_writer, open_resumable_writer
from dreamvideo.job.work_folder import open_work
from dreamvideo.media.formats import IMAGE_FORMAT_NAMES, OUTPUT_FORMATS, MediaKind
from dreamvideo.media.opening import Location, Spool
from dreamvideo.media.read import Source, open_source
from dreamvideo.media.write.stream import StreamWriter
from dreamvideo.settings import Settings
from dreamvideo.types import DreamedFrame
from tests.conftest import ffmpeg, frames_of

REPETITIONS = 20
SUBTITLES = "1\n00:00:00,000 --> 00:00:00,200\nHello\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video with audio and subtitles, an animation, a folder of images and a still image."""
    folder = tmp_path_factory.mktemp("sources")
    (folder / "s.srt").write_text(SUBTITLES)
    ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=0.4", "-f", "lavfi", "-i", "sine=d=0.4",
        "-i", folder / "s.srt", "-map", "0", "-map", "1", "-map", "2", "-c:v", "libx264",
        "-pix_fmt", "yuv420p", "-c:a", "libvorbis", "-c:s", "ass", folder / "a.mkv",
    )  # fmt: skip
    ffmpeg("-i", folder / "a.mkv", "-an", "-sn", folder / "a.gif")
    (folder / "frames").mkdir()
    for number in range(3):
        Image.new("RGB", (64, 48), (number, 0, 0)).save(folder / "frames" / f"{number}.png")
    Image.new("RGB", (64, 48)).save(folder / "a.png")
    return folder


def open_resources() -> tuple[int, int, int]:
    """Open files, Python's threads, and all threads, FFmpeg's among them."""
    files, tasks = (len(list(Path(f"/proc/self/{name}").iterdir())) for name in ("fd", "task"))
    return files, threading.active_count(), tasks


def check_nothing_stays(use: Callable[[], None]) -> None:
    """Call a function many times and compare what is open before and after."""
    use()  # libraries start threads and open files of their own once
    before = open_resources()
    for _ in range(REPETITIONS):
        use()
    assert open_resources() == before


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")


@needs_proc
@pytest.mark.parametrize("frame_count", [1, None], ids=["first frame", "all frames"])
@pytest.mark.parametrize("name", ["a.mkv", "a.gif", "frames", "a.png", "noise:64x48"])
def test_sources(name: str, frame_count: int | None, folder: Path) -> None:
    path = name if name.startswith("noise") else str(folder / name)

    def read() -> None:
        with open_source(Location(path), Settings()) as source:
            for index, _ in enumerate(source, start=1):
                if index == frame_count:
                    break

    check_nothing_stays(read)


@contextmanager
def piped_source(path: Path) -> Iterator[Source]:
    with path.open("rb") as stream, tempfile.TemporaryFile() as store:
        location = Location("standard input", spool=Spool(stream, store))
        with open_source(location, Settings()) as source:
            yield source


@needs_proc
def test_streams_that_are_read(folder: Path) -> None:
    def read() -> None:
        with piped_source(folder / "a.mkv") as source:
            assert next(iter(source)).index == 0

    check_nothing_stays(read)


@needs_proc
def test_sources_that_are_refused(folder: Path, tmp_path: Path) -> None:
    video = folder / "a.mkv"
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "text.png").write_text("not an image")
    ffmpeg("-i", video, "-vn", tmp_path / "audio.mkv")
    refused = [
        (tmp_path / "text.mp4", Settings()),
        (tmp_path / "text.png", Settings()),
        (tmp_path / "audio.mkv", Settings()),
        (video, Settings(max_pixels=100)),
        (video, Settings(start=9.0)),
    ]

    def read() -> None:
        for path, settings in refused:
            with pytest.raises(InputError):
                frames_of(path, settings)

    check_nothing_stays(read)


@needs_proc
@pytest.mark.parametrize("is_finished", [True, False])
@pytest.mark.parametrize("suffix", [*OUTPUT_FORMATS, ""])
def test_writers(suffix: str, is_finished: bool, folder: Path, tmp_path: Path) -> None:
    source, output = Location(str(folder / "a.mkv")), tmp_path / f"out{suffix}"
    frames = frames_of(folder / "a.mkv")[:3]
    kind = MediaKind.VIDEO if suffix else MediaKind.FOLDER
    with open_source(source, Settings()) as opened:
        info = opened.info

    def write() -> None:
        with (
            open_work(output) as work,
            open_resumable_writer(work, kind, info, Settings(), source, []) as writer,
        ):
            for frame in frames:
                writer.write(DreamedFrame(frame))
            if is_finished:
                writer.finish()

    check_nothing_stays(write)


@needs_proc
@pytest.mark.parametrize("is_finished", [True, False])
def test_streams_that_are_written(is_finished: bool, folder: Path) -> None:
    location = Location(str(folder / "a.mkv"))

    def write() -> None:
        with open_source(location, Settings()) as source:
            writer = StreamWriter(io.BytesIO(), source.info, Settings(), location)
            for frame in source:
                writer.write(DreamedFrame(frame))
            if is_finished:
                writer.finish()
            writer.close()

    check_nothing_stays(write)


@needs_proc
@pytest.mark.parametrize("name", IMAGE_FORMAT_NAMES)
def test_images(name: str, folder: Path, tmp_path: Path) -> None:
    (frame,) = frames_of(folder / "a.png")

    def write() -> None:
        with open_image_writer(tmp_path / f"o.{name}", Settings(), overwrite=True) as writer:
            writer.write(DreamedFrame(frame))

    check_nothing_stays(write)


@pytest.mark.parametrize("name", IMAGE_FORMAT_NAMES)
def test_pillow_keeps_its_limit(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images beyond Pillow's limit are read without a warning, by several threads at a time."""
    pixels = np.full((48, 64, 3), 90, np.uint8)
    path = tmp_path / f"a.{name}"
    Image.fromarray(pixels).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # an error from twice that up
    failures: list[BaseException] = []

    def read() -> None:
        try:
            for _ in range(REPETITIONS):
                frames_of(path)
        except BaseException as error:
            failures.append(error)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    assert Image.MAX_IMAGE_PIXELS == 1000
    with pytest.raises(Image.DecompressionBombError):
        Image.open(path)
