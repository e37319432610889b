"""Encoders give the same bytes for the same frames."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from dreamvideo import Settings
from dreamvideo.media.formats import ENCODERS, output_format
from dreamvideo.media.write.encoder import FrameEncoder, choose_encoding
from dreamvideo.types import Frame, VideoInfo

SIZES = [
    *((160, 90), (176, 144), (192, 108), (208, 118), (256, 144)),
    *((272, 152), (304, 170), (320, 180), (352, 198), (384, 216)),
]
COUNT = 40


def moving_images(width: int, height: int) -> list[np.ndarray]:
    """A smooth random pattern that moves diagonally by a pixel in each frame."""
    noise = np.random.default_rng(0).random((height + COUNT, width + COUNT, 3), np.float32)
    pattern = cv2.GaussianBlur(noise, (0, 0), 3)
    pattern = (pattern - pattern.min()) / np.ptp(pattern)
    return [pattern[i : i + height, i : i + width].copy() for i in range(COUNT)]


def encoded(images: list[np.ndarray], name: str) -> str:
    height, width, _ = images[0].shape
    info = VideoInfo(width, height)
    encoding = choose_encoding(output_format("o.mkv"), Settings(encoder=name), info)
    digest = hashlib.sha256()
    with av.open(BytesIO(), "w", format="matroska") as container:
        encoder = FrameEncoder(container, encoding, info)
        for index, image in enumerate(images):
            for packet in encoder.encode(Frame(index, Fraction(index, 25), image)):
                digest.update(bytes(packet))
        for packet in encoder.encode(None):
            digest.update(bytes(packet))
    return digest.hexdigest()


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_x264_repeats(width: int, height: int) -> None:
    images = moving_images(width, height)
    assert len({encoded(images, "libx264") for _ in range(4)}) == 1


def test_x265_repeats() -> None:
    images = moving_images(208, 118)[:20]
    assert len({encoded(images, "libx265") for _ in range(3)}) == 1


@pytest.mark.parametrize(("has_avx512", "expected"), [(True, "asm=avx2"), (False, None)])
def test_avx512_is_left_to_encoders_that_repeat(
    has_avx512: bool, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A processor without AVX2 would crash, and one of another family would compute slowly."""
    monkeypatch.setattr("dreamvideo.media.write.encoder.has_avx512", lambda: has_avx512)
    row = output_format(Path("o.mp4"))
    for name in row.encoders:
        options = dict(choose_encoding(row, Settings(encoder=name), VideoInfo(64, 48)).options)
        is_x264 = name == "libx264"
        assert options.get("x264-params") == (expected if is_x264 else None)
        assert options.items() >= dict(ENCODERS[name].options).items()
