"""Clips made by ffmpeg's own sources, the packaged samples, and a network loaded once.

`pytest --perturb N` runs the tests with other random numbers: every seed is N larger, and images
are changed by up to 1e-6 before they are dreamed. An ascent amplifies that until the dream is
another one of the same kind, as another processor's rounding does: a test that then fails depends
on rounding.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import imageio.v3 as iio
import imageio_ffmpeg
import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from dreamvideo import Progress, Settings
from dreamvideo.dream.dreamer import Dreamer
from dreamvideo.media.opening import Location
from dreamvideo.media.read import open_source
from dreamvideo.networks.extractor import FeatureExtractor, load_extractor
from dreamvideo.settings.frame_params import FrameParams, frame_params
from dreamvideo.types import Frame

# The processes that run the tests inherit it; each loads torch after this. They share the cores all
# the time: threads that wait had better sleep at once.
os.environ["GOMP_SPINCOUNT"] = "1000"

SAMPLES = Path(__file__).parent.parent / "samples"
CPU = torch.device("cpu")

MakeClip = Callable[..., Path]
# The options that decide which network is loaded.
NETWORK_OPTIONS = ("model", "weights", "mean", "std", "network_size", "class_names", "layer")

# Nothing is dreamed, so that what comes out must be what came in.
UNTOUCHED = Settings(strength=0, crf=1, device="cpu")
X264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "1")
# Two frames within a tenth of a millisecond, then a pause, and so on.
CLOSE_PAIRS = (
    *(*X264, "-vf", "settb=1/90000,setpts='floor(N/2)*7200+mod(N,2)*9'"),
    *("-fps_mode", "passthrough", "-enc_time_base", "1/90000", "-video_track_timescale", "90000"),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--perturb", type=int, default=0, help="add N to every seed")


@pytest.fixture(autouse=True, scope="session")
def perturbed(request: pytest.FixtureRequest) -> Iterator[None]:
    """See the module docstring."""
    shift: int = request.config.getoption("--perturb")
    if shift == 0:
        yield
        return
    make_params, upload = FrameParams.__init__, Dreamer.upload

    def with_shifted_seed(params: FrameParams, *args: Any, **kwargs: Any) -> None:
        make_params(params, *args, **kwargs)
        object.__setattr__(params, "seed", params.seed + shift)

    def with_noise(dreamer: Dreamer, image: npt.NDArray[np.float32]) -> Tensor:
        noise = np.random.default_rng(shift).uniform(-1e-6, 1e-6, image.shape)
        return upload(dreamer, (image + noise).clip(0, 1).astype(np.float32))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FrameParams, "__init__", with_shifted_seed)
        patch.setattr(Dreamer, "upload", with_noise)
        yield


class StoppedError(Exception):
    """Raised to stop a run."""


def stop_at(frame: int) -> Callable[[Progress], None]:
    """A callback that stops a run after a frame."""

    def refuse(progress: Progress) -> None:
        if progress.frames_done == frame:
            raise StoppedError

    return refuse


def ffmpeg(*arguments: str | Path) -> None:
    """Run the real ffmpeg quietly; an error fails the test."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def frames_of(path: Path, settings: Settings | None = None) -> list[Frame]:
    """All frames of a video, a still image or a folder."""
    with open_source(Location(str(path)), settings or Settings()) as source:
        return list(source)


def params(time_seconds: float = 0.0, **options: Any) -> FrameParams:
    """The settings of one frame, given by options: `params(iterations=2)`."""
    return frame_params(Settings(**options), time_seconds)


def psnr(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    """Peak signal to noise of two images in [0, 1], in decibels."""
    error = np.square(one.astype(np.float64) - other).mean()
    return float(10 * np.log10(1 / error)) if error else np.inf


def mean_error(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    """Largest mean absolute difference of a channel, of 255."""
    return float(np.abs(one - other).mean((0, 1)).max() * 255)


def packets_hash(path: Path, stream: int) -> str:
    """Hash of the packets of one audio stream."""
    with av.open(str(path)) as container:
        packets = container.demux(container.streams.audio[stream])
        return hashlib.sha256(b"".join(bytes(packet) for packet in packets)).hexdigest()


def packet_seconds(path: Path, kind: str = "video") -> list[Fraction]:
    """When each packet of the first stream of a kind is shown, on the file's own clock."""
    with av.open(str(path)) as container:
        stream = next(stream for stream in container.streams if stream.type == kind)
        packets = [packet for packet in container.demux(stream) if packet.size]
        return [(p.dts if p.pts is None else p.pts) * p.time_base for p in packets]  # type: ignore[operator]


def start_seconds(path: Path) -> Fraction:
    """When a file begins, on its own clock."""
    with av.open(str(path)) as container:
        return Fraction(container.start_time or 0, av.time_base)


def times_increase(path: Path) -> bool:
    """Whether every audio and video packet of a file is to be decoded after the one before."""
    with av.open(str(path)) as container:
        decoded: dict[int, list[int]] = {}
        for packet in container.demux():
            if packet.size and packet.dts is not None and packet.stream.type != "subtitle":
                decoded.setdefault(packet.stream.index, []).append(packet.dts)
    return all(a < b for times in decoded.values() for a, b in pairwise(times))


def smooth_colours(size: str, folder: Path) -> tuple[str, npt.NDArray[Any]]:
    """Five frames of smooth saturated colours: a source for ffmpeg, and the image in [0, 1]."""
    width, height = (int(side) for side in size.split("x"))
    y, x = np.mgrid[:height, :width] / np.array([height, width])[:, None, None]
    waves = [0.5 + 0.4 * np.sin(np.pi * (1 + x * a + y * b)) for a, b in ((2, 0), (1, 1), (0, 2))]
    pixels = np.rint(np.dstack(waves) * 255).astype(np.uint8)
    iio.imwrite(folder / "truth.png", pixels)
    return f"movie={folder / 'truth.png'},loop=4:1:0,setpts=N/25/TB", pixels / 255


@pytest.fixture
def gradient(make_clip: MakeClip, tmp_path: Path) -> Path:
    """A video of smooth saturated colours."""
    return make_clip("smooth.mkv", smooth_colours("320x180", tmp_path)[0], *X264)


@pytest.fixture(scope="session")
def encode_clip(tmp_path_factory: pytest.TempPathFactory) -> MakeClip:
    """Encodes a clip, like `make_clip`; the same clip only once. It must not be changed."""
    folder = tmp_path_factory.mktemp("clips")

    @functools.cache
    def encode(suffix: str, source: str, *options: str, audio: str | None = None) -> Path:
        path = folder / f"{encode.cache_info().misses}{suffix}"
        inputs = ["-f", "lavfi", "-i", source]
        if audio is not None:
            inputs += ["-f", "lavfi", "-i", audio]
        ffmpeg(*inputs, *options, path)
        return path

    return encode


@pytest.fixture
def make_clip(encode_clip: MakeClip, tmp_path: Path) -> MakeClip:
    """Makes a clip: `make_clip("a.mp4", "testsrc2=s=160x90:r=25:d=1", "-c:v", "libx264")`."""

    def make(name: str, source: str, *options: str, audio: str | None = None) -> Path:
        path = tmp_path / name
        shutil.copyfile(encode_clip(path.suffix, source, *options, audio=audio), path)
        return path

    return make


@pytest.fixture(scope="session")
def sample_clip() -> Path:
    """Three seconds of Big Buck Bunny with audio."""
    return SAMPLES / "clip.mp4"


@pytest.fixture(scope="session")
def sample_still() -> Path:
    """A cat."""
    return SAMPLES / "cat.png"


@pytest.fixture(scope="session")
def cat_square(sample_still: Path) -> Tensor:
    """The cat as networks for classes want it, (1, 3, 224, 224)."""
    pixels = torch.from_numpy(iio.imread(sample_still)).permute(2, 0, 1)[None] / 255
    return nn.functional.interpolate(
        pixels[..., 75:375], size=(224, 224), mode="bicubic", antialias=True
    ).clamp(0, 1)


@pytest.fixture(scope="session")
def backbone() -> FeatureExtractor:
    """The default network, for the default layer and some others."""
    return load_extractor(Settings(), CPU, ("blocks.5.expand", "blocks.8", "blocks.10.expand"))


@pytest.fixture
def shared_network(backbone: FeatureExtractor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets runs on the default network use the shared one, instead of loading it each time."""

    def load(settings: Settings, device: torch.device) -> FeatureExtractor:
        is_default = device == CPU and all(
            getattr(settings, name) == getattr(Settings(), name) for name in NETWORK_OPTIONS
        )
        return backbone if is_default else load_extractor(settings, device)

    monkeypatch.setattr("dreamvideo.job.image.load_extractor", load)


@pytest.fixture(scope="session")
def features(backbone: FeatureExtractor) -> Callable[[Tensor], Tensor]:
    """The default network up to the default layer."""
    return lambda image: backbone(image, [Settings().layer])[0]


@pytest.fixture(scope="session")
def dreamer(backbone: FeatureExtractor) -> Dreamer:
    """A dreamer with the shared network; without a guide, a class or tiles."""
    return Dreamer(backbone, CPU)


@pytest.fixture
def of_cores() -> Iterator[Callable[[int], None]]:
    """Makes PyTorch compute as on a machine with so many cores."""
    threads = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(threads)
