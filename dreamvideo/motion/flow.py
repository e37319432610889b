"""Optical flow estimators, by name."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from dreamvideo.errors import WeightsError
from dreamvideo.types import FloatArray

# RAFT correlates features at an eighth of the size over four halvings, and so needs sides that
# are multiples of 8 and at least 128 pixels.
RAFT_SIDE_MULTIPLE_PX = 8
RAFT_MIN_SIDE_PX = 128


class Raft(nn.Module):
    """Flow between pictures of any size."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        """Flow (N, 2, H, W) in pixels, x then y, from each pixel of `image` to its match.

        Both pictures are (N, 3, H, W), RGB in [0, 1].
        """
        height, width = image.shape[-2:]
        padding = (0, _raft_padding(width), 0, _raft_padding(height))
        padded = [
            nn.functional.pad(picture * 2 - 1, padding, mode="replicate")
            for picture in (image, target)
        ]
        flow: Tensor = self.network(*padded)[-1]
        return flow[..., :height, :width]


def load_raft(device: torch.device) -> Raft:
    """RAFT with torchvision's default weights, downloaded on first use into torch's cache.

    Raises:
        WeightsError: the weights are not in the cache and cannot be downloaded.
    """
    from torchvision.models.optical_flow import Raft_Large_Weights, raft_large

    weights = Raft_Large_Weights.DEFAULT
    try:
        network = raft_large(weights=weights, progress=False)
    except Exception as error:  # torch and the network raise a score of types here
        cache = Path(torch.hub.get_dir()) / "checkpoints"
        raise WeightsError(
            f"cannot get the weights of raft from {weights.url}: {error}; "
            f"go online once, or put that file into {cache} (delete a damaged one there), "
            "or use flow dis"
        ) from error
    return Raft(network.to(device).eval())


def _raft_padding(side_px: int) -> int:
    wanted = max(RAFT_MIN_SIDE_PX, -(-side_px // RAFT_SIDE_MULTIPLE_PX) * RAFT_SIDE_MULTIPLE_PX)
    return wanted - side_px


# In OpenCV 4, DIS searches the image in one stripe per thread and propagates matches within a
# stripe, so its result depends on the number of threads (OpenCV 5.0 gives one result with 1 to 8).
# One thread gives the same flow on every machine, and leaves the other cores to the network.
OPENCV_THREADS = 1
# OpenCV's DIS cannot build its pyramid below this (its finest patches are 8 px, on a half-size
# picture); smaller pictures are padded by repeating their edge.
MIN_DIS_SIDE_PX = 32
# The fast preset, but down to the half-size picture instead of the quarter, with fewer steps. By
# scripts/flow.py at 384×216, there and back, and the end-point error on a rotation:
#   ultrafast                  2.6 ms   0.50 px
#   fast                       4.0 ms   0.33 px
#   this                       9.5 ms   0.16 px
#   this, 16 and 5 steps      13.3 ms   0.14 px
#   medium                    19.7 ms   0.14 px
DIS_FINEST_HALVING = 1
DIS_DESCENT_STEPS = 12
DIS_REFINEMENT_STEPS = 2


class _ThreadCount:
    """OpenCV's number of threads, which is one setting of the whole process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = 0
        self._before = 0

    def hold(self) -> None:
        with self._lock:
            if self._holders == 0:
                self._before = cv2.getNumThreads()
                cv2.setNumThreads(OPENCV_THREADS)
            self._holders += 1

    def release(self) -> None:
        with self._lock:
            self._holders -= 1
            if self._holders == 0:
                cv2.setNumThreads(self._before)


_thread_count = _ThreadCount()


@contextmanager
def single_threaded_opencv() -> Iterator[None]:
    """Limit OpenCV to one thread, and restore the number of threads of the host program at the end.

    The number is one setting of the whole process, not of a thread. So uses are counted: they may
    be nested and may overlap in several threads, and only the end of the last one restores it.
    `DisFlow` enters it for each flow, which makes its result independent of the host's setting; a
    run enters it once around all its frames, so that OpenCV's threads do not compete with PyTorch's
    in between. While it is entered, OpenCV is single-threaded for the host program as well, and a
    number of threads that the host sets meanwhile is overwritten at the end.
    """
    _thread_count.hold()
    try:
        yield
    finally:
        _thread_count.release()


class FlowEstimator(Protocol):
    """Finds, for each pixel of a picture, its match in another. Safe to call from many threads."""

    def __call__(self, image: FloatArray, target: FloatArray) -> FloatArray:
        """Flow (H, W, 2) in px, x then y, from `image` to `target`, both (H, W, 3) in [0, 1]."""
        ...


def open_flow(name: str, device: torch.device) -> FlowEstimator | None:
    """The flow estimator called `dis` or `raft`; None for `none`.

    Raises:
        WeightsError: the weights of raft are not there and cannot be downloaded.
    """
    if name == "none":
        return None
    return DisFlow() if name == "dis" else RaftFlow(device)


class DisFlow:
    """Dense inverse search (Kroeger et al. 2016), on luma."""

    def __init__(self) -> None:
        self._of_thread = threading.local()

    def __call__(self, image: FloatArray, target: FloatArray) -> FloatArray:
        """See `FlowEstimator`."""
        height, width = image.shape[:2]
        with single_threaded_opencv():
            # An array in place of None would be taken for a first guess.
            flow = self._estimator().calc(_luma(image), _luma(target), None)  # type: ignore[call-overload]
        return np.ascontiguousarray(flow[:height, :width], dtype=np.float32)

    def _estimator(self) -> cv2.DISOpticalFlow:
        # An estimator keeps its working memory, so each thread has one of its own.
        if not hasattr(self._of_thread, "estimator"):
            preset = cv2.DISOPTICAL_FLOW_PRESET_FAST
            estimator = cv2.DISOpticalFlow.create(preset)
            estimator.setFinestScale(DIS_FINEST_HALVING)
            estimator.setGradientDescentIterations(DIS_DESCENT_STEPS)
            estimator.setVariationalRefinementIterations(DIS_REFINEMENT_STEPS)
            self._of_thread.estimator = estimator
        result: cv2.DISOpticalFlow = self._of_thread.estimator
        return result


class RaftFlow:
    """RAFT, a recurrent network: slower than DIS and truer on large motion."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._network = load_raft(device)
        # torchvision's network keeps its correlations in itself between two steps.
        self._turn = threading.Lock()

    def __call__(self, image: FloatArray, target: FloatArray) -> FloatArray:
        """See `FlowEstimator`."""
        pair = [
            torch.from_numpy(picture).to(self._device).permute(2, 0, 1)[None]
            for picture in (image, target)
        ]
        with self._turn, torch.inference_mode():
            flow = self._network(*pair)
        result: FloatArray = flow[0].permute(1, 2, 0).contiguous().cpu().numpy()
        return result


class FarnebackFlow:
    """Polynomial expansion (Farnebäck 2003): to measure with, beside whatever flow has warped."""

    def __call__(self, image: FloatArray, target: FloatArray) -> FloatArray:
        """See `FlowEstimator`."""
        height, width = image.shape[:2]
        flow = np.zeros((height, width, 2), np.float32)
        cv2.calcOpticalFlowFarneback(
            *(_luma(image)[:height, :width], _luma(target)[:height, :width], flow),
            pyr_scale=0.5, levels=5, winsize=15, iterations=5, poly_n=7, poly_sigma=1.5, flags=0,
        )  # fmt: skip
        return flow


def _luma(image: FloatArray) -> npt.NDArray[np.uint8]:
    """(H, W, 3) in [0, 1] to the 8-bit grey picture that DIS takes, padded to its smallest size."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    below, right = (max(0, MIN_DIS_SIDE_PX - side) for side in grey.shape)
    if below or right:
        grey = cv2.copyMakeBorder(grey, 0, below, 0, right, cv2.BORDER_REPLICATE)
    return np.rint(grey * 255).astype(np.uint8)
