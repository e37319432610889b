"""What each name, suffix and encoder stands for."""

from __future__ import annotations

import enum
import os
import re
from dataclasses import dataclass
from pathlib import Path

from dreamvideo.errors import UsageError

X264_PRESETS = (
    *("ultrafast", "superfast", "veryfast", "faster", "fast"),
    *("medium", "slow", "slower", "veryslow"),
)
NVENC_PRESETS = tuple(f"p{level}" for level in range(1, 8))


@dataclass(frozen=True)
class Encoder:
    """One of FFmpeg's video encoders."""

    suffixes: tuple[str, ...]
    """Files that it can be written to."""
    pixel_format: str
    """For sources of 8 bits."""
    deep_pixel_format: str
    """For sources of more bits; the same where that is what players show."""
    bytes_per_pixel: float
    """Of a dream at the default quality, measured on the sample at 384×216: a rough guide."""
    quality_option: str = "crf"
    """FFmpeg's name for the quality; empty where there is none to choose."""
    quality: int = 0
    """The default: looks lossless."""
    worst_quality: int = 0
    preset_option: str = ""
    """FFmpeg's name for the effort; empty where there is none to choose."""
    preset: str = ""
    presets: tuple[str, ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    """Further options that are always given."""
    odd_sizes: bool = True
    """Whether sides with an odd number of pixels can have half the colour resolution (4:2:0)."""
    odd_pixel_format: str = ""
    """What takes odd sides, where the others do not."""
    tag: str = ""
    """What Apple's players want the codec to be called in MP4 and MOV."""
    full_range: bool = True
    """Whether the file can say that its values use the whole range."""


ENCODERS: dict[str, Encoder] = {
    "libx264": Encoder(
        (".mp4", ".mkv", ".mov"), "yuv420p", "yuv420p", 0.3,
        quality=18, worst_quality=51, preset_option="preset", preset="medium",
        presets=X264_PRESETS, odd_sizes=False, odd_pixel_format="yuv444p",
    ),
    "libx265": Encoder(
        (".mp4", ".mkv", ".mov"), "yuv420p", "yuv420p10le", 0.25,
        quality=20, worst_quality=51, preset_option="preset", preset="medium",
        presets=X264_PRESETS, options=(("x265-params", "log-level=error"),),
        odd_sizes=False, odd_pixel_format="yuv444p", tag="hvc1",
    ),
    "libsvtav1": Encoder(
        (".mp4", ".mkv", ".webm"), "yuv420p", "yuv420p10le", 0.2,
        quality=24, worst_quality=63, preset_option="preset", preset="6",
        presets=tuple(map(str, range(14))),
    ),
    "libvpx-vp9": Encoder(
        (".webm", ".mkv", ".mp4"), "yuv420p", "yuv420p", 0.25,
        quality=24, worst_quality=63, preset_option="cpu-used", preset="4",
        presets=tuple(map(str, range(9))),
        options=(("b", "0"), ("row-mt", "1"), ("deadline", "good")),
    ),
    "prores_ks": Encoder(
        (".mov", ".mkv"), "yuv422p10le", "yuv422p10le", 1.2,
        quality_option="", preset_option="profile", preset="hq",
        presets=("proxy", "lt", "standard", "hq", "4444", "4444xq"),
        options=(("vendor", "apl0"),), full_range=False,
    ),
    "ffv1": Encoder(
        (".mkv",), "bgr0", "gbrp14le", 2.0,
        quality_option="", options=(("level", "3"), ("slicecrc", "1"), ("slices", "4")),
    ),
    "h264_nvenc": Encoder(
        (".mp4", ".mkv", ".mov"), "yuv420p", "yuv420p", 0.3,
        quality_option="cq", quality=20, worst_quality=51, preset_option="preset", preset="p5",
        presets=NVENC_PRESETS, options=(("rc", "vbr"), ("b", "0")),
        odd_sizes=False, odd_pixel_format="yuv444p",
    ),
    "hevc_nvenc": Encoder(
        (".mp4", ".mkv", ".mov"), "yuv420p", "p010le", 0.25,
        quality_option="cq", quality=22, worst_quality=51, preset_option="preset", preset="p5",
        presets=NVENC_PRESETS, options=(("rc", "vbr"), ("b", "0")),
        odd_sizes=False, odd_pixel_format="yuv444p", tag="hvc1",
    ),
}  # fmt: skip
# What files of pictures are made of at the end: a GIF needs all of them to choose its colours.
ANIMATION_INTERMEDIATE = "ffv1"
DEFAULT_ENCODERS = {
    ".webm": "libvpx-vp9",
    **dict.fromkeys((".gif", ".webp", ".apng"), ANIMATION_INTERMEDIATE),
}
DEFAULT_ENCODER = "libx264"


# Formats that imageio's Pillow plugin both reads and writes.
STILL_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov", ".webm", ".gif", ".apng")
# Films that are files of pictures; a .webp is one where a still cannot be meant.
ANIMATED_SUFFIXES = (".gif", ".webp", ".apng")
# The name of standard input and output.
STREAM_NAME = "-"
NOISE_PREFIX = "noise:"


class MediaKind(enum.Enum):
    """What can be read or written; the value is how it is called in messages."""

    STILL = "a still"
    VIDEO = "a film"
    FOLDER = "a folder of pictures"
    STREAM = "a stream"


def input_kind(name: str) -> MediaKind:
    """What an input is: a folder if it is one, a still by its suffix or noise, a film otherwise."""
    if name == STREAM_NAME:
        return MediaKind.STREAM
    if is_address(name):
        return MediaKind.VIDEO
    if Path(name).is_dir():
        return MediaKind.FOLDER
    if is_noise(name) or has_suffix(name, STILL_SUFFIXES):
        return MediaKind.STILL
    return MediaKind.VIDEO


def output_kind(name: str) -> MediaKind | None:
    """What an output is to be, by its suffix; without one a folder. None if that says nothing."""
    if name == STREAM_NAME:
        return MediaKind.STREAM
    if has_suffix(name, STILL_SUFFIXES):
        return MediaKind.STILL
    if has_suffix(name, VIDEO_SUFFIXES):
        return MediaKind.VIDEO
    separators = tuple(filter(None, (os.sep, os.altsep)))
    if not Path(name).suffix or name.endswith(separators) or Path(name).is_dir():
        return MediaKind.FOLDER
    return None


def has_suffix(name: str | Path, suffixes: tuple[str, ...]) -> bool:
    """Whether a name ends in one of the suffixes, in small or capital letters."""
    return Path(name).suffix.lower() in suffixes


def is_address(name: str) -> bool:
    """Whether a name is an address such as https://…, and not that of a file."""
    return "://" in name and not Path(name).exists()


def is_noise(name: str) -> bool:
    """Whether a name asks for noise, `noise:WIDTHxHEIGHT`, and is not that of a file."""
    return name.startswith(NOISE_PREFIX) and not Path(name).exists()


def noise_size(name: str) -> tuple[int, int]:
    """(width, height) of the noise that a name asks for.

    Raises:
        UsageError: it does not say.
    """
    size = re.fullmatch(rf"{NOISE_PREFIX}([1-9]\d{{0,6}})x([1-9]\d{{0,6}})", name)
    if size is None:
        raise UsageError(
            f"cannot read {name}; noise is written {NOISE_PREFIX}WIDTHxHEIGHT, such as "
            f"{NOISE_PREFIX}1280x720"
        )
    return int(size[1]), int(size[2])
