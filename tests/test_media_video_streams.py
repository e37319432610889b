"""Which of a file's streams is dreamed, what comes along, and what is named as left out."""

from __future__ import annotations

import struct
import warnings
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image

from dreamvideo import Settings, dream_video
from dreamvideo.cli.main import main
from dreamvideo.errors import DreamVideoWarning, InputError, UsageError
from dreamvideo.job.comparison import compare_videos
from dreamvideo.media.opening import Location
from dreamvideo.media.read import open_source
from dreamvideo.types import FramePosition
from tests.conftest import UNTOUCHED, X264, MakeClip, ffmpeg, frames_of

pytestmark = pytest.mark.usefixtures("shared_network")

RED, BLUE, GREEN = (1, 0, 0), (0, 0, 1), (0, 0.5, 0)


@pytest.fixture
def film(make_clip: MakeClip) -> Path:
    """Half a second of blue, with sound."""
    return make_clip(
        "film.mp4", "color=blue:s=160x90:r=25:d=0.48", *X264, audio="sine=d=0.48:r=48000"
    )


@pytest.fixture
def cover(tmp_path: Path) -> Path:
    Image.new("RGB", (64, 64), (255, 0, 0)).save(tmp_path / "cover.jpg", quality=95)
    return tmp_path / "cover.jpg"


def colour_of(path: Path) -> tuple[float, ...]:
    """The mean colour of a video's first frame, to a tenth."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DreamVideoWarning)
        (first, *_) = frames_of(path)
    return tuple(round(float(value), 1) for value in first.image.mean((0, 1)))


def covers_in(path: Path) -> list[bytes]:
    """The content of each cover."""
    with av.open(str(path)) as video:
        indices = [
            stream.index
            for stream in video.streams.video
            if stream.disposition & Disposition.attached_pic
        ]
        packets = list(video.demux(*(video.streams[index] for index in indices)))
        return [bytes(packet) for packet in packets if packet.size] if indices else []


class TestChoice:
    @pytest.fixture
    def thumbnail_first(self, film: Path, cover: Path, tmp_path: Path) -> Path:
        ffmpeg(
            *("-i", cover, "-i", film, "-map", "0:v", "-map", "1", "-c", "copy"),
            *("-disposition:v:0", "0", "-disposition:v:1", "default", tmp_path / "a.mkv"),
        )
        return tmp_path / "a.mkv"

    def test_the_default_stream_is_dreamed_and_the_other_one_named(
        self, thumbnail_first: Path, tmp_path: Path
    ) -> None:
        message = (
            r"a\.mkv has 2 video streams; stream 1 \(h264, 160x90\) is dreamed and stream 0 "
            r"\(mjpeg, 64x64\) left out; --stream"
        )
        with pytest.warns(DreamVideoWarning, match=message) as caught:
            summary = dream_video(thumbnail_first, tmp_path / "o.mp4", UNTOUCHED)
        assert len(caught) == 1
        assert summary.frames == 12
        assert colour_of(tmp_path / "o.mp4") == BLUE
        with av.open(str(tmp_path / "o.mp4")) as video:
            assert [stream.type for stream in video.streams] == ["video", "audio"]

    @pytest.mark.filterwarnings("ignore::dreamvideo.errors.DreamVideoWarning")
    def test_another_stream_can_be_chosen(self, thumbnail_first: Path, tmp_path: Path) -> None:
        dream_video(thumbnail_first, tmp_path / "o.mp4", replace(UNTOUCHED, stream=0))
        assert colour_of(tmp_path / "o.mp4") == RED
        options = ["--strength", "0", "--device", "cpu", "--stream", "1"]
        assert main([str(thumbnail_first), str(tmp_path / "b.mp4"), *options]) == 0
        assert colour_of(tmp_path / "b.mp4") == BLUE

    @pytest.mark.parametrize("number", [2, 9])
    def test_a_stream_that_is_no_video_is_refused(
        self, number: int, thumbnail_first: Path, tmp_path: Path
    ) -> None:
        message = (
            rf"no video stream {number} .*are stream 0 \(mjpeg, 64x64\), stream 1 \(h264, 160x90\)"
        )
        with pytest.raises(InputError, match=message):
            dream_video(thumbnail_first, tmp_path / "o.mp4", replace(UNTOUCHED, stream=number))
        assert not list(tmp_path.glob("o.*"))

    @pytest.mark.parametrize(("defaults", "expected"), [
        ((True, True), BLUE), ((False, False), BLUE), ((True, False), GREEN), ((False, True), BLUE),
    ])  # fmt: skip
    @pytest.mark.filterwarnings("ignore::dreamvideo.errors.DreamVideoWarning")
    def test_of_several_the_default_and_then_the_largest_is_dreamed(
        self,
        defaults: tuple[bool, bool],
        expected: tuple[float, ...],
        make_clip: MakeClip,
        film: Path,
        tmp_path: Path,
    ) -> None:
        small = make_clip("small.mp4", "color=green:s=96x64:r=25:d=0.2", *X264)
        flags = ["default" if is_default else "0" for is_default in defaults]
        ffmpeg(
            *("-i", small, "-i", film, "-map", "0:v", "-map", "1:v", "-c", "copy"),
            *("-disposition:v:0", flags[0], "-disposition:v:1", flags[1]),
            *("-default_mode", "passthrough", tmp_path / "two.mkv"),
        )
        assert colour_of(tmp_path / "two.mkv") == expected

    @pytest.mark.filterwarnings("ignore::dreamvideo.errors.DreamVideoWarning")
    def test_measure_takes_the_stream_that_was_dreamed(
        self, thumbnail_first: Path, tmp_path: Path
    ) -> None:
        settings = replace(UNTOUCHED, stream=0)
        dream_video(thumbnail_first, tmp_path / "o.mp4", settings)
        comparison = compare_videos(str(thumbnail_first), str(tmp_path / "o.mp4"), settings)
        assert (comparison.width_px, len(comparison.measured.frames)) == (64, 1)
        assert main(["measure", str(thumbnail_first), str(tmp_path / "o.mp4"), "--quiet"]) == 0

    def test_a_folder_has_no_streams(self, tmp_path: Path) -> None:
        (tmp_path / "frames").mkdir()
        Image.new("RGB", (32, 32)).save(tmp_path / "frames" / "1.png")
        with pytest.raises(UsageError, match="--stream 1 is for"):
            dream_video(tmp_path / "frames", tmp_path / "o.mp4", replace(UNTOUCHED, stream=1))


class TestCovers:
    @pytest.fixture
    def with_cover(self, film: Path, cover: Path, tmp_path: Path) -> Path:
        ffmpeg(
            *("-i", film, "-i", cover, "-map", "0", "-map", "1", "-c", "copy"),
            *("-disposition:v:1", "attached_pic", tmp_path / "in.mp4"),
        )
        return tmp_path / "in.mp4"

    @pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
    def test_a_cover_stays_a_cover(
        self, suffix: str, with_cover: Path, cover: Path, tmp_path: Path
    ) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            dream_video(with_cover, tmp_path / f"o{suffix}", UNTOUCHED)
            dream_video(tmp_path / f"o{suffix}", tmp_path / "again.mp4", UNTOUCHED)
            dream_video(tmp_path / f"o{suffix}", tmp_path / "again.mkv", UNTOUCHED)
        for name in (f"o{suffix}", "again.mp4", "again.mkv"):
            assert covers_in(tmp_path / name) == [cover.read_bytes()]
            assert colour_of(tmp_path / name) == BLUE
            assert len(frames_of(tmp_path / name)) == 12

    def test_a_cover_of_a_part(self, with_cover: Path, cover: Path, tmp_path: Path) -> None:
        dream_video(with_cover, tmp_path / "o.mp4", replace(UNTOUCHED, start=0.2))
        assert covers_in(tmp_path / "o.mp4") == [cover.read_bytes()]
        (first, *_) = frames_of(tmp_path / "o.mp4")
        assert first.time_seconds == 0

    @pytest.mark.parametrize("suffix", [".webm", ".mov"])
    def test_a_cover_that_the_container_cannot_hold_is_named(
        self, suffix: str, with_cover: Path, tmp_path: Path
    ) -> None:
        settings = replace(UNTOUCHED, crf=30, size=64)
        with pytest.warns(DreamVideoWarning, match=rf"{suffix} file is without stream 2 \(a cover"):
            dream_video(with_cover, tmp_path / f"o{suffix}", settings)
        assert covers_in(tmp_path / f"o{suffix}") == []

    def test_a_cover_is_no_video_to_choose(self, with_cover: Path, tmp_path: Path) -> None:
        message = r"no video stream 2 .*are stream 0 \(h264, 160x90\)$"
        with pytest.raises(InputError, match=message):
            dream_video(with_cover, tmp_path / "o.mp4", replace(UNTOUCHED, stream=2))

    def test_a_song_with_a_cover_has_no_video(self, cover: Path, tmp_path: Path) -> None:
        sound = ("-f", "lavfi", "-i", "sine=d=0.2")
        ffmpeg(*sound, "-i", cover, "-map", "0", "-map", "1", "-c:v", "copy", tmp_path / "a.mp3")
        with pytest.raises(InputError, match="no video stream that can be decoded"):
            dream_video(tmp_path / "a.mp3", tmp_path / "o.mp4", UNTOUCHED)


class TestLeftOut:
    def test_attached_files_and_data_are_named(self, film: Path, tmp_path: Path) -> None:
        (tmp_path / "font.ttf").write_bytes(b"letters")
        attach = ("-attach", tmp_path / "font.ttf", "-metadata:s:t", "mimetype=font/ttf")
        ffmpeg("-i", film, *attach, "-c", "copy", tmp_path / "a.mkv")
        with pytest.warns(DreamVideoWarning, match=r"\.mp4 file is without stream 2 \(font\.ttf\)"):
            dream_video(tmp_path / "a.mkv", tmp_path / "o.mp4", UNTOUCHED)
        ffmpeg("-i", film, "-c", "copy", "-timecode", "01:00:00:00", tmp_path / "a.mov")
        with pytest.warns(DreamVideoWarning, match=r"\.mkv file is without stream 2 \(data\)"):
            dream_video(tmp_path / "a.mov", tmp_path / "o.mkv", UNTOUCHED)

    def test_chapters_are_not_named_since_they_are_carried_over(
        self, film: Path, tmp_path: Path
    ) -> None:
        chapters = ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=400\ntitle=One\n"
        (tmp_path / "chapters.txt").write_text(chapters)
        ffmpeg(
            *("-i", film, "-i", tmp_path / "chapters.txt", "-map", "0", "-map_metadata", "1"),
            *("-c", "copy", tmp_path / "a.mp4"),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            dream_video(tmp_path / "a.mp4", tmp_path / "o.mp4", UNTOUCHED)
        with av.open(str(tmp_path / "o.mp4")) as video:
            assert [chapter["metadata"]["title"] for chapter in video.chapters()] == ["One"]


class TestSize:
    def turned(self, size: str, make_clip: MakeClip, tmp_path: Path) -> Path:
        """White of 160x90, then of another size, in one stream."""
        parts = [
            make_clip(f"{part}.h264", f"color=white:s={part}:r=25:d=0.2", *X264, "-bf", "0")
            for part in ("160x90", size)
        ]
        path = tmp_path / "turned.h264"
        path.write_bytes(b"".join(part.read_bytes() for part in parts))
        return path

    def test_another_shape_gets_bars(self, make_clip: MakeClip, tmp_path: Path) -> None:
        path = self.turned("90x160", make_clip, tmp_path)
        message = r"changes from 160x90 to 90x160 pixels; .*bars"
        with pytest.warns(DreamVideoWarning, match=message) as caught:
            dream_video(path, tmp_path / "o.mkv", replace(UNTOUCHED, encoder="ffv1", crf=None))
        assert len(caught) == 1
        frames = frames_of(tmp_path / "o.mkv")
        assert len(frames) == 10
        assert all(frame.image.min() > 0.98 for frame in frames[:5])
        columns = np.zeros(160)
        columns[54:105] = 1  # 90 x 90 / 160 = 50.6 columns
        for frame in frames[5:]:
            assert np.abs(frame.image - columns[None, :, None]).max() < 0.02

    @pytest.mark.parametrize("size", ["320x180", "80x44"])
    def test_the_same_shape_in_another_size_fills_the_frame(
        self, size: str, make_clip: MakeClip, tmp_path: Path
    ) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            frames = frames_of(self.turned(size, make_clip, tmp_path))
        assert {frame.image.shape for frame in frames} == {(90, 160, 3)}
        assert all(frame.image.min() > 0.98 for frame in frames)

    def test_a_resumed_run_gets_the_same_bars(self, make_clip: MakeClip, tmp_path: Path) -> None:
        location = Location(str(self.turned("90x160", make_clip, tmp_path)))
        position = FramePosition(7, Fraction(7, 25))
        with (
            pytest.warns(DreamVideoWarning, match="bars"),
            open_source(location, Settings()) as source,
            open_source(location, Settings(), position) as resumed,
        ):
            for one, other in zip(list(source)[7:], resumed, strict=True):
                assert np.array_equal(one.image, other.image)


def with_dolby_vision(video: bytes, profile: int, compatibility: int) -> bytes:
    """An MP4 of HEVC with a configuration record of Dolby Vision."""
    record = bytes([1, 0, profile << 1, 0b1101, compatibility << 4, *[0] * 19])
    box = struct.pack(">I4s", 8 + len(record), b"dvcC") + record
    changed = bytearray(video)
    start, end = 0, len(changed)
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"hvc1"):
        while bytes(changed[start + 4 : start + 8]) != name:
            start += struct.unpack_from(">I", changed, start)[0]
        size = struct.unpack_from(">I", changed, start)[0]
        struct.pack_into(">I", changed, start, size + len(box))
        end = start + size
        start += 16 if name == b"stsd" else 8
    changed[end:end] = box
    return bytes(changed)


class TestDolbyVision:
    @pytest.fixture
    def hevc(self, make_clip: MakeClip) -> Path:
        source = "testsrc2=s=96x64:r=25:d=0.2"
        options = ("-c:v", "libx265", "-x265-params", "log-level=error", "-tag:v", "hvc1")
        return make_clip("hevc.mp4", source, *options)

    @pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
    def test_colours_of_dolby_vision_alone_are_refused(
        self, suffix: str, hevc: Path, tmp_path: Path
    ) -> None:
        path = tmp_path / f"a{suffix}"
        if suffix == ".mkv":
            (tmp_path / "a.mp4").write_bytes(with_dolby_vision(hevc.read_bytes(), 5, 0))
            ffmpeg("-i", tmp_path / "a.mp4", "-c", "copy", "-strict", "unofficial", path)
        else:
            path.write_bytes(with_dolby_vision(hevc.read_bytes(), 5, 0))
        with pytest.raises(InputError, match=rf"a\{suffix} is Dolby Vision of profile 5, .*HDR10"):
            dream_video(path, tmp_path / "o.mp4", UNTOUCHED)
        assert not list(tmp_path.glob("o.*"))

    @pytest.mark.parametrize(("profile", "compatibility"), [(8, 1), (8, 4), (7, 6), (5, 1)])
    def test_colours_that_others_show_are_read(
        self, profile: int, compatibility: int, hevc: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "a.mp4").write_bytes(
            with_dolby_vision(hevc.read_bytes(), profile, compatibility)
        )
        for one, other in zip(frames_of(hevc), frames_of(tmp_path / "a.mp4"), strict=True):
            assert np.array_equal(one.image, other.image)
