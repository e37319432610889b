"""The tables of video formats, encoders and image formats; what a file's name stands for.

A new container is one row of `OUTPUT_FORMATS`. All lists of suffixes are derived from the tables.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

X264_PRESETS = (
    *("ultrafast", "superfast", "veryfast", "faster", "fast"),
    *("medium", "slow", "slower", "veryslow"),
)
NVENC_PRESETS = tuple(f"p{level}" for level in range(1, 8))


@dataclass(frozen=True)
class Encoder:
    """One of FFmpeg's video encoders. Which files it can be in is a matter of the formats."""

    pixel_format: str
    """For sources of 8 bits."""
    deep_pixel_format: str
    """For sources of more bits; the same where common players show no more than 8."""
    bytes_per_pixel: float
    """Of a dream at the default quality, measured on the sample at 384×216: a rough guide."""
    quality_option: str = "crf"
    """FFmpeg's name for the quality; empty for lossless and fixed-rate encoders."""
    default_quality: int = 0
    """Looks lossless."""
    worst_quality: int = 0
    preset_option: str = ""
    """FFmpeg's name for the effort; empty where there is no choice."""
    default_preset: str = ""
    presets: tuple[str, ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    """Further options that are always given."""
    avx512_options: tuple[tuple[str, str], ...] = ()
    """Further options on processors with AVX-512."""
    odd_pixel_format: str = ""
    """For an odd width or height, where the encoder refuses these in 4:2:0; empty where it does
    not."""
    apple_codec_tag: str = ""
    """The codec tag (FourCC) without which Apple's players do not play it in MP4 and MOV."""
    signals_full_range: bool = True
    """Whether the file can declare that its values use the full range."""


# With its code for AVX-512, x264 makes other files of the same frames in each run, at some sizes. A
# processor with AVX-512 has AVX2 as well; others may not, and would crash.
X264_REPEATABLE = ("x264-params", "asm=avx2")

ENCODERS: dict[str, Encoder] = {
    "libx264": Encoder(
        "yuv420p", "yuv420p", 0.3,
        default_quality=18, worst_quality=51,
        preset_option="preset", default_preset="medium", presets=X264_PRESETS,
        avx512_options=(X264_REPEATABLE,), odd_pixel_format="yuv444p",
    ),
    "libx265": Encoder(
        "yuv420p", "yuv420p10le", 0.25,
        default_quality=20, worst_quality=51,
        preset_option="preset", default_preset="medium", presets=X264_PRESETS,
        options=(("x265-params", "log-level=error"),),
        odd_pixel_format="yuv444p", apple_codec_tag="hvc1",
    ),
    "libsvtav1": Encoder(
        "yuv420p", "yuv420p10le", 0.2,
        default_quality=24, worst_quality=63,
        preset_option="preset", default_preset="6", presets=tuple(map(str, range(14))),
    ),
    "libvpx-vp9": Encoder(
        "yuv420p", "yuv420p", 0.25,
        default_quality=24, worst_quality=63,
        preset_option="cpu-used", default_preset="4", presets=tuple(map(str, range(9))),
        options=(("b", "0"), ("row-mt", "1"), ("deadline", "good")),
    ),
    "prores_ks": Encoder(
        "yuv422p10le", "yuv422p10le", 1.2,
        quality_option="",
        preset_option="profile", default_preset="hq",
        presets=("proxy", "lt", "standard", "hq", "4444", "4444xq"),
        options=(("vendor", "apl0"),), signals_full_range=False,
    ),
    "ffv1": Encoder(
        "bgr0", "gbrp14le", 2.0,
        quality_option="",
        options=(("level", "3"), ("slicecrc", "1"), ("slices", "4")),
    ),
    "h264_nvenc": Encoder(
        "yuv420p", "yuv420p", 0.3,
        quality_option="cq", default_quality=20, worst_quality=51,
        preset_option="preset", default_preset="p5", presets=NVENC_PRESETS,
        options=(("rc", "vbr"), ("b", "0")), odd_pixel_format="yuv444p",
    ),
    "hevc_nvenc": Encoder(
        "yuv420p", "p010le", 0.25,
        quality_option="cq", default_quality=22, worst_quality=51,
        preset_option="preset", default_preset="p5", presets=NVENC_PRESETS,
        options=(("rc", "vbr"), ("b", "0")),
        odd_pixel_format="yuv444p", apple_codec_tag="hvc1",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class AudioFallback:
    """How audio is encoded that a container cannot hold as it is."""

    codec: str
    rates_hz: tuple[int, ...]
    """Audio of any other rate is resampled to the first."""
    layouts: Mapping[int, str]
    """Channel layout for each number of channels; any other number is mixed to stereo."""


AAC_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
AAC = AudioFallback(
    "aac",
    (48000, 44100, 96000, 88200, 32000, 24000, 22050, 16000, 12000, 11025, 8000),
    AAC_LAYOUTS,
)
OPUS = AudioFallback(
    "libopus",
    (48000, 24000, 16000, 12000, 8000),
    {**AAC_LAYOUTS, 4: "quad", 7: "6.1"},
)


@dataclass(frozen=True)
class Animation:
    """How FFmpeg encodes an image file that moves and loops."""

    encoder: str
    pixel_format: str
    tick_seconds: Fraction
    """Time base: the times of frames are whole multiples of this."""
    quality_option: str = ""
    """FFmpeg's name for the quality; empty where the encoder is lossless."""
    default_quality: int = 0


@dataclass(frozen=True)
class OutputFormat:
    """One kind of video file that can be written."""

    suffix: str
    muxer: str
    """FFmpeg's name of the container."""
    encoders: tuple[str, ...]
    """Those whose streams the container holds; the first is the default. Of an animation, the one
    that keeps the frames until all of them are made."""
    muxer_options: tuple[tuple[str, str], ...] = ()
    # The codecs are listed by FFmpeg's names: PyAV's own lists claim codecs that the muxers refuse.
    audio_codecs: frozenset[str] = frozenset()
    """Audio that is copied; other audio is encoded by the fallback."""
    audio_fallback: AudioFallback = AAC
    subtitle_codecs: frozenset[str] = frozenset()
    """Subtitles that are copied."""
    text_subtitle_codec: str = ""
    """What other text subtitles are converted to."""
    counts_samples: bool = False
    """Whether times of audio are exact to the sample; else they are rounded to milliseconds."""
    holds_attachments: bool = False
    """Whether attached files, such as fonts, are carried over; covers are then attached, too."""
    cover_codecs: frozenset[str] = frozenset()
    """Covers that are carried over."""
    needs_apple_codec_tags: bool = False
    """Whether Apple's players open it, and look for `Encoder.apple_codec_tag`."""
    holds_settings: bool = True
    """Whether the settings are written into its metadata."""
    max_size_px: int | None = None
    """Longest side, unless the settings give a size."""
    zoom_frame_rate: int | None = None
    """Frames per second of a zoom, unless the settings give a rate; None for the default."""
    animation: Animation | None = None


# The movie's clock ticks in milliseconds by default, which shifts a video that starts late.
# +faststart puts the index first, so that a browser plays the video before it has all of it.
MOVIE_OPTIONS = (("movflags", "+faststart"), ("movie_timescale", "90000"))
# Audio may begin before zero: AAC's priming samples do. By default the muxer would shift all else.
MATROSKA_OPTIONS = (("avoid_negative_ts", "disabled"),)
# Animations grow large: this is what a chat or a web page shows.
ANIMATION_MAX_PX = 480
# The encoder of frames that are read again: a GIF needs all of them to choose its colours.
ANIMATION_INTERMEDIATE = "ffv1"
# GIF counts in hundredths of a second: 30 frames per second would stutter.
GIF_FRAME_RATE = 25
# No visible blur, at a third of the size of the default quality of still images.
ANIMATED_WEBP_QUALITY = 80
DEFAULT_ENCODER = "libx264"
# Suffix and type of attached covers, by FFmpeg's names of their codecs.
COVER_MIME_TYPES = {
    "mjpeg": (".jpg", "image/jpeg"),
    "png": (".png", "image/png"),
    "bmp": (".bmp", "image/bmp"),
    "gif": (".gif", "image/gif"),
    "tiff": (".tiff", "image/tiff"),
    "webp": (".webp", "image/webp"),
}

OUTPUT_FORMATS: dict[str, OutputFormat] = {
    row.suffix: row
    for row in (
        OutputFormat(
            ".mp4", "mp4",
            (
                *(DEFAULT_ENCODER, "libx265", "libsvtav1", "libvpx-vp9"),
                *("h264_nvenc", "hevc_nvenc"),
            ),
            MOVIE_OPTIONS,
            audio_codecs=frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"}),
            subtitle_codecs=frozenset({"mov_text"}), text_subtitle_codec="mov_text",
            cover_codecs=frozenset({"mjpeg", "png", "bmp"}),
            counts_samples=True, needs_apple_codec_tags=True,
        ),
        OutputFormat(
            ".mov", "mov",
            (DEFAULT_ENCODER, "libx265", "prores_ks", "h264_nvenc", "hevc_nvenc"),
            MOVIE_OPTIONS,
            audio_codecs=frozenset({
                *("aac", "mp3", "ac3", "eac3", "alac"),
                *("pcm_s16le", "pcm_s24le", "pcm_s16be", "pcm_f32le"),
            }),
            subtitle_codecs=frozenset({"mov_text"}), text_subtitle_codec="mov_text",
            counts_samples=True, needs_apple_codec_tags=True,
        ),
        OutputFormat(
            ".mkv", "matroska", tuple(ENCODERS), MATROSKA_OPTIONS,
            audio_codecs=frozenset({
                *("aac", "mp3", "mp2", "ac3", "eac3", "dts", "truehd", "alac", "opus", "flac"),
                *("vorbis", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_u8", "pcm_f32le"),
            }),
            subtitle_codecs=frozenset({
                *("subrip", "ass", "webvtt", "dvd_subtitle", "hdmv_pgs_subtitle"),
                *("dvb_subtitle", "text"),
            }),
            text_subtitle_codec="subrip", holds_attachments=True,
            cover_codecs=frozenset(COVER_MIME_TYPES),
        ),
        OutputFormat(
            ".webm", "webm", ("libvpx-vp9", "libsvtav1"), MATROSKA_OPTIONS,
            audio_codecs=frozenset({"opus", "vorbis"}), audio_fallback=OPUS,
            subtitle_codecs=frozenset({"webvtt"}), text_subtitle_codec="webvtt",
        ),
        OutputFormat(
            ".gif", "gif", (ANIMATION_INTERMEDIATE,),
            holds_settings=False, max_size_px=ANIMATION_MAX_PX, zoom_frame_rate=GIF_FRAME_RATE,
            animation=Animation("gif", "pal8", Fraction(1, 100)),
        ),
        OutputFormat(
            ".webp", "webp", (ANIMATION_INTERMEDIATE,), (("loop", "0"),),
            holds_settings=False, max_size_px=ANIMATION_MAX_PX,
            animation=Animation(
                "libwebp_anim", "bgra", Fraction(1, 1000), "quality", ANIMATED_WEBP_QUALITY
            ),
        ),
        OutputFormat(
            ".apng", "apng", (ANIMATION_INTERMEDIATE,), (("plays", "0"),),
            holds_settings=False, max_size_px=ANIMATION_MAX_PX,
            animation=Animation("apng", "rgb24", Fraction(1, 1000)),
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class ImageFormat:
    """One kind of image file that is read and written."""

    name: str
    suffixes: tuple[str, ...]
    """The first is its own, the others mean the same."""
    max_bits: int = 8
    """Of each channel, when written."""
    default_quality: int | None = None
    """From 1 to 100; None for lossless formats."""
    holds_alpha: bool = False
    holds_profile: bool = False
    """ICC colour profiles."""
    holds_exif: bool = False
    options: tuple[tuple[str, int], ...] = ()
    """Further options of Pillow that are always given."""


# No visible loss.
IMAGE_QUALITY = 95
# Those that Pillow both reads and writes. Dreams are all fine detail, which JPEG's halved chroma
# would blur: subsampling 0 is 4:4:4.
IMAGE_FORMATS: dict[str, ImageFormat] = {
    suffix: row
    for row in (
        ImageFormat(
            "PNG", (".png",), max_bits=16, holds_alpha=True, holds_profile=True, holds_exif=True
        ),
        ImageFormat(
            "JPEG", (".jpg", ".jpeg"), default_quality=IMAGE_QUALITY,
            holds_profile=True, holds_exif=True, options=(("subsampling", 0),),
        ),
        ImageFormat(
            "TIFF", (".tiff", ".tif"), max_bits=16, holds_alpha=True, holds_profile=True
        ),
        ImageFormat(
            "WebP", (".webp",), default_quality=IMAGE_QUALITY,
            holds_alpha=True, holds_profile=True, holds_exif=True,
        ),
        ImageFormat("BMP", (".bmp",)),
    )
    for suffix in row.suffixes
}  # fmt: skip

IMAGE_SUFFIXES = tuple(IMAGE_FORMATS)
# How a user asks for an image format: png, jpg, …
IMAGE_FORMAT_NAMES = tuple(
    dict.fromkeys(row.suffixes[0].removeprefix(".") for row in IMAGE_FORMATS.values())
)
# A .webp is an animation only where it cannot be a still image, so it is not among these.
VIDEO_SUFFIXES = tuple(suffix for suffix in OUTPUT_FORMATS if suffix not in IMAGE_FORMATS)
ANIMATED_SUFFIXES = tuple(suffix for suffix, row in OUTPUT_FORMATS.items() if row.animation)


def output_format(path: str | Path) -> OutputFormat:
    """The row of a video file that is to be written.

    Raises:
        KeyError: the suffix is not that of a video file.
    """
    return OUTPUT_FORMATS[Path(path).suffix.lower()]


def suffixes_of_encoder(name: str) -> tuple[str, ...]:
    """The video files that an encoder can be chosen for."""
    return tuple(
        suffix
        for suffix, row in OUTPUT_FORMATS.items()
        if name in row.encoders and row.animation is None
    )


# The name of standard input and output.
STREAM_NAME = "-"


class MediaKind(enum.Enum):
    """What can be read or written; the value is its name in messages."""

    STILL = "a still image"
    VIDEO = "a video"
    FOLDER = "a folder of images"
    STREAM = "a stream"


def output_kind(name: str) -> MediaKind | None:
    """What an output is to be, by its suffix; without one a folder. None for unknown suffixes."""
    if name == STREAM_NAME:
        return MediaKind.STREAM
    if has_suffix(name, IMAGE_SUFFIXES):
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
