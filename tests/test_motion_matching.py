"""Flow, warp, reliability and cuts on motion that is known exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch
from torchvision.models.optical_flow import raft_small

from dreamvideo.motion import flow as flow_module
from dreamvideo.motion.confidence import strict_confidence
from dreamvideo.motion.flow import FlowEstimator, Raft, open_flow, single_threaded_opencv
from dreamvideo.motion.matching import FLOW_MAX_PX, match_frames
from dreamvideo.motion.scene_cuts import is_cut
from dreamvideo.motion.warp import UNMATCHED_SHARE, carry, carry_map, warp
from dreamvideo.types import FloatArray, Frame, Motion

CPU = torch.device("cpu")
HEIGHT, WIDTH = 120, 160
WARM, COLD = np.array([[1, 0.4, 0.4], [0.3, 0.5, 1]], np.float32)


def scene(seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> FloatArray:
    """Soft blobs at several scales, as flow wants them, in saturated colours."""
    random = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3), np.float32)
    for blur in (2, 6, 16):
        noise = random.standard_normal((height, width, 3)).astype(np.float32)
        layer = cv2.GaussianBlur(noise, (0, 0), blur)
        picture += layer / layer.std()
    picture -= picture.min()
    picture /= picture.max()
    return picture


def moved(picture: FloatArray, right: float, down: float) -> FloatArray:
    """The picture shifted by that many pixels, its edge repeated."""
    matrix = np.array([[1, 0, right], [0, 1, down]], np.float32)
    height, width = picture.shape[:2]
    shifted = cv2.warpAffine(
        picture, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(shifted.clip(0, 1), np.float32)


def constant_flow(right: float, down: float) -> FloatArray:
    return np.full((HEIGHT, WIDTH, 2), (right, down), np.float32)


@pytest.fixture
def raft_of_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """RAFT with random weights, so that no test needs a download."""
    torch.manual_seed(0)
    network = Raft(raft_small(weights=None).eval())
    monkeypatch.setattr(flow_module, "load_raft", lambda device: network)


@pytest.mark.usefixtures("raft_of_noise")
@pytest.mark.parametrize("name", ["dis", "raft"])
class TestEveryFlow:
    def open(self, name: str) -> FlowEstimator:
        estimator = open_flow(name, CPU)
        assert estimator is not None
        return estimator

    @pytest.mark.parametrize("size", [(HEIGHT, WIDTH), (97, 131), (8, 8), (1, 1), (20, 300)])
    def test_shape_and_type(self, name: str, size: tuple[int, int]) -> None:
        picture = scene(0, *size) if min(size) > 1 else np.zeros((*size, 3), np.float32)
        flow = self.open(name)(picture, picture[::-1].copy())
        assert flow.shape == (*size, 2)
        assert flow.dtype == np.float32
        assert np.isfinite(flow).all()

    def test_same_in_every_thread(self, name: str) -> None:
        estimator = self.open(name)
        pair = scene(0), moved(scene(0), 3, 1)
        alone = estimator(*pair)
        with ThreadPoolExecutor(3) as threads:
            for flow in threads.map(lambda _: estimator(*pair), range(6)):
                np.testing.assert_allclose(flow, alone, atol=1e-3)


class TestThreadsOfOpenCV:
    """The host program's number of threads is left as it was."""

    @pytest.fixture(autouse=True)
    def host_threads(self) -> Iterator[None]:
        before = cv2.getNumThreads()
        cv2.setNumThreads(3)
        yield
        cv2.setNumThreads(before)

    def test_one_thread_inside_and_the_same_number_afterwards(self) -> None:
        with single_threaded_opencv():
            assert cv2.getNumThreads() == 1
            with single_threaded_opencv():
                pass
            assert cv2.getNumThreads() == 1
        assert cv2.getNumThreads() == 3

    def test_restored_after_an_error(self) -> None:
        with pytest.raises(ZeroDivisionError), single_threaded_opencv():
            raise ZeroDivisionError
        assert cv2.getNumThreads() == 3

    def test_overlapping_uses_end_with_the_last_one(self) -> None:
        first, second = single_threaded_opencv(), single_threaded_opencv()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert cv2.getNumThreads() == 1
        second.__exit__(None, None, None)
        assert cv2.getNumThreads() == 3

    def test_flow_does_not_depend_on_it(self) -> None:
        pair = scene(0), moved(scene(0), 3, 1)
        flows = []
        for threads in (1, 4):
            cv2.setNumThreads(threads)
            flows.append(dis()(*pair))
            assert cv2.getNumThreads() == threads
        np.testing.assert_array_equal(flows[0], flows[1])


def test_none_is_no_flow() -> None:
    assert open_flow("none", CPU) is None


def test_zero_flow_is_identity() -> None:
    picture = torch.from_numpy(scene()).permute(2, 0, 1)[None]
    same = warp(picture, torch.zeros(HEIGHT, WIDTH, 2))
    torch.testing.assert_close(same, picture, atol=1e-4, rtol=0)
    one = torch.rand(1, 3, 1, 1)
    torch.testing.assert_close(warp(one, torch.zeros(1, 1, 2)), one)


def test_warp_samples_at_the_match() -> None:
    picture = torch.zeros(1, 1, 5, 7)
    picture[0, 0, 3, 4] = 1
    flow = torch.zeros(5, 7, 2)
    flow[..., 0], flow[..., 1] = 2, 1  # x then y, towards the previous frame
    result = warp(picture, flow)
    assert result[0, 0, 2, 2] == pytest.approx(1, abs=1e-5)
    assert result.sum() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("fade_factor", [1.0, 0.4])
def test_carry_keeps_what_is_trusted_and_of_the_rest_a_part(fade_factor: float) -> None:
    residual = torch.ones(1, 3, HEIGHT, WIDTH)
    trust = np.zeros((HEIGHT, WIDTH), np.float32)
    trust[:, : WIDTH // 2] = 1
    motion = Motion(constant_flow(1, 0), trust, fade_factor)
    carried = carry(residual, carry_map(motion, (HEIGHT, WIDTH), CPU), 0.9)
    trusted, untrusted = carried.chunk(2, dim=3)
    torch.testing.assert_close(trusted, torch.full_like(trusted, 0.9 * fade_factor))
    # A half of the frame is matched.
    expected = torch.full_like(untrusted, 0.5 * UNMATCHED_SHARE * 0.9 * fade_factor)
    torch.testing.assert_close(untrusted, expected)


def test_nothing_is_carried_where_nothing_is_matched() -> None:
    """As at a cut that was not found: the old shot's dream does not show in the new one."""
    path = carry_map(
        Motion(constant_flow(1, 0), np.zeros((HEIGHT, WIDTH), np.float32)), (HEIGHT, WIDTH), CPU
    )
    assert carry(torch.ones(1, 3, HEIGHT, WIDTH), path, 1.0).abs().max() == 0


def test_what_comes_in_at_an_edge_begins_with_the_dream_beside_it_mirrored() -> None:
    columns = torch.arange(float(WIDTH)).expand(1, 3, HEIGHT, WIDTH)
    still = np.ones((HEIGHT, WIDTH), np.float32)
    carried = carry(
        columns, carry_map(Motion(constant_flow(4, 0), still), (HEIGHT, WIDTH), CPU), 1.0
    )
    coming = carried[0, 0, 0, -4:].tolist()
    assert coming == pytest.approx([WIDTH - 2, WIDTH - 3, WIDTH - 4, WIDTH - 5], abs=1e-3)


def test_motion_of_a_large_picture_is_measured_on_a_smaller_one() -> None:
    """A pan of 24 px to the right and 12 px down, on pictures of twice the bound."""
    size = (2 * FLOW_MAX_PX, FLOW_MAX_PX)
    large = cv2.resize(scene(), (size[0] + 24, size[1] + 12), interpolation=cv2.INTER_CUBIC)
    previous, current = large[12:, 24:].clip(0, 1), large[: size[1], : size[0]].clip(0, 1)
    motion = match_frames(frame(0, previous), frame(1, current), dis())
    assert motion is not None
    assert motion.flow_to_previous.shape == (FLOW_MAX_PX // 2, FLOW_MAX_PX, 2)
    error = np.linalg.norm(motion.flow_to_previous - (-24, -12), axis=2)[32:-32, 32:-32]
    assert np.median(error) < 1
    residual = torch.from_numpy(previous).permute(2, 0, 1)[None]
    carried = carry(residual, carry_map(motion, current.shape[:2], CPU), 1.0)
    assert carried.shape == residual.shape
    difference = carried[0].permute(1, 2, 0).numpy() - current
    assert np.abs(difference[64:-64, 64:-64]).mean() < 0.02


class TestReliability:
    def test_a_pan_is_trusted_but_where_it_leaves_the_frame(self) -> None:
        mask = strict_confidence(constant_flow(-10, 0), constant_flow(10, 0))
        assert mask.dtype == np.float32
        assert mask[:, 16:].min() > 0.99
        assert mask[:, :6].max() < 0.01

    def test_flows_that_disagree_are_not_trusted(self) -> None:
        assert strict_confidence(constant_flow(4, 0), constant_flow(0, 0)).max() == 0

    def test_motion_boundaries_are_not_trusted(self) -> None:
        there = constant_flow(0, 0)
        there[40:80, 60:100] = (2, 0)
        mask = strict_confidence(there, -there)
        assert mask[60, 59:61].max() < 0.6
        assert mask[10, 10] > 0.99

    def test_what_a_moving_figure_uncovers_is_not_trusted(self) -> None:
        previous, current = scene(1), scene(1)
        figure = scene(2)[:40, :40]
        previous[40:80, 50:90] = figure
        current[40:80, 62:102] = figure
        motion = match_frames(frame(0, previous), frame(1, current), dis())
        assert motion is not None
        uncovered = motion.confidence[46:74, 53:59]
        assert uncovered.mean() < 0.35
        assert motion.confidence[90:, 20:140].mean() > 0.9


class TestCuts:
    def test_another_scene_is_a_cut(self) -> None:
        assert is_cut(scene(0) * WARM, scene(1) * COLD)

    @pytest.mark.parametrize(
        "change",
        [
            lambda picture: moved(picture, 15, 4),
            lambda picture: picture * np.float32(0.9),
            lambda picture: (picture + 0.02 * noise_like(picture)).clip(0, 1),
        ],
        ids=["pan", "darker", "noise"],
    )
    def test_motion_light_and_noise_are_not(
        self, change: Callable[[FloatArray], FloatArray]
    ) -> None:
        assert not is_cut(scene(), change(scene()))

    def test_no_motion_is_measured_across_a_cut(self) -> None:
        black, white = (np.full((64, 64, 3), value, np.float32) for value in (0.0, 1.0))
        assert match_frames(frame(0, black), frame(1, white), dis()) is None


def noise_like(picture: FloatArray) -> FloatArray:
    return np.random.default_rng(0).standard_normal(picture.shape, np.float32)


def frame(index: int, image: FloatArray) -> Frame:
    return Frame(index, Fraction(index, 25), image)


def dis() -> FlowEstimator:
    estimator = open_flow("dis", CPU)
    assert estimator is not None
    return estimator
