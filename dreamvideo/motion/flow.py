"""Optical flow estimators and their registry.

To add one, write a class that satisfies `FlowEstimator`, give it a row in `FLOW_ESTIMATORS` and add
its name to the choices of `flow` in `settings/dream_options.py`. The tests run over every row.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from dreamvideo.errors import UsageError, WeightsError
from dreamvideo.types import FloatArray

# In OpenCV 4, DIS searches the image in one stripe per thread and propagates matches within a
# stripe, so its result depends on the number of threads (OpenCV 5.0 gives one result with 1 to 8).
# One thread gives the same flow on every machine, and leaves the other cores to the network.
OPENCV_THREADS = 1
# OpenCV's DIS cannot build its pyramid below this (its smallest patches are 8 px, on the half-size
# image); smaller images are padded by repeating their edge.
MIN_DIS_SIDE_PX = 32
# The fast preset, but down to the half-size image instead of the quarter-size one, with fewer
# iterations. Measured by scripts/flow.py at 384×216: time of both directions, and end-point error
# on a rotation:
#   ultrafast                        2.6 ms   0.50 px
#   fast                             4.0 ms   0.33 px
#   this                             9.5 ms   0.16 px
#   this, 16 and 5 iterations       13.3 ms   0.14 px
#   medium                          19.7 ms   0.14 px
DIS_FINEST_HALVING = 1
DIS_DESCENT_ITERATIONS = 12
DIS_REFINEMENT_ITERATIONS = 2
# RAFT correlates features at an eighth of the size over four halvings, and so needs sides that
# are multiples of 8 and at least 128 pixels.
RAFT_SIDE_MULTIPLE_PX = 8
RAFT_MIN_SIDE_PX = 128


class FlowEstimator(Protocol):
    """Estimates optical flow. Safe to call from several threads at once."""

    def __call__(self, image: FloatArray, target: FloatArray) -> FloatArray:
        """Flow from each pixel of an image to its match in another one.

        Args:
            image: (H, W, 3), RGB in [0, 1]; any size from 1×1 up.
            target: the other image, of the same shape.

        Returns:
            (H, W, 2) float32 in px, x then y.
        """
        ...


class _ThreadLimit:
    """Limits OpenCV to `OPENCV_THREADS` while at least one user holds the limit."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = 0
        self._threads_before = 0

    def acquire(self) -> None:
        with self._lock:
            if self._holders == 0:
                self._threads_before = cv2.getNumThreads()
                cv2.setNumThreads(OPENCV_THREADS)
            self._holders += 1

    def release(self) -> None:
        with self._lock:
            self._holders -= 1
            if self._holders == 0:
                cv2.setNumThreads(self._threads_before)


_thread_limit = _ThreadLimit()


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
    _thread_limit.acquire()
    try:
        yield
    finally:
        _thread_limit.release()


class DisFlow:
    """DIS (Kroeger et al. 2016, "Fast optical flow using dense inverse search"), on luma."""

    def __call__(self, image: FloatArray, target: FloatArray) -> FloatArray:
        """See `FlowEstimator`."""
        height, width = image.shape[:2]
        # Not reused: it is not thread-safe, and an image of less than 48 px changes its settings.
        # Creating one takes 0.06 ms.
        estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        estimator.setFinestScale(DIS_FINEST_HALVING)
        estimator.setGradientDescentIterations(DIS_DESCENT_ITERATIONS)
        estimator.setVariationalRefinementIterations(DIS_REFINEMENT_ITERATIONS)
        with single_threaded_opencv():
            # OpenCV would take an array in place of None as a first guess.
            flow = estimator.calc(_padded_luma(image), _padded_luma(target), None)  # type: ignore[call-overload]
        return np.ascontiguousarray(flow[:height, :width], dtype=np.float32)


class RaftFlow:
    """RAFT (Teed and Deng 2020): slower than DIS, more accurate on large motion."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._network = load_raft(device)
        # torchvision's network stores the correlations of the current pair in itself.
        self._lock = threading.Lock()

    def __call__(self, image: FloatArray, target: FloatArray) -> FloatArray:
        """See `FlowEstimator`."""
        pair = [
            torch.from_numpy(pixels).to(self._device).permute(2, 0, 1)[None]
            for pixels in (image, target)
        ]
        with self._lock, torch.inference_mode():
            flow = self._network(*pair)
        result: FloatArray = flow[0].permute(1, 2, 0).contiguous().cpu().numpy()
        return result


class Raft(nn.Module):
    """Pads images of any size to one that torchvision's RAFT accepts."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        """Flow (N, 2, H, W) in px, x then y, from each pixel of `image` to its match in `target`.

        Both images are (N, 3, H, W), RGB in [0, 1].
        """
        height, width = image.shape[-2:]
        padding = (0, _raft_padding(width), 0, _raft_padding(height))
        # The network expects values in [-1, 1].
        padded = [
            nn.functional.pad(pixels * 2 - 1, padding, mode="replicate")
            for pixels in (image, target)
        ]
        flow: Tensor = self.network(*padded)[-1]
        return flow[..., :height, :width]


def load_raft(device: torch.device) -> Raft:
    """RAFT with torchvision's default weights, downloaded on first use into torch's cache.

    Raises:
        WeightsError: the weights are not in the cache and cannot be downloaded, or are damaged.
    """
    from torchvision.models.optical_flow import Raft_Large_Weights, raft_large

    weights = Raft_Large_Weights.DEFAULT
    try:
        network = raft_large(weights=weights, progress=False)
    except Exception as error:  # torch.hub and torch.load raise many types
        cache = Path(torch.hub.get_dir()) / "checkpoints"
        raise WeightsError(
            f"cannot get the weights of raft from {weights.url}: {error}; "
            f"go online once, or put that file into {cache} (delete a damaged one there), "
            "or use flow dis"
        ) from error
    return Raft(network.to(device).eval())


def _raft_padding(side_px: int) -> int:
    """Pixels to add to a side."""
    multiple = -(-side_px // RAFT_SIDE_MULTIPLE_PX) * RAFT_SIDE_MULTIPLE_PX
    return max(RAFT_MIN_SIDE_PX, multiple) - side_px


class FarnebackFlow:
    """Polynomial expansion (Farnebäck 2003, "Two-frame motion estimation based on polynomial
    expansion").

    It is for the metrics only, which must not use the flow that the dream was carried along; it
    loses fast motion.
    """

    def __call__(self, image: FloatArray, target: FloatArray) -> FloatArray:
        """See `FlowEstimator`."""
        flow = cv2.calcOpticalFlowFarneback(
            *(_luma(image), _luma(target), None),  # type: ignore[call-overload]
            pyr_scale=0.5, levels=5, winsize=15, iterations=5, poly_n=7, poly_sigma=1.5, flags=0,
        )  # fmt: skip
        return np.asarray(flow, np.float32)


@dataclass(frozen=True)
class FlowEntry:
    """A row of the registry."""

    open: Callable[[torch.device], FlowEstimator]
    """Creates the estimator, which computes on the device if it uses one."""
    description: str
    """A few words for messages."""


FLOW_ESTIMATORS = {
    "dis": FlowEntry(lambda _device: DisFlow(), "fast, on the CPU"),
    "raft": FlowEntry(RaftFlow, "a network, downloaded on first use"),
}
NO_FLOW = "none"


def open_flow(name: str, device: torch.device) -> FlowEstimator | None:
    """The flow estimator of that name; None for `none`.

    Raises:
        UsageError: there is no estimator of that name.
        WeightsError: the weights of the estimator's network cannot be loaded.
    """
    if name == NO_FLOW:
        return None
    if name not in FLOW_ESTIMATORS:
        allowed = ", ".join(f"{key} ({row.description})" for key, row in FLOW_ESTIMATORS.items())
        raise UsageError(f"unknown flow estimator {name!r}; allowed is {allowed} or {NO_FLOW}")
    return FLOW_ESTIMATORS[name].open(device)


def _luma(image: FloatArray) -> npt.NDArray[np.uint8]:
    """(H, W, 3) in [0, 1] to 8-bit luma (H, W)."""
    return np.rint(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) * 255).astype(np.uint8)


def _padded_luma(image: FloatArray) -> npt.NDArray[np.uint8]:
    """8-bit luma, padded below and on the right to the smallest size that DIS accepts."""
    luma = _luma(image)
    below, right = (max(0, MIN_DIS_SIDE_PX - side) for side in luma.shape)
    if below or right:
        luma = np.asarray(cv2.copyMakeBorder(luma, 0, below, 0, right, cv2.BORDER_REPLICATE))
    return luma
