"""Prints how fast images and videos are dreamed, where the time goes, and how that compares.

    python scripts/benchmark.py                          # every case but sizes, at 384×216
    python scripts/benchmark.py video peer --size 640 --device cuda
    python scripts/benchmark.py sizes --largest 7680 --json

    ascent  one forward and backward pass through the network up to the layer, relative to its
            arithmetic and to matrix products and copies on this machine
    frame   a cold and a warm frame, by operation
    video   the whole command, then the same video in this process, by stage
    sizes   time and peak memory of the whole command for stills, one step per octave
    peer    the same work as a textbook implementation

What is compared is measured in turn, in one run; every time is the best of several.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dreamvideo import Settings, dream_video
from dreamvideo.dream.ascent import value_and_gradient
from dreamvideo.dream.pyramid import octave_sizes
from dreamvideo.job.image import load_dreamer
from dreamvideo.media.opening import Location
from dreamvideo.media.read import open_source
from dreamvideo.motion.flow import open_flow
from dreamvideo.motion.matching import match_frames
from dreamvideo.motion.warp import carry, carry_map
from dreamvideo.networks.efficientnet_lite import Block, ConvReLU6, EfficientNetLite
from dreamvideo.networks.extractor import load_extractor
from dreamvideo.runtime.devices import pick_device
from dreamvideo.runtime.process import keep_freed_memory, limit_openmp_spinning
from dreamvideo.settings.frame_params import frame_params
from dreamvideo.types import Frame

SAMPLE = Path(__file__).parent.parent / "samples" / "clip.mp4"
REPEATS = 15
# Matrices of this side are large enough for the full rate, and small enough to take milliseconds.
PRODUCT_SIDE = 1024
COPIED_BYTES = 256 * 2**20
SIZES = ("256x144", "384x216", "640x360", "1280x720", "1920x1080", "3840x2160", "7680x4320")
# The operations of a frame: where each is called, and its row.
PARTS = {
    "dreamvideo.dream.tiling.value_and_gradient": "network, forward and backward",
    "dreamvideo.dream.conditioning.Conditioning.forward": "smoothing and scaling",
    "dreamvideo.dream.ascent.resize_smooth": "resizing",
    "dreamvideo.dream.ascent.torch.roll": "jitter",
    "dreamvideo.dream.ascent.add_step": "stepping",
}
# The stages of a video: where each is called, and its row.
STAGES = {
    "dreamvideo.media.read.video.VideoSource.__iter__": "decode",
    "dreamvideo.temporal.video.match_frames": "motion",
    "dreamvideo.temporal.refresh.TemporalDreamer.prepare": "inputs from the source",
    "dreamvideo.temporal.refresh.TemporalDreamer.dream": "dream",
    "dreamvideo.temporal.refresh.boost_change": "  boost of the weakest window",
    "dreamvideo.dream.tiling.value_and_gradient": "  network, forward and backward",
    "dreamvideo.temporal.refresh.carry": "  carry",
    "dreamvideo.dream.dreamer.Dreamer.composite": "composite",
    "dreamvideo.job.outputs.SegmentedVideoWriter.write": "encode",
}

# Set if the process limits the spinning of OpenMP threads, as the command does.
SPINS = "GOMP_SPINCOUNT"

Rows = list[dict[str, Any]]


class Clock:
    """Adds up the time in which each part was busy, over all threads."""

    def __init__(self, device: torch.device) -> None:
        self.busy_seconds: defaultdict[str, float] = defaultdict(float)
        self._device = device
        self._lock = threading.Lock()

    @contextmanager
    def running(self, part: str) -> Iterator[None]:
        """Count the time spent in the body for `part`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            if self._device.type == "cuda" and part != "decode":
                torch.cuda.synchronize(self._device)
            with self._lock:
                self.busy_seconds[part] += time.perf_counter() - started

    @contextmanager
    def watching(self, places: Mapping[str, str]) -> Iterator[None]:
        """Count the time of each function for a part, while the body runs."""
        with ExitStack() as patches:
            for place, part in places.items():
                owner, _, name = place.rpartition(".")
                original = getattr(_resolve(owner), name)
                patches.enter_context(mock.patch(place, self._timed(part, original)))
            yield

    def _timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            with self.running(part):
                return function(*arguments, **options)

        def generate(*arguments: Any, **options: Any) -> Iterator[Any]:
            items, end = iter(function(*arguments, **options)), object()
            while True:
                with self.running(part):
                    item = next(items, end)
                if item is end:
                    return
                yield item

        return generate if part == "decode" else call


def _resolve(path: str) -> Any:
    """The module, or the attribute of a module, of a dotted name."""
    owner, _, name = path.rpartition(".")
    return sys.modules[path] if path in sys.modules else getattr(_resolve(owner), name)


def best_seconds(
    ways: Mapping[str, Callable[[], object]], repeats: int = REPEATS
) -> dict[str, float]:
    """The best time of each, measured in turn."""
    best = dict.fromkeys(ways, math.inf)
    for turn in range(repeats + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:  # the first turn warms up
                best[name] = min(best[name], time.perf_counter() - started)
    return best


class Bench:
    """The cases, for one clip, size and device."""

    def __init__(self, clip: Path, size_px: int, device: str) -> None:
        self.clip = clip
        self.settings = Settings(size=size_px, device=device)
        self.params = frame_params(self.settings, 0.0)
        self.device = pick_device(device)

    def frames(self, count: int) -> list[Frame]:
        """The first frames of the clip."""
        with open_source(Location(str(self.clip)), self.settings) as source:
            return list(islice(source, count))

    def ascent(self) -> Rows:
        """One forward and backward pass, relative to what the machine can do."""
        dreamer = load_dreamer(self.settings, self.device)
        source = dreamer.upload(self.frames(1)[0].image)
        objective = dreamer.objectives.build(self.params, source)
        dreamer.value(source, objective)  # finds the sizes that the network takes
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            objective(source)
        flops = 2 * counter.get_total_flops()  # backward takes as many
        side = torch.rand(PRODUCT_SIDE, PRODUCT_SIDE, device=self.device)
        copied = torch.rand(COPIED_BYTES // 4, device=self.device)
        target = torch.empty_like(copied)
        rows: Rows = []
        for threads in self._thread_counts():
            torch.set_num_threads(threads)
            best = best_seconds(
                {
                    "product": lambda: side @ side,
                    "copy": lambda: target.copy_(copied),
                    "pass": lambda: value_and_gradient(source, objective),
                }
            )
            product_rate, rate = 2 * PRODUCT_SIDE**3 / best["product"], flops / best["pass"]
            here = {"threads": str(threads)}
            rows += [
                {**here, "what": "matrix product, float32", "GFLOP/s": product_rate / 1e9},
                {**here, "what": "copy", "GB/s": 2 * COPIED_BYTES / best["copy"] / 1e9},
                {
                    **here,
                    "what": "forward and backward",
                    "ms": best["pass"] * 1000,
                    "GFLOP": flops / 1e9,
                    "GFLOP/s": rate / 1e9,
                    "of the product rate": rate / product_rate,
                },
            ]
        return rows

    def _thread_counts(self) -> list[int]:
        """On a CPU: half of the threads, as for a carried video, and all, as for a still."""
        all_threads = torch.get_num_threads()
        if self.device.type != "cpu":
            return [all_threads]
        return sorted({math.ceil(all_threads / 2), all_threads})

    def frame(self) -> Rows:
        """A cold and a warm frame, by operation; the warm one with every octave."""
        before, now = self.frames(2)
        dreamer = load_dreamer(self.settings, self.device)
        flow = open_flow(self.settings.flow, self.device)
        assert flow is not None
        motion = match_frames(before, now, flow)
        assert motion is not None
        residual = dreamer.dream(dreamer.upload(before.image), 0, self.params)

        def cold(clock: Clock) -> None:
            with clock.running("transfers"):
                source = dreamer.upload(before.image)
            dreamer.dream(source, 0, self.params)

        def warm(clock: Clock) -> None:
            with clock.running("transfers"):
                source = dreamer.upload(now.image)
            with clock.running("warp"):
                path = carry_map(motion, now.image.shape[:2], self.device)
                carried = carry(residual, path, self.settings.persistence)
            with clock.running("octaves of the source"):
                octaves = dreamer.octaves(source, self.params, self.params.warm_octaves)
            dream = dreamer.dream(source, 1, self.params, carried, octaves=octaves)
            with clock.running("transfers"):
                dreamer.composite(source, dream, None, self.params)

        rows: Rows = []
        for name, way, repeats in (("cold", cold, 3), ("warm", warm, REPEATS)):
            clocks = []
            for _ in range(repeats + 1):
                clock = Clock(self.device)
                with clock.watching(PARTS), clock.running("whole"):
                    way(clock)
                clocks.append(clock.busy_seconds)
            best = min(clocks[1:], key=lambda busy: busy["whole"])
            whole = best.pop("whole")
            best["the rest"] = whole - sum(best.values())
            rows += [
                {"frame": name, "part": part, "ms": seconds * 1000, "share": seconds / whole}
                for part, seconds in {"whole": whole, **best}.items()
            ]
        return rows

    def video(self) -> Rows:
        """The whole command, then its stages. They run at the same time: shares may exceed 1."""
        with tempfile.TemporaryDirectory() as folder:
            command = run_command(str(self.clip), Path(folder) / "command.mp4", self.settings)
            clock, timed_frames = Clock(self.device), list[float]()
            with clock.watching(STAGES):
                summary = dream_video(
                    self.clip,
                    Path(folder) / "stages.mp4",
                    self.settings,
                    lambda _: timed_frames.append(time.perf_counter()),
                )
        wall = summary.elapsed_seconds
        warm_rate = (len(timed_frames) - 2) / (timed_frames[-1] - timed_frames[1])
        rows: Rows = [
            {"stage": "whole command", "frames/s": summary.frames / command["seconds"], **command},
            {"stage": "whole video", "seconds": wall, "frames/s": summary.frames / wall},
            {"stage": "warm frames", "frames/s": warm_rate},
        ]
        for stage, seconds in clock.busy_seconds.items():
            rows.append(
                {
                    "stage": stage,
                    "ms/frame": seconds / summary.frames * 1000,
                    "busy": seconds / wall,
                    "idle": max(0.0, 1 - seconds / wall),
                }
            )
        return rows

    def sizes(self, largest_px: int) -> Iterator[dict[str, Any]]:
        """Stills of noise, one step per octave, each in its own process."""
        for size in SIZES:
            if int(size.split("x")[0]) > largest_px:
                return
            with tempfile.TemporaryDirectory() as folder:
                settings = Settings(device=self.settings.device, iterations=1)
                yield {
                    "size": size,
                    **run_command(f"noise:{size}", Path(folder) / "still.png", settings),
                }

    def peer(self) -> Rows:
        """A cold dream of one frame, by dreamvideo and by a textbook implementation."""
        image = self.frames(1)[0].image
        settings = self.settings
        dreamer = load_dreamer(settings, self.device)
        source = dreamer.upload(image)
        textbook = Textbook(settings, self.device)
        height, width = source.shape[-2:]
        sizes = octave_sizes(height, width, settings.octaves, settings.octave_scale)
        seconds = best_seconds(
            {
                "textbook": lambda: textbook.dream(source.contiguous(), sizes),
                "dreamvideo": lambda: dreamer.dream(source, 0, self.params),
            },
            repeats=3,
        )
        return [
            {"way": way, "ms": taken * 1000, "times as fast": seconds["textbook"] / taken}
            for way, taken in seconds.items()
        ]


class Textbook:
    """The baseline: DeepDream as tutorials write it.

    The whole network runs with its batch-norms, in float32 and NCHW, and a hook records the layer's
    activation. Gradients are not even smoothed.
    """

    def __init__(self, settings: Settings, device: torch.device) -> None:
        extractor = load_extractor(settings, device)
        self._settings = settings
        ours = extractor.network
        assert isinstance(ours, EfficientNetLite)
        plain = OrderedDict[str, nn.Module](
            stem=_plain_convolution(ours.stem),
            blocks=nn.Sequential(*(_PlainBlock(block) for block in ours.blocks)),
            head=_plain_convolution(ours.head),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            classifier=ours.classifier,
        )
        self._network = nn.Sequential(plain).to(device).eval().requires_grad_(False)
        self._activations: list[Tensor] = []
        layer = extractor.layer(settings.layer).name
        self._network.get_submodule(layer).register_forward_hook(
            lambda module, inputs, activation: self._activations.append(activation)
        )

    def activation(self, image: Tensor) -> Tensor:
        """Activation of the layer for an image (1, 3, H, W)."""
        self._activations.clear()
        self._network(image * 2 - 1)
        return self._activations[0]

    def dream(self, source: Tensor, sizes: Iterable[tuple[int, int]]) -> Tensor:
        """The dream of an image (1, 3, H, W)."""
        settings, detail = self._settings, torch.zeros_like(source)
        for size in sizes:
            base = nn.functional.interpolate(source, size=size, mode="bilinear")
            image = base + nn.functional.interpolate(detail, size=size, mode="bilinear")
            for _ in range(settings.iterations):
                shift = tuple(torch.randint(-settings.jitter, settings.jitter, (2,)).tolist())
                image = torch.roll(image, shift, (2, 3)).detach().requires_grad_()
                self.activation(image).square().mean().backward()  # type: ignore[no-untyped-call]
                gradient = image.grad
                assert gradient is not None
                image = (image + settings.step_size * gradient / gradient.std()).clamp(0, 1)
                image = torch.roll(image, (-shift[0], -shift[1]), (2, 3)).detach()
            detail = image - base
        return image


class _PlainBlock(nn.Sequential):
    """As in published code: one module after another."""

    def __init__(self, block: nn.Module) -> None:
        assert isinstance(block, Block)
        convolutions = block.named_children()
        plain = {name: _plain_convolution(convolution) for name, convolution in convolutions}
        super().__init__(OrderedDict(plain))
        self._has_shortcut = block.has_shortcut

    def forward(self, features: Tensor) -> Tensor:
        activation: Tensor = super().forward(features)  # type: ignore[no-untyped-call]
        return activation + features if self._has_shortcut else activation


def _plain_convolution(ours: nn.Module) -> nn.Sequential:
    """As in published code: a convolution without bias, a batch-norm, ReLU6; upright kernels."""
    assert isinstance(ours, nn.Conv2d)
    assert ours.bias is not None
    kernel, stride = ours.kernel_size[0], ours.stride[0]
    channels = ours.in_channels, ours.out_channels
    convolution = nn.Conv2d(*channels, kernel, stride, kernel // 2, groups=ours.groups, bias=False)
    norm = nn.BatchNorm2d(ours.out_channels)
    convolution.weight.data = ours.weight.detach().flip(2, 3).contiguous()
    norm.bias.data = ours.bias.detach()
    activation = nn.ReLU6() if isinstance(ours, ConvReLU6) else nn.Identity()
    return nn.Sequential(convolution, norm, activation)


def run_command(source: str, output: Path, settings: Settings) -> dict[str, float]:
    """Seconds and peak memory of the whole command, including imports."""
    arguments = ["--device", settings.device, "--iterations", str(settings.iterations)]
    if settings.size is not None:
        arguments += ["--size", str(settings.size)]
    # In a process of its own, so that the peak is that of the command alone.
    command = [sys.executable, "-m", "dreamvideo", source, str(output), "--quiet", *arguments]
    watch = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", watch, *command], check=True, capture_output=True, text=True
    )
    seconds = time.perf_counter() - started
    # Linux counts this in KiB, macOS in bytes.
    peak_gib = int(done.stdout) / (2**30 if sys.platform == "darwin" else 2**20)
    return {"seconds": seconds, "peak GiB": peak_gib}


def print_table(title: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Print rows under the names of their columns."""
    print(f"\n{title}")
    rows = list(rows)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    texts = [columns, *([_text(name, row.get(name)) for name in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for line in texts:
        cells = zip(line, widths, strict=True)
        print("  ".join(f"{cell:{width}}" for cell, width in cells).rstrip())


def _text(name: str, value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    if name in ("share", "busy", "idle", "of the product rate"):
        return f"{value:.0%}"
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def main() -> None:
    """Read the arguments and run the cases."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cases = ("ascent", "frame", "video", "sizes", "peer")
    parser.add_argument("cases", nargs="*", choices=[[], *cases], metavar="case")
    parser.add_argument("--clip", type=Path, default=SAMPLE)
    parser.add_argument("--size", type=int, default=384, help="longest side, px")
    parser.add_argument("--largest", type=int, default=3840, help="longest side for sizes, px")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", action="store_true", help="print JSON")
    chosen = parser.parse_args()
    if SPINS not in os.environ:  # it has to be set before torch is loaded
        limit_openmp_spinning()
        os.execv(sys.executable, [sys.executable, *sys.argv])
    keep_freed_memory()
    bench = Bench(chosen.clip, chosen.size, chosen.device)
    facts = {"device": str(bench.device), "threads": torch.get_num_threads(), "size": chosen.size}
    results = {}
    if not chosen.json:
        print(", ".join(f"{name} {value}" for name, value in facts.items()))
    for case in chosen.cases or [name for name in cases if name != "sizes"]:
        way = getattr(bench, case)
        results[case] = list(way(chosen.largest) if case == "sizes" else way())
        if not chosen.json:
            print_table(case, results[case])
    if chosen.json:
        print(json.dumps({**facts, **results}, indent=1))


if __name__ == "__main__":
    main()
