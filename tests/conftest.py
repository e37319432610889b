"""Clips made by ffmpeg's own sources, the packaged samples, and a network loaded once."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import imageio_ffmpeg
import pytest
import torch
from torch import nn

from dreamvideo import Settings
from dreamvideo.dream import Dreamer
from dreamvideo.networks import load_features

SAMPLES = Path(__file__).parent.parent / "samples"
CPU = torch.device("cpu")

MakeClip = Callable[..., Path]


def ffmpeg(*words: str | Path) -> None:
    """Run the real ffmpeg quietly; an error fails the test."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, words)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


@pytest.fixture
def make_clip(tmp_path: Path) -> MakeClip:
    """Makes a clip: `make_clip("a.mp4", "testsrc2=s=160x90:r=25:d=1", "-c:v", "libx264")`."""

    def make(name: str, source: str, *words: str, sound: str | None = None) -> Path:
        path = tmp_path / name
        inputs = ["-f", "lavfi", "-i", source]
        if sound is not None:
            inputs += ["-f", "lavfi", "-i", sound]
        ffmpeg(*inputs, *words, path)
        return path

    return make


@pytest.fixture(scope="session")
def sample_clip() -> Path:
    """Three seconds of Big Buck Bunny with sound."""
    return SAMPLES / "clip.mp4"


@pytest.fixture(scope="session")
def sample_still() -> Path:
    """A cat."""
    return SAMPLES / "cat.png"


@pytest.fixture(scope="session")
def features() -> nn.Module:
    """The default network up to the default layer."""
    return load_features(Settings().layer, CPU)


@pytest.fixture
def make_dreamer(features: nn.Module) -> Callable[..., Dreamer]:
    """Makes a dreamer with the given options on the shared network."""
    return lambda **options: Dreamer(features, Settings(**options), CPU)
