"""Prints how fast a clip is dreamed and where the time goes.

    python scripts/benchmark.py                        # samples/clip.mp4 at 384×216
    python scripts/benchmark.py --clip FILM --size 640 --device cuda

First the whole command, as a user runs it. Then the same film once more in this process, with the
time in which each stage was busy: stages run side by side, so that their shares of the wall time
add up to more than 100 %, and on few cores each of them slows the others down.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from dreamvideo import Settings, dream_video
from dreamvideo.cli.process import keep_freed_memory

SAMPLE = Path(__file__).parent.parent / "samples" / "clip.mp4"
# What is timed, where it is looked up, and the row that it counts for.
STAGES = {
    "network, there and back": "dreamvideo.dream.ascent.value_and_gradient",
    "whole dream": "dreamvideo.dream.dreamer.Dreamer.dream",
    "carry": "dreamvideo.pipeline.film.carry",
    "flow": "dreamvideo.pipeline.film.match",
    "decode": "dreamvideo.sources.video.VideoSource.__iter__",
    "encode": "dreamvideo.sinks.segments.SegmentedFilm.write",
}


class Clock:
    """Adds up the time in which each stage was busy, over all threads."""

    def __init__(self, device: torch.device) -> None:
        self.busy_seconds: defaultdict[str, float] = defaultdict(float)
        self._device = device
        self._lock = threading.Lock()

    @contextmanager
    def running(self, stage: str) -> Iterator[None]:
        """Count the time spent in the body for `stage`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            if self._device.type == "cuda" and stage != "decode":
                torch.cuda.synchronize(self._device)
            with self._lock:
                self.busy_seconds[stage] += time.perf_counter() - started

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, with its time counted for `stage`; of a generator, that of each item."""

        def call(*arguments: Any, **options: Any) -> Any:
            with self.running(stage):
                return function(*arguments, **options)

        def generate(*arguments: Any, **options: Any) -> Iterator[Any]:
            items, end = iter(function(*arguments, **options)), object()
            while True:
                with self.running(stage):
                    item = next(items, end)
                if item is end:
                    return
                yield item

        return generate if stage == "decode" else call


def run_command(clip: Path, settings: Settings, output: Path) -> None:
    """Time the whole command, imports and all."""
    words = ["--size", str(settings.size), "--device", settings.device]
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "dreamvideo", str(clip), str(output), *words],
        check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    elapsed_seconds = time.perf_counter() - started
    # Linux counts this in KiB, macOS in bytes.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    peak_gib = peak / (2**30 if sys.platform == "darwin" else 2**20)
    print(done.stdout.strip().replace(str(output), "whole command"))
    print(f"process from start to end {elapsed_seconds:.1f} s, peak memory {peak_gib:.2f} GiB\n")


def run_stages(clip: Path, settings: Settings, output: Path, device: torch.device) -> None:
    """Time the stages of one film in this process."""
    clock = Clock(device)
    moments: list[float] = []
    with ExitStack() as patches:
        for stage, place in STAGES.items():
            module, _, name = place.rpartition(".")
            original = getattr(_resolve(module), name)
            patches.enter_context(mock.patch(place, clock.timed(stage, original)))
        summary = dream_video(
            clip, output, settings, lambda _: moments.append(time.perf_counter()), overwrite=True
        )
    busy = clock.busy_seconds
    busy["rest of the ascent"] = busy.pop("whole dream") - busy["network, there and back"]
    wall_seconds = summary.elapsed_seconds
    warm_rate = (len(moments) - 2) / (moments[-1] - moments[1])
    print(
        f"{summary.frames} frames in {wall_seconds:.1f} s; {warm_rate:.1f} warm frames per second"
    )
    print(f"{'stage':26}  busy s  ms/frame  share of the wall time")
    for stage, seconds in sorted(busy.items(), key=lambda item: -item[1]):
        print(
            f"{stage:26}  {seconds:6.2f}  {seconds / summary.frames * 1000:8.1f}  "
            f"{seconds / wall_seconds:.0%}"
        )


def _resolve(path: str) -> Any:
    """The module, or the class in a module, of that dotted name."""
    module, _, name = path.rpartition(".")
    return sys.modules[path] if path in sys.modules else getattr(sys.modules[module], name)


def main() -> None:
    """Read the arguments and run both cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clip", type=Path, default=SAMPLE)
    parser.add_argument("--size", type=int, default=384, help="longest side, px")
    parser.add_argument("--device", default="auto")
    chosen = parser.parse_args()
    settings = Settings(size=chosen.size, device=chosen.device)
    from dreamvideo.networks import pick_device

    device = pick_device(settings.device)
    cores = torch.get_num_threads()
    print(f"{chosen.clip.name} at {chosen.size} px on {device}, {cores} threads of torch")
    with tempfile.TemporaryDirectory() as folder:
        run_command(chosen.clip, settings, Path(folder) / "command.mp4")
        keep_freed_memory()
        run_stages(chosen.clip, settings, Path(folder) / "stages.mp4", device)


if __name__ == "__main__":
    main()
