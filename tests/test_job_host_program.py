"""A program that calls dreamvideo finds itself as it was: nothing leaks, no setting is changed."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import cv2
import imageio.v3 as iio
import numpy as np
import pytest
import torch
from PIL import Image

from dreamvideo import Progress, Settings, dream_image, dream_video
from dreamvideo.errors import InputError, UsageError
from tests.conftest import StoppedError, stop_at

# A small network, so that a call is short.
DREAM = Settings(
    model="squeezenet1_1", weights="random", layer="features.3", octaves=1, iterations=1,
    encoder="ffv1",
)  # fmt: skip
CALLS = 50
# Threads of a closed pool take a moment to leave the process.
THREAD_END_SECONDS = 5.0


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of five frames of 48x32 px that move to the left."""
    folder = tmp_path_factory.mktemp("frames")
    noise = np.random.default_rng(0).random((32, 80, 3), np.float32)
    wide = np.rint(cv2.GaussianBlur(noise, (0, 0), 2.0) * 255).astype(np.uint8)
    for index in range(5):
        iio.imwrite(folder / f"{index}.png", wide[:, 2 * index : 2 * index + 48])
    return folder


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=needs_gpu)])
def calls(
    request: pytest.FixtureRequest, frames: Path, tmp_path: Path
) -> dict[str, Callable[[], object]]:
    """Runs on a device that succeed, fail and are interrupted."""
    out, still = tmp_path / "out.mkv", frames / "0.png"
    dream = replace(DREAM, device=request.param)
    default = Settings(iterations=1, device=request.param)
    zoom = replace(dream, encoder=None, duration=0.2)

    def stops(error: type[BaseException], call: Callable[[], object]) -> Callable[[], None]:
        def call_that_stops() -> None:
            with pytest.raises(error):
                call()

        return call_that_stops

    def video(settings: Settings, **options: Any) -> Callable[[], object]:
        return lambda: dream_video(frames, out, settings, overwrite=True, **options)

    def interrupt(_: Progress) -> None:
        raise KeyboardInterrupt

    return {
        "video": video(dream),
        "image": lambda: dream_image(iio.imread(still), dream),
        "failure": stops(StoppedError, video(dream, on_progress=stop_at(2))),
        "interruption": stops(KeyboardInterrupt, video(dream, on_progress=interrupt)),
        "backward": video(replace(dream, passes=2)),
        "backward failure": stops(
            StoppedError, video(replace(dream, passes=2), on_progress=stop_at(3))
        ),
        "default network": lambda: dream_image(iio.imread(still), default),
        "still": lambda: dream_video(still, tmp_path / "a.png", dream, overwrite=True),
        "zoom": lambda: dream_video(still, tmp_path / "zoom.mp4", zoom, overwrite=True),
        "missing input": stops(InputError, lambda: dream_video("missing.mp4", out, dream)),
        "unknown layer": stops(UsageError, video(replace(dream, layer="nowhere"))),
    }


def open_resources() -> tuple[list[str], int, int]:
    """Python's threads, and how many threads and file descriptors the process has."""
    count = len(list(Path("/proc/self/fd").iterdir()))
    names = sorted(thread.name for thread in threading.enumerate())
    return names, len(list(Path("/proc/self/task").iterdir())), count


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's process files")
def test_fifty_calls_leave_no_thread_and_no_file(
    calls: dict[str, Callable[[], object]], of_cores: Callable[[int], None]
) -> None:
    of_cores(1)  # for such small images more threads only wait for each other
    gc.collect()  # what earlier tests left
    for call in calls.values():
        call()  # the first call of a kind may start threads that PyTorch keeps
    before = open_resources()

    for call in islice(cycle(calls.values()), CALLS):
        call()

    deadline = time.monotonic() + THREAD_END_SECONDS
    while open_resources() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert open_resources() == before


def threads_of_a_new_thread() -> int:
    """With how many threads PyTorch computes in a thread that starts now."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(torch.get_num_threads).result()


def cuda_random_state() -> list[list[int]]:
    """The state of each GPU; none on a machine without."""
    states = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return [state.tolist() for state in states]


def host_settings() -> dict[str, object]:
    """All settings of the process that a library might change."""
    return {
        "PyTorch's threads": torch.get_num_threads(),
        "PyTorch's threads in a new thread": threads_of_a_new_thread(),
        "PyTorch's random state": torch.random.get_rng_state().tolist(),
        "CUDA's random state": cuda_random_state(),
        "gradients": torch.is_grad_enabled(),
        "NumPy's random state": repr(np.random.get_state()),
        "OpenCV's threads": cv2.getNumThreads(),
        "Pillow's limit": Image.MAX_IMAGE_PIXELS,
        "warning filters": list(warnings.filters),
        "showwarning": warnings.showwarning,
        "sys.path": list(sys.path),
        "environment": dict(os.environ),
        "working directory": Path.cwd(),
        "niceness": os.nice(0) if hasattr(os, "nice") else 0,
        "signal handlers": [signal.getsignal(number) for number in signal.valid_signals()],
    }


@pytest.fixture
def unusual_host(of_cores: Callable[[int], None]) -> Iterator[None]:
    """Settings that differ from the defaults and from everything that dreamvideo sets."""
    opencv_threads, limit = cv2.getNumThreads(), Image.MAX_IMAGE_PIXELS
    of_cores(3)
    cv2.setNumThreads(3)
    Image.MAX_IMAGE_PIXELS = 12345678
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "a filter of the host")
        yield
    Image.MAX_IMAGE_PIXELS = limit
    cv2.setNumThreads(opencv_threads)


@pytest.mark.usefixtures("unusual_host")
def test_settings_of_the_host_are_restored(calls: dict[str, Callable[[], object]]) -> None:
    before = host_settings()
    changed = {}
    for name, call in calls.items():
        call()
        after = host_settings()
        changed[name] = [setting for setting in before if after[setting] != before[setting]]
    assert changed == {name: [] for name in calls}
