"""Every flow estimator keeps one contract, and finds motion that is known exactly."""

from __future__ import annotations

import urllib.error
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torchvision.models.optical_flow import Raft_Large_Weights, raft_small

from dreamvideo import Settings
from dreamvideo.errors import SettingsError, UsageError, WeightsError
from dreamvideo.motion.confidence import carry_confidence
from dreamvideo.motion.flow import (
    FLOW_ESTIMATORS,
    NO_FLOW,
    FarnebackFlow,
    FlowEstimator,
    Raft,
    load_raft,
    open_flow,
    single_threaded_opencv,
)
from dreamvideo.motion.warp import warp
from dreamvideo.types import FloatArray
from tests.synthetic_images import (
    Matrix,
    blobs,
    eight_bit,
    gaussian_noise,
    pan,
    photo_frame,
    photograph,
    rotation,
    shifted,
    true_flow,
)

CPU = torch.device("cpu")
# Farneback is for metrics and cannot be chosen.
FARNEBACK = "farneback"
EVERY_ESTIMATOR = [*FLOW_ESTIMATORS, FARNEBACK]
# Closer to the border, patches are partly outside.
BORDER_PX = 16


def open_estimator(name: str) -> FlowEstimator:
    estimator = FarnebackFlow() if name == FARNEBACK else open_flow(name, CPU)
    assert estimator is not None
    return estimator


@pytest.fixture(scope="module", params=EVERY_ESTIMATOR)
def untrained(request: pytest.FixtureRequest) -> FlowEstimator:
    """An estimator; RAFT is a small one with random weights, so that no test needs a download."""
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        network = Raft(raft_small(weights=None).eval())
        patch.setattr("dreamvideo.motion.flow.load_raft", lambda _device: network)
        return open_estimator(request.param)


@pytest.fixture(scope="module", params=EVERY_ESTIMATOR)
def estimator(request: pytest.FixtureRequest) -> FlowEstimator:
    """An estimator with its own weights."""
    return open_trained(request.param)


@pytest.fixture(scope="module", params=list(FLOW_ESTIMATORS))
def carrying(request: pytest.FixtureRequest) -> FlowEstimator:
    """An estimator that dreams can be carried with."""
    return open_trained(request.param)


def open_trained(name: str) -> FlowEstimator:
    weights = Path(Raft_Large_Weights.DEFAULT.url).name
    if name == "raft" and not (Path(torch.hub.get_dir()) / "checkpoints" / weights).exists():
        pytest.skip("the weights of raft are not in the cache")
    return open_estimator(name)


@pytest.fixture(scope="module")
def photo(sample_still: Path) -> FloatArray:
    return photograph(sample_still)


class TestContract:
    @pytest.mark.parametrize("size", [(120, 160), (97, 131), (8, 8), (1, 1), (20, 300)])
    def test_shape_and_type(self, untrained: FlowEstimator, size: tuple[int, int]) -> None:
        image = blobs(0, *size) if min(size) > 1 else np.zeros((*size, 3), np.float32)
        flow = untrained(image, image[::-1].copy())
        assert flow.shape == (*size, 2)
        assert flow.dtype == np.float32
        assert np.isfinite(flow).all()

    def test_images_and_earlier_results_are_not_changed(self, untrained: FlowEstimator) -> None:
        first, second = blobs(0), shifted(blobs(0), 3, 1)
        images = first.copy(), second.copy()
        flow = untrained(first, second)
        kept = flow.copy()
        assert not np.array_equal(untrained(second, first), kept)
        np.testing.assert_array_equal(flow, kept)
        np.testing.assert_array_equal([first, second], images)

    def test_same_in_every_thread(self, untrained: FlowEstimator) -> None:
        """Also where the threads work on images of different sizes."""
        pairs = [(image, shifted(image, 3, 1)) for image in (blobs(0), blobs(1), blobs(2, 97, 131))]
        expected = [untrained(*pair) for pair in pairs]
        with ThreadPoolExecutor(3) as threads:
            flows = list(threads.map(lambda turn: untrained(*pairs[turn % 3]), range(6)))
        for turn, flow in enumerate(flows):
            np.testing.assert_allclose(flow, expected[turn % 3], atol=1e-3)


class TestAccuracy:
    def test_equal_images_have_no_flow(self, estimator: FlowEstimator) -> None:
        assert np.abs(estimator(blobs(0), blobs(0))).mean() < 0.05

    def test_points_from_the_image_to_its_match(self, estimator: FlowEstimator) -> None:
        """Of content that moves to the right and down, the match is to the left and above."""
        assert end_point_error(estimator(shifted(blobs(0), 3, 1), blobs(0)), (-3, -1)) < 0.2

    @pytest.mark.parametrize(
        "motion",
        [pan(0), pan(2), pan(-2.5, 1.5), rotation(zoom=1.03), rotation(degrees=3)],
        ids=["still", "pan", "subpixel pan", "zoom", "rotation"],
    )
    def test_a_known_motion_is_found_trusted_and_undone(
        self, estimator: FlowEstimator, photo: FloatArray, motion: Matrix
    ) -> None:
        previous, current = photo_frame(photo, pan(0)), photo_frame(photo, motion)
        expected, inside = true_flow(motion)
        flows = estimator(current, previous), estimator(previous, current)
        assert end_point_error(flows[0], expected) < 0.35
        assert carry_confidence(current, previous, *flows)[inside].mean() > 0.95
        warped = warp(torch.from_numpy(previous).permute(2, 0, 1)[None], torch.from_numpy(flows[0]))
        difference = np.abs(warped[0].permute(1, 2, 0).numpy() - current).mean(axis=2)
        assert difference[inside].mean() < 0.02

    @pytest.mark.parametrize("blur_px", [1, 24], ids=["sharp", "motion blur"])
    def test_a_fast_pan_is_found(
        self, carrying: FlowEstimator, photo: FloatArray, blur_px: int
    ) -> None:
        """24 px per frame, on frames of 384 px."""
        large = np.asarray(cv2.resize(photo, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC))
        large = eight_bit(np.asarray(cv2.blur(large, (blur_px, 1))))
        current, previous = (large[60:276, left : left + 384].copy() for left in (120, 144))
        flow = carrying(
            current + gaussian_noise(current, 1 / 255, seed=0),
            previous + gaussian_noise(previous, 1 / 255, seed=1),
        )
        assert end_point_error(flow, (-24, 0), border_px=48) < 0.3


def end_point_error(
    flow: FloatArray, expected: FloatArray | tuple[float, float], border_px: int = BORDER_PX
) -> float:
    """Mean distance of two flows away from the border, px."""
    inner = slice(border_px, -border_px)
    return float(np.linalg.norm(flow - expected, axis=2)[inner, inner].mean())


class TestRegistry:
    def test_the_option_offers_every_estimator(self) -> None:
        names = [*FLOW_ESTIMATORS, NO_FLOW]
        assert [Settings(flow=name).flow for name in names] == names
        with pytest.raises(SettingsError, match=rf"one of {', '.join(names)}\b(?!,)"):
            Settings(flow=FARNEBACK)

    def test_none_is_no_estimator(self) -> None:
        assert open_flow(NO_FLOW, CPU) is None

    def test_an_unknown_name_is_an_error(self) -> None:
        with pytest.raises(UsageError, match=r"'tvl1'.*dis \(.*raft \(.*none"):
            open_flow("tvl1", CPU)


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
        flows = []
        for threads in (1, 4):
            cv2.setNumThreads(threads)
            flows.append(open_estimator("dis")(blobs(0), shifted(blobs(0), 3, 1)))
            assert cv2.getNumThreads() == threads
        np.testing.assert_array_equal(flows[0], flows[1])


def test_raft_without_network_says_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", refuse)
    with pytest.raises(WeightsError) as caught:
        load_raft(CPU)
    for word in ("raft_large", "https://", "no route to host", str(tmp_path), "flow dis"):
        assert word in str(caught.value)
