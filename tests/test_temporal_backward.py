"""The backward pass: what comes into view is dreamed already; it is bounded and resumable."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dreamvideo import Progress, Settings, dream_video
from dreamvideo.cli.main import main
from dreamvideo.dream.dreamer import Dreamer
from dreamvideo.errors import ResumeError, SettingsError, UsageError
from dreamvideo.job.work_folder import (
    open_work,
    resumable_backward_frames,
    resumable_frames,
    work_path,
)
from dreamvideo.media.read import Source
from dreamvideo.motion.flow import open_flow
from dreamvideo.motion.warp import carry, carry_map
from dreamvideo.temporal import backward
from dreamvideo.temporal.backward import ShotList, chunk_length, dream_backward, find_shots
from dreamvideo.temporal.video import dream_video_frames
from dreamvideo.types import FloatArray, Frame, FramePosition, Motion, VideoInfo
from scripts.coherence import FramesInMemory
from tests.conftest import StoppedError, ffmpeg, frames_of, stop_at

FRAMES = 24
CHUNK = 5
SEGMENT = 6
# For video files: the smallest size that is dreamed at all.
DREAM = Settings(
    size=64, octaves=1, iterations=2, device="cpu", preset="ultrafast", crf=0,
    segment_frames=SEGMENT, passes=2,
)  # fmt: skip


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backward, "CHUNK_FRAMES", CHUNK)


@pytest.fixture(scope="module")
def clip(sample_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames of the sample with B frames and key frames far apart, and a cut."""
    path = tmp_path_factory.mktemp("passes") / "clip.mp4"
    cut = (
        f"trim=end_frame={FRAMES},scale=64:-2,split[a][b];[b]hflip,negate[c];"
        "[a][c]overlay=enable='gte(n,13)'"
    )
    ffmpeg("-i", sample_clip, "-filter_complex", cut, "-an", "-bf", "2", "-g", "100", path)
    return path


@pytest.fixture(scope="module")
def uninterrupted(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With chunks that hold the whole video."""
    out = tmp_path_factory.mktemp("whole") / "out.mp4"
    assert backward.CHUNK_FRAMES > FRAMES
    assert dream_video(clip, out, DREAM).frames == FRAMES
    return out


def assert_same_images(one: Path, other: Path) -> None:
    for a, b in zip(frames_of(one), frames_of(other), strict=True):
        assert a.time_seconds == b.time_seconds
        assert np.array_equal(a.image, b.image), f"frame {a.index}"


class FromMemory(FramesInMemory):
    """A video in memory that can be read from any frame."""

    first = 0

    def __iter__(self) -> Iterator[Frame]:
        return iter(self.frames[self.first :])


def backward_residuals(
    frames: list[Frame], dreamer: Dreamer, settings: Settings, folder: Path
) -> list[FloatArray]:
    """The residual of each frame of a backward pass."""

    @contextmanager
    def reopen(resume_at: FramePosition | None) -> Iterator[Source]:
        video = FromMemory(frames)
        video.first = resume_at.index if resume_at else 0
        yield video

    height, width = frames[0].image.shape[:2]
    info, flow = VideoInfo(width, height, len(frames)), open_flow("dis", dreamer.device)
    assert flow is not None
    with open_work(folder / "video.mp4") as work:
        store = work.residual_store
        assert dream_backward(reopen, info, dreamer, settings, flow, store) == len(frames)
        residuals = [store.load(frame.index) for frame in frames]
        work.clear()
    return residuals


def forward_dreams(
    frames: list[Frame], dreamer: Dreamer, settings: Settings, residuals: list[FloatArray] | None
) -> list[FloatArray]:
    """The dreams of a forward pass, with the residuals of a backward pass or without."""
    video, flow = FramesInMemory(frames), open_flow("dis", dreamer.device)
    load_residual = None if residuals is None else residuals.__getitem__
    dream_video_frames(video, video, dreamer, settings, flow, load_residual=load_residual)
    return video.dreams


def textured(seed: int, height: int, width: int, mean: float) -> FloatArray:
    """Smooth coloured noise (height, width, 3) around a brightness."""
    noise = np.random.default_rng(seed).normal(size=(height, width, 3))
    blurred = cv2.GaussianBlur(noise, (0, 0), 2.0)
    image: FloatArray = np.clip(mean + 0.12 * blurred / blurred.std(), 0, 1).astype(np.float32)
    return image


def as_frames(images: list[FloatArray]) -> list[Frame]:
    return [Frame(i, Fraction(i, 25), np.ascontiguousarray(im)) for i, im in enumerate(images)]


@pytest.fixture(scope="module")
def pan() -> list[Frame]:
    """A view of 96×64 px that moves to the right by 4 px per frame."""
    wide = textured(3, 64, 200, 0.5)
    return as_frames([wide[:, 4 * i : 4 * i + 96] for i in range(14)])


@pytest.fixture(scope="module")
def two_shots(sample_clip: Path) -> list[Frame]:
    """Seven frames of one scene, then seven of another."""
    other = textured(5, 64, 96, 0.3)
    other[..., 0] *= 0.3
    shown = [textured(4, 64, 96, 0.6) * np.array([1, 0.8, 0.4], np.float32)] * 7
    return as_frames([*shown, *[other] * 7])


class TestVideoFiles:
    def test_frames_and_times_are_kept_and_no_work_folder_remains(
        self, clip: Path, uninterrupted: Path
    ) -> None:
        before, after = frames_of(clip), frames_of(uninterrupted)
        assert [f.time_seconds for f in before] == [f.time_seconds for f in after]
        assert list(uninterrupted.parent.iterdir()) == [uninterrupted]

    def test_chunks_do_not_change_the_frames(
        self, clip: Path, uninterrupted: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out.mp4"
        assert dream_video(clip, out, DREAM).frames == FRAMES
        assert_same_images(out, uninterrupted)

    def test_two_passes_differ_from_one(
        self, clip: Path, uninterrupted: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out.mp4"
        dream_video(clip, out, replace(DREAM, passes=1))
        pairs = list(zip(frames_of(out), frames_of(uninterrupted), strict=True))
        assert np.array_equal(pairs[0][0].image, pairs[0][1].image)
        assert any(not np.array_equal(a.image, b.image) for a, b in pairs)

    def test_progress_counts_both_passes(self, clip: Path, tmp_path: Path) -> None:
        reported: list[Progress] = []
        summary = dream_video(clip, tmp_path / "out.mp4", DREAM, reported.append)
        assert [progress.frames_done for progress in reported] == list(range(1, 2 * FRAMES + 1))
        assert {progress.frame_count for progress in reported} == {2 * FRAMES}
        assert summary.frames == FRAMES

    def test_folders(self, clip: Path, tmp_path: Path) -> None:
        images, whole, out = (tmp_path / name for name in ("images", "whole", "out"))
        dream_video(clip, images, Settings(strength=0, device="cpu", end=0.4))
        dream_video(images, whole, DREAM)
        with pytest.raises(StoppedError):
            dream_video(images, out, DREAM, stop_at(9))
        assert dream_video(images, out, DREAM).frames == len(list(images.iterdir()))
        for image in whole.iterdir():
            assert image.read_bytes() == (out / image.name).read_bytes()
        assert sorted(tmp_path.iterdir()) == sorted([images, whole, out])


class TestWhatComesIntoView:
    def test_is_dreamed_at_once(self, pan: list[Frame], dreamer: Dreamer, tmp_path: Path) -> None:
        """In a pan, in the four columns that have just come into view at the right."""
        settings = Settings(octaves=2, iterations=6)
        residuals = backward_residuals(pan, dreamer, settings, tmp_path)
        one, two = (forward_dreams(pan, dreamer, settings, each) for each in (None, residuals))
        new, old = [], []
        for frame, without, within in zip(pan[1:-4], one[1:-4], two[1:-4], strict=True):
            changes = [np.abs(dream - frame.image) for dream in (without, within)]
            new.append([change[:, -4:].mean() for change in changes])
            old.append([change[:, 20:70].mean() for change in changes])
        (new_one, new_two), (old_one, old_two) = np.mean(new, 0), np.mean(old, 0)
        assert new_two > 1.3 * new_one
        assert 0.85 < old_two / old_one < 1.2

    def test_only_what_has_no_match_is_taken_from_the_backward_pass(self) -> None:
        flow, confidence = np.zeros((8, 8, 2), np.float32), np.ones((8, 8), np.float32)
        confidence[:, 6:] = 0
        prior = torch.full((1, 3, 4, 4), 0.5)
        mapping = carry_map(Motion(flow, confidence), (8, 8), torch.device("cpu"), prior)
        carried = carry(torch.full((1, 3, 8, 8), 0.25), mapping, 0.8)
        torch.testing.assert_close(carried[..., :6], torch.full((1, 3, 8, 6), 0.2))
        torch.testing.assert_close(carried[..., 6:], torch.full((1, 3, 8, 2), 0.4))


class TestShots:
    def test_do_not_affect_each_other(
        self, two_shots: list[Frame], dreamer: Dreamer, tmp_path: Path
    ) -> None:
        """The residuals of a shot do not depend on the shot after it or before it."""

        def residuals(frames: list[Frame]) -> list[FloatArray]:
            settings = Settings(octaves=1, iterations=2)
            return backward_residuals(frames, dreamer, settings, tmp_path)

        of_both = residuals(two_shots)
        for joined, single in zip(of_both[:7], residuals(two_shots[:7]), strict=True):
            assert np.array_equal(joined, single)
        changed = [*as_frames([1 - frame.image for frame in two_shots[:7]]), *two_shots[7:]]
        for joined, other in zip(of_both[7:], residuals(changed)[7:], strict=True):
            assert np.array_equal(joined, other)

    def test_are_the_same_in_both_passes(self, two_shots: list[Frame]) -> None:
        @contextmanager
        def reopen(_: FramePosition | None) -> Iterator[Source]:
            yield FramesInMemory(two_shots)

        times = tuple(frame.time_seconds for frame in two_shots)
        assert find_shots(reopen, Settings()) == ShotList(list(times), frozenset({0, 7}))
        assert find_shots(reopen, Settings(cuts="0.1,0.4")).first_frames == {0, 3, 10}
        assert find_shots(reopen, Settings(cuts="none")).first_frames == {0}


class TestResume:
    @pytest.mark.parametrize("stop", [CHUNK + 1, 2 * CHUNK + 2, FRAMES - 1])
    def test_in_the_backward_pass(
        self, stop: int, clip: Path, uninterrupted: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out.mp4"
        with pytest.raises(StoppedError):
            dream_video(clip, out, DREAM, stop_at(stop))
        kept = (stop - 1) // CHUNK * CHUNK
        assert (resumable_backward_frames(out), resumable_frames(out)) == (kept, 0)
        reported: list[Progress] = []
        summary = dream_video(clip, out, DREAM, reported.append)
        assert reported[0].frames_done == kept + 1  # finished chunks are not dreamed again
        assert (summary.frames, summary.frames_resumed) == (FRAMES, 0)
        assert_same_images(out, uninterrupted)
        assert list(tmp_path.iterdir()) == [out]

    @pytest.mark.parametrize("stop", [1, 2 * SEGMENT + 2, FRAMES - 3])
    def test_in_the_forward_pass(
        self, stop: int, clip: Path, uninterrupted: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out.mp4"
        with pytest.raises(StoppedError):
            dream_video(clip, out, DREAM, stop_at(FRAMES + stop))
        kept = resumable_frames(out)
        assert resumable_backward_frames(out) == FRAMES
        reported: list[Progress] = []
        assert dream_video(clip, out, DREAM, reported.append).frames_resumed == kept
        assert reported[0].frames_done == FRAMES + kept + 1
        assert_same_images(out, uninterrupted)
        assert list(tmp_path.iterdir()) == [out]

    def test_files_that_a_kill_left_unfinished_are_replaced(
        self, clip: Path, uninterrupted: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out.mp4"
        with pytest.raises(StoppedError):
            dream_video(clip, out, DREAM, stop_at(CHUNK + 1))
        work = work_path(out)
        (work / f"back-{FRAMES - CHUNK - 1:06d}.npy").write_bytes(b"half of it")
        (work / f"back-state-{FRAMES - 2 * CHUNK:06d}.npz").write_bytes(b"half of it")
        (work / "back.json.new").write_text("{")
        dream_video(clip, out, DREAM)
        assert_same_images(out, uninterrupted)
        assert list(tmp_path.iterdir()) == [out]

    def test_another_run_is_refused_and_a_restart_clears_it(
        self, clip: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out.mp4"
        with pytest.raises(StoppedError):
            dream_video(clip, out, DREAM, stop_at(CHUNK + 1))
        with pytest.raises(ResumeError, match="passes 2, and this one has 1"):
            dream_video(clip, out, replace(DREAM, passes=1))
        with pytest.raises(StoppedError):
            dream_video(clip, out, DREAM, stop_at(1), restart=True)
        assert list(tmp_path.iterdir()) == []

    def test_an_interrupted_command_reports_what_is_kept(
        self,
        clip: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        def interrupt(_: Dreamer, *__: object) -> float:
            raise KeyboardInterrupt

        monkeypatch.setattr(Dreamer, "gain", interrupt)  # measured at frame 0, the last one
        words = [str(clip), str(tmp_path / "out.mp4"), "--passes", "2", "--size", "64"]
        words += ["--octaves", "1", "--iterations", "1", "--device", "cpu", "--quiet"]
        assert main(words) == 130
        kept = (FRAMES - 1) // CHUNK * CHUNK
        assert f"({kept} frames of the backward pass are kept" in capsys.readouterr().err


class TestRefusals:
    @pytest.mark.parametrize("changes", [{"flow": "none"}, {"independent": True}])
    def test_without_carried_dreams(self, changes: dict[str, object]) -> None:
        with pytest.raises(SettingsError, match="--passes 2 and --"):
            Settings(passes=2, **changes)  # type: ignore[arg-type]

    @pytest.mark.parametrize("passes", [0, 3])
    def test_other_numbers(self, passes: int) -> None:
        with pytest.raises(SettingsError, match="passes"):
            Settings(passes=passes)

    @pytest.mark.parametrize(("source", "output"), [("-", "out.mp4"), ("clip", "-")])
    def test_streams(self, source: str, output: str, clip: Path, tmp_path: Path) -> None:
        name = str(clip) if source == "clip" else source
        result = output if output == "-" else str(tmp_path / output)
        with pytest.raises(UsageError, match="--passes is for videos and folders of images, not"):
            dream_video(name, result, Settings(passes=2))
        assert list(tmp_path.iterdir()) == []

    def test_zooms(self, sample_still: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="--passes is for videos and folders"):
            dream_video(sample_still, tmp_path / "out.mp4", Settings(passes=2))


def test_chunks_of_large_images_are_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backward, "CHUNK_FRAMES", 32)
    assert chunk_length(640, 360) == 32
    assert chunk_length(1920, 1080) == 21
    assert chunk_length(7680, 4320) == backward.MIN_CHUNK_FRAMES
