"""Chooses an encoder; encodes frames at exact times, in exact colours."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.codec.context import Flags
from av.container import OutputContainer
from av.filter import Graph
from av.video.stream import VideoStream

from dreamvideo.errors import DreamVideoWarning, OutputError, SettingsError
from dreamvideo.media.formats import (
    ENCODERS,
    Encoder,
    MediaKind,
    OutputFormat,
    output_format,
    suffixes_of_encoder,
)
from dreamvideo.media.pixels import (
    FULL_RANGE,
    LIMITED_RANGE,
    MATRIX_NAMES,
    MATRIX_RGB,
    SCALE_FLAGS,
    filter_chain,
    to_integers,
)
from dreamvideo.runtime.devices import has_avx512
from dreamvideo.settings import Settings
from dreamvideo.settings.options import option_values
from dreamvideo.types import Frame, VideoInfo

# Frames are converted with 16 bits only for pixel formats that keep more bits than this.
SHALLOW_BITS = 8


@dataclass(frozen=True)
class Encoding:
    """How a video is encoded."""

    name: str
    """Of the encoder."""
    pixel_format: str
    options: tuple[tuple[str, str], ...]
    full_range: bool

    @property
    def encoder(self) -> Encoder:
        """The encoder's row in the table of encoders."""
        return ENCODERS[self.name]


def check_encoding(kind: MediaKind, output: Path, settings: Settings, info: VideoInfo) -> None:
    """Refuse encoder options that the output does not support.

    Raises:
        SettingsError: see `choose_encoding`.
    """
    if kind is MediaKind.VIDEO:
        choose_encoding(output_format(output), settings, info)


def choose_encoding(row: OutputFormat, settings: Settings, info: VideoInfo) -> Encoding:
    """The encoding that the settings ask for, with the defaults of the format.

    Raises:
        SettingsError: the format does not hold the encoder, or the encoder does not support the
            quality, preset or pixel format.
    """
    if row.animation is not None:
        _refuse_encoder_options(row, settings)
    name = settings.encoder or row.encoders[0]
    encoder = ENCODERS[name]
    if name not in row.encoders:
        raise SettingsError(
            f"encoder {name} cannot be in {row.suffix}: allowed is "
            f"{', '.join(suffixes_of_encoder(name))}; {row.suffix} takes {', '.join(row.encoders)}"
        )
    options = dict(encoder.options)
    if has_avx512():
        options.update(encoder.avx512_options)
    if encoder.quality_option:
        quality = encoder.default_quality if settings.crf is None else settings.crf
        if quality > encoder.worst_quality:
            raise SettingsError(
                f"crf cannot be {quality} with {name}: allowed is 0 to {encoder.worst_quality}"
            )
        options[encoder.quality_option] = str(quality)
    elif settings.crf is not None:
        raise SettingsError(
            f"crf cannot be {settings.crf} with {name}, which has no quality; leave --crf out"
        )
    if settings.preset is not None and settings.preset not in encoder.presets:
        allowed = f"one of {', '.join(encoder.presets)}" if encoder.presets else "none"
        raise SettingsError(f"preset cannot be {settings.preset} with {name}: allowed is {allowed}")
    if encoder.preset_option:
        options[encoder.preset_option] = settings.preset or encoder.default_preset
    pixel_format = _choose_pixel_format(name, settings, info)
    is_rgb = av.VideoFormat(pixel_format).is_rgb
    full_range = is_rgb or (info.colour.full_range and encoder.signals_full_range)
    return Encoding(name, pixel_format, tuple(options.items()), full_range)


def _refuse_encoder_options(row: OutputFormat, settings: Settings) -> None:
    for option, value in option_values(settings):
        if option.for_encoder and value is not None:
            raise SettingsError(
                f"{option.key} cannot be {value} for a {row.suffix}, which has none; leave "
                f"{option.flag} out"
            )


def _choose_pixel_format(name: str, settings: Settings, info: VideoInfo) -> str:
    encoder = ENCODERS[name]
    is_odd = bool(info.width_px % 2 or info.height_px % 2)
    needs_other_format = is_odd and bool(encoder.odd_pixel_format)
    if settings.pixel_format is None:
        if needs_other_format:
            warnings.warn(
                f"{info.width_px}x{info.height_px} has an odd side, which {name} keeps as "
                f"{encoder.odd_pixel_format}; some players and browsers do not show that: --size "
                "makes it even",
                DreamVideoWarning,
                stacklevel=2,
            )
            return encoder.odd_pixel_format
        return encoder.pixel_format if info.bits <= SHALLOW_BITS else encoder.deep_pixel_format
    try:
        allowed = [allowed.name for allowed in av.Codec(name, "w").video_formats or ()]
    except av.codec.codec.UnknownCodecError as error:
        raise missing_encoder(name) from error
    if settings.pixel_format not in allowed:
        raise SettingsError(
            f"pixel-format cannot be {settings.pixel_format} with {name}: allowed is one of "
            f"{', '.join(allowed)}"
        )
    if needs_other_format and "444" not in settings.pixel_format:
        raise SettingsError(
            f"pixel-format cannot be {settings.pixel_format} with {name} at "
            f"{info.width_px}x{info.height_px}: odd sides need {encoder.odd_pixel_format}, or "
            "give an even --size"
        )
    return settings.pixel_format


def missing_encoder(name: str) -> OutputError:
    """The error that FFmpeg lacks an encoder, with those that it has."""
    return OutputError(
        f"the encoder {name} is not in this build of FFmpeg; choose one of "
        f"{', '.join(sorted(set(ENCODERS) & av.codecs_available))}"
    )


class FrameEncoder:
    """Encodes frames into a stream of a container."""

    def __init__(self, container: OutputContainer, encoding: Encoding, info: VideoInfo) -> None:
        """Add the stream and open the encoder.

        Raises:
            OutputError: the encoder is missing, or does not start.
        """
        self.encoding = encoding
        self._info = info
        self._format = av.VideoFormat(encoding.pixel_format)
        self._last_pts: int | None = None
        try:
            stream = container.add_stream(encoding.name, rate=info.frame_rate)
        except av.codec.codec.UnknownCodecError as error:
            raise missing_encoder(encoding.name) from error
        self.stream = cast(VideoStream, stream)
        self._set_up()
        try:
            self.stream.codec_context.open()
        except (av.FFmpegError, OSError) as error:
            raise OutputError(
                f"the encoder {encoding.name} does not start here for "
                f"{info.width_px}x{info.height_px} {encoding.pixel_format}: "
                f"{error.strerror}; choose another --encoder"
            ) from error
        self._graph = self._make_graph()

    def encode(self, frame: Frame | None) -> list[av.Packet[VideoStream]]:
        """The packets that are ready after a frame; for None those that are still held back."""
        return list(self.stream.encode(None if frame is None else self._convert(frame)))

    def _set_up(self) -> None:
        """Set the size, clock, colours and options of the encoder."""
        info, encoding = self._info, self.encoding
        context = self.stream.codec_context
        context.width, context.height = info.width_px, info.height_px
        context.pix_fmt = encoding.pixel_format
        context.time_base = info.time_base_seconds
        self.stream.time_base = info.time_base_seconds
        context.sample_aspect_ratio = info.pixel_aspect
        context.color_primaries = info.colour.primaries
        context.color_trc = info.colour.transfer
        context.colorspace = MATRIX_RGB if self._format.is_rgb else info.colour.matrix
        context.color_range = FULL_RANGE if encoding.full_range else LIMITED_RANGE
        # Without this the last frame of a video with a variable rate is shown too long.
        context.flags |= Flags.frame_duration
        context.options = dict(encoding.options)

    def _make_graph(self) -> Graph:
        """From RGB to the encoder's pixel format; PyAV's own conversion misplaces chroma."""
        context = self.stream.codec_context
        deepest_bits = max(component.bits for component in self._format.components)
        self._bits = 8 if deepest_bits <= SHALLOW_BITS else 16
        self._rgb_format = "rgb24" if self._bits == 8 else "rgb48le"
        filters = [("scale", f"flags={SCALE_FLAGS}")]
        if not self._format.is_rgb:
            filters = self._filters_to_yuv(MATRIX_NAMES[int(context.colorspace)], deepest_bits)
        filters.append(("format", self.encoding.pixel_format))
        return filter_chain(
            (context.width, context.height),
            av.VideoFormat(self._rgb_format),
            self._info.time_base_seconds,
            filters,
        )

    def _filters_to_yuv(self, matrix: str, bits: int) -> list[tuple[str, str]]:
        """Filters, with their options, from RGB to YUV.

        FFmpeg's own conversion to the full range is off by half a step. So values of 16 bits in
        the limited range are stretched by a table to the multiples that FFmpeg rounds to `bits`.
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
            ("lutyuv", f"y='{luma}':u='{chroma}':v='{chroma}'"),
            ("scale", f"{rounded}:out_chroma_loc=left"),
        ]

    def _convert(self, frame: Frame) -> av.VideoFrame:
        pixels = np.ascontiguousarray(to_integers(frame.image, self._bits))
        rgb = av.VideoFrame.from_ndarray(pixels, format=self._rgb_format)
        rgb.time_base = self._info.time_base_seconds
        rgb.pts = self._next_pts(frame)
        self._graph.vpush(rgb)
        converted = self._graph.vpull()
        if frame.duration_seconds is not None:
            converted.duration = round(frame.duration_seconds / self._info.time_base_seconds)
        return converted

    def _next_pts(self, frame: Frame) -> int:
        """The frame's time in ticks; one tick late where the source shows two frames at once."""
        pts = round(frame.time_seconds / self._info.time_base_seconds)
        if self._last_pts is not None:
            pts = max(pts, self._last_pts + 1)
        self._last_pts = pts
        return pts


@contextmanager
def translate_write_errors(path: Path | str) -> Iterator[None]:
    """Turns errors of FFmpeg and of the system into an `OutputError` of one line."""
    try:
        yield
    except (av.FFmpegError, OSError) as error:
        remedy = (
            "make room and start again"
            if error.errno == errno.ENOSPC
            else "choose another folder or format"
        )
        raise OutputError(f"cannot write {path}: {error.strerror}; {remedy}") from error
