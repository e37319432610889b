"""The work folder keeps what the next frame needs, and belongs to one run at a time."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
import torch

from dreamvideo.errors import OutputBusyError, OutputError
from dreamvideo.job.work_folder import Segment, open_work, resumable_frames, work_path
from dreamvideo.types import FramePosition, TargetLevel, TemporalState
from tests.conftest import CPU

FRAME_SECONDS = Fraction(1, 25)
LEVEL = TargetLevel((0.1 + 0.2, 1 / 3), (-7.123456789012345, 2 / 3), 1e-17)


def test_an_empty_work_folder_starts_at_the_first_frame(tmp_path: Path) -> None:
    with open_work(tmp_path / "a.mp4") as work:
        resume = work.resume_point(CPU)

    assert (resume.frames_done, resume.last_frame, resume.state) == (0, None, None)
    assert list(tmp_path.iterdir()) == []


def test_the_state_of_the_last_segment_is_kept_exactly(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    carried, freshness = (torch.rand(1, c, 4, 6, generator=generator) for c in (3, 1))
    with open_work(tmp_path / "a.mp4") as work:
        work.commit(Segment(0, 5, "4/25"), [], TemporalState(carried * 2))
        work.commit(Segment(5, 5, "9/25"), [], TemporalState(carried, LEVEL, freshness))

    with open_work(tmp_path / "a.mp4") as work:
        resume = work.resume_point(CPU)
        assert resume.frames_done == resumable_frames(tmp_path / "a.mp4") == 10
        assert resume.last_frame == FramePosition(9, 9 * FRAME_SECONDS)
        assert resume.state is not None
        assert resume.state.target_level == LEVEL
        assert resume.state.carried is not None
        assert torch.equal(resume.state.carried, carried)
        assert resume.state.freshness is not None
        assert torch.equal(resume.state.freshness, freshness)
        work.commit(Segment(10, 5, "14/25"), [])
        last = work.resume_point(CPU).state
        assert last is not None
        assert (last.carried, last.target_level, last.freshness) == (None, None, None)
        work.clear()


def test_a_second_run_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    output = tmp_path / "a.mp4"
    with open_work(output), pytest.raises(OutputBusyError, match="another run is writing"):
        open_work(output).__enter__()
    with open_work(output):
        pass


def test_a_file_in_the_place_of_the_folder_is_kept(tmp_path: Path) -> None:
    work_path(tmp_path / "a.mp4").write_text("precious")
    with pytest.raises(OutputError, match="is a file"), open_work(tmp_path / "a.mp4"):
        pass
    assert work_path(tmp_path / "a.mp4").read_text() == "precious"
