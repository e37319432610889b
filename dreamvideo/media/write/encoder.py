"""Chooses an encoder and encodes frames at exact times, in exact colours."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import numpy.typing as npt
from av.codec.context import Flags
from av.container import OutputContainer
from av.filter import Graph
from av.video.stream import VideoStream

from dreamvideo.errors import DreamVideoWarning, OutputError, SettingsError
from dreamvideo.media.ffmpeg import MATRIX_NAMES, MATRIX_RGB, SCALE_FLAGS, filter_chain
from dreamvideo.media.formats import (
    ANIMATED_SUFFIXES,
    DEFAULT_ENCODER,
    DEFAULT_ENCODERS,
    ENCODERS,
    Encoder,
    MediaKind,
)
from dreamvideo.settings import Settings
from dreamvideo.types import FloatArray, Frame, VideoInfo


def to_integers(picture: FloatArray, bits: int) -> npt.NDArray[Any]:
    """Values in [0, 1] as unsigned integers of 8 or 16 bits, rounded, in the same shape."""
    kind = np.uint8 if bits == 8 else np.uint16
    scaled = picture * np.float32(np.iinfo(kind).max)
    np.rint(scaled, out=scaled)
    return scaled.astype(kind)


# Every bit counts in the conversion only where the encoder keeps more than these.
SHALLOW_BITS = 8


@dataclass(frozen=True)
class Encoding:
    """How a film is going to be encoded."""

    name: str
    pixel_format: str
    options: tuple[tuple[str, str], ...]
    full_range: bool

    @property
    def facts(self) -> Encoder:
        """What is known of the encoder."""
        return ENCODERS[self.name]


def choose_encoding(suffix: str, settings: Settings, info: VideoInfo) -> Encoding:
    """What the settings ask for, or what suits the file and the pictures.

    Raises:
        SettingsError: the encoder does not go with the file, the quality, preset or pixel format.
    """
    default = DEFAULT_ENCODERS.get(suffix, DEFAULT_ENCODER)
    name = settings.encoder or default
    facts = ENCODERS[name]
    for option in ("encoder", "crf", "preset", "pixel_format"):
        if suffix in ANIMATED_SUFFIXES and getattr(settings, option) is not None:
            flag = option.replace("_", "-")
            raise SettingsError(
                f"{flag} cannot be {getattr(settings, option)} for a {suffix}, which has none; "
                f"leave --{flag} out"
            )
    if suffix not in ANIMATED_SUFFIXES and suffix not in facts.suffixes:
        raise SettingsError(
            f"encoder {name} cannot be in {suffix}: allowed is {', '.join(facts.suffixes)}; "
            f"{suffix} takes {', '.join(k for k, v in ENCODERS.items() if suffix in v.suffixes)}"
        )
    options = dict(facts.options)
    if facts.quality_option:
        quality = facts.quality if settings.crf is None else settings.crf
        if quality > facts.worst_quality:
            raise SettingsError(
                f"crf cannot be {quality} with {name}: allowed is 0 to {facts.worst_quality}"
            )
        options[facts.quality_option] = str(quality)
    elif settings.crf is not None:
        raise SettingsError(f"crf cannot be {settings.crf} with {name}, which knows no quality")
    if settings.preset is not None and settings.preset not in facts.presets:
        allowed = f"one of {', '.join(facts.presets)}" if facts.presets else "none"
        raise SettingsError(f"preset cannot be {settings.preset} with {name}: allowed is {allowed}")
    if facts.preset_option:
        options[facts.preset_option] = settings.preset or facts.preset
    pixel_format = _pixel_format(name, settings, info)
    is_rgb = av.VideoFormat(pixel_format).is_rgb
    full_range = is_rgb or (info.colour.full_range and facts.full_range)
    return Encoding(name, pixel_format, tuple(options.items()), full_range)


def _pixel_format(name: str, settings: Settings, info: VideoInfo) -> str:
    facts = ENCODERS[name]
    is_odd = info.width_px % 2 or info.height_px % 2
    if settings.pixel_format is None:
        if is_odd and not facts.odd_sizes:
            warnings.warn(
                f"{info.width_px}x{info.height_px} has an odd side, which {name} keeps as "
                f"{facts.odd_pixel_format}; some players and browsers do not show that: --size "
                "makes it even",
                DreamVideoWarning,
                stacklevel=2,
            )
            return facts.odd_pixel_format
        return facts.pixel_format if info.bits <= SHALLOW_BITS else facts.deep_pixel_format
    try:
        known = [kind.name for kind in av.Codec(name, "w").video_formats or ()]
    except av.codec.codec.UnknownCodecError as error:
        raise missing_encoder(name) from error
    if settings.pixel_format not in known:
        raise SettingsError(
            f"pixel-format cannot be {settings.pixel_format} with {name}: allowed is one of "
            f"{', '.join(known)}"
        )
    if is_odd and not facts.odd_sizes and "444" not in settings.pixel_format:
        raise SettingsError(
            f"pixel-format cannot be {settings.pixel_format} with {name} at "
            f"{info.width_px}x{info.height_px}: odd sides need {facts.odd_pixel_format}, or "
            "give an even --size"
        )
    return settings.pixel_format


def missing_encoder(name: str) -> OutputError:
    """The error that says so, and which encoders are there."""
    return OutputError(
        f"the encoder {name} is not in this build of FFmpeg; there are "
        f"{', '.join(sorted(set(ENCODERS) & av.codecs_available))}"
    )


# Code points of FFmpeg's AVColorRange.
LIMITED_RANGE, FULL_RANGE = 1, 2


class FrameEncoder:
    """Encodes frames into a stream of a container."""

    def __init__(self, container: OutputContainer, encoding: Encoding, info: VideoInfo) -> None:
        """Add the stream and open the encoder.

        Raises:
            OutputError: the encoder is missing, or refuses.
        """
        self.encoding = encoding
        self._footage = info
        self._format = av.VideoFormat(encoding.pixel_format)
        self._last_pts: int | None = None
        try:
            stream = container.add_stream(encoding.name, rate=info.frame_rate)
        except av.codec.codec.UnknownCodecError as error:
            raise missing_encoder(encoding.name) from error
        self.stream = cast(VideoStream, stream)
        self._describe()
        try:
            self.stream.codec_context.open()
        except (av.FFmpegError, OSError) as error:
            raise OutputError(
                f"the encoder {encoding.name} does not start here for "
                f"{info.width_px}x{info.height_px} {encoding.pixel_format}: "
                f"{error.strerror}; choose another --encoder"
            ) from error
        self._graph = self._conversion()

    def encode(self, frame: Frame | None) -> list[av.Packet[VideoStream]]:
        """The packets that a frame makes ready; those held back for None."""
        return list(self.stream.encode(None if frame is None else self._convert(frame)))

    def _describe(self) -> None:
        info, encoding = self._footage, self.encoding
        context = self.stream.codec_context
        context.width, context.height = info.width_px, info.height_px
        context.pix_fmt = encoding.pixel_format
        context.time_base = info.time_base_seconds
        self.stream.time_base = info.time_base_seconds
        context.sample_aspect_ratio = info.pixel_aspect
        context.color_primaries = info.colour.primaries
        context.color_trc = info.colour.transfer
        is_rgb = self._format.is_rgb
        context.colorspace = MATRIX_RGB if is_rgb else info.colour.matrix
        context.color_range = FULL_RANGE if encoding.full_range else LIMITED_RANGE
        # Without this the last frame of a film with a variable rate is shown too long.
        context.flags |= Flags.frame_duration
        context.options = dict(encoding.options)

    def _conversion(self) -> Graph:
        """From RGB to what the encoder takes; PyAV's own conversion misplaces chroma."""
        context = self.stream.codec_context
        deepest = max(component.bits for component in self._format.components)
        self._bits = 8 if deepest <= SHALLOW_BITS else 16
        self._layout = "rgb24" if self._bits == 8 else "rgb48le"
        steps = [("scale", f"flags={SCALE_FLAGS}")]
        if not self._format.is_rgb:
            steps = self._steps_to_yuv(MATRIX_NAMES[int(context.colorspace)], deepest)
        steps.append(("format", self.encoding.pixel_format))
        return filter_chain(
            (context.width, context.height),
            av.VideoFormat(self._layout),
            self._footage.time_base_seconds,
            steps,
        )

    def _steps_to_yuv(self, matrix: str, bits: int) -> list[tuple[str, str]]:
        """Filters, with their options, from RGB to YUV.

        FFmpeg's own way to the full range loses half a step of colour: there, values of 16 bits
        in the limited range are stretched by a table, whose top is what FFmpeg rounds them from.
        """
        limited = f"flags={SCALE_FLAGS}:out_color_matrix={matrix}:out_range=tv:out_chroma_loc=left"
        if not self.encoding.full_range:
            return [("scale", limited)]
        top = (2**bits - 1) << (16 - bits)
        luma = f"clip((val-{16 << 8})*{top}/{219 << 8},0,65535)"
        chroma = f"clip((val-{1 << 15})*{top}/{224 << 8}+{1 << 15},0,65535)"
        rounded = f"flags={SCALE_FLAGS}:sws_dither=none:in_range=pc:out_range=pc"
        return [
            ("scale", limited),
            ("format", "yuv444p16le"),
            (
                "lutyuv",
                ":".join(
                    f"{plane}='{of}'"
                    for plane, of in zip("yuv", (luma, chroma, chroma), strict=True)
                ),
            ),
            ("scale", f"{rounded}:out_chroma_loc=left"),
        ]

    def _convert(self, frame: Frame) -> av.VideoFrame:
        pixels = np.ascontiguousarray(to_integers(frame.image, self._bits))
        picture = av.VideoFrame.from_ndarray(pixels, format=self._layout)
        picture.time_base = self._footage.time_base_seconds
        picture.pts = self._pts(frame)
        self._graph.vpush(picture)
        converted = self._graph.vpull()
        if frame.duration_seconds is not None:
            converted.duration = round(frame.duration_seconds / self._footage.time_base_seconds)
        return converted

    def _pts(self, frame: Frame) -> int:
        """The frame's time in ticks; one tick late where the source shows two frames at once."""
        pts = round(frame.time_seconds / self._footage.time_base_seconds)
        if self._last_pts is not None:
            pts = max(pts, self._last_pts + 1)
        self._last_pts = pts
        return pts


@contextmanager
def translate_write_errors(path: Path | str) -> Iterator[None]:
    """Turns what FFmpeg and the system say into one line about the file."""
    try:
        yield
    except (av.FFmpegError, OSError) as error:
        remedy = (
            "make room and start again"
            if error.errno == errno.ENOSPC
            else "choose another place or format"
        )
        raise OutputError(f"cannot write {path}: {error.strerror}; {remedy}") from error


def check_encoding(kind: MediaKind, output: Path, settings: Settings, info: VideoInfo) -> None:
    """Refuse settings that do not go with the output.

    Raises:
        SettingsError: the encoder does not go with the film, its quality or its colours.
    """
    if kind is MediaKind.VIDEO:
        choose_encoding(output.suffix.lower(), settings, info)
