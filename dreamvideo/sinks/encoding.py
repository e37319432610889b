"""Encodes frames at exact times, in exact colours. Refuses to know where the packets go."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.codec.context import Flags
from av.container import OutputContainer
from av.filter import Graph
from av.video.stream import VideoStream

from dreamvideo.colour import MATRIX_NAMES, MATRIX_RGB, SCALE_FLAGS
from dreamvideo.errors import OutputError
from dreamvideo.frames import Footage, Frame
from dreamvideo.media.filters import filter_chain
from dreamvideo.sinks.choice import SHALLOW_BITS, Encoding, missing_encoder
from dreamvideo.sinks.pixels import to_bits

# Code points of FFmpeg's AVColorRange.
LIMITED_RANGE, FULL_RANGE = 1, 2


class PictureEncoder:
    """Encodes frames into a stream of a container."""

    def __init__(self, container: OutputContainer, encoding: Encoding, footage: Footage) -> None:
        """Add the stream and open the encoder.

        Raises:
            OutputError: the encoder is missing, or refuses.
        """
        self.encoding = encoding
        self._footage = footage
        self._format = av.VideoFormat(encoding.pixel_format)
        self._last_pts: int | None = None
        try:
            stream = container.add_stream(encoding.name, rate=footage.frame_rate)
        except av.codec.codec.UnknownCodecError as error:
            raise missing_encoder(encoding.name) from error
        self.stream = cast(VideoStream, stream)
        self._describe()
        try:
            self.stream.codec_context.open()
        except (av.FFmpegError, OSError) as error:
            raise OutputError(
                f"the encoder {encoding.name} does not start here for "
                f"{footage.width_px}x{footage.height_px} {encoding.pixel_format}: "
                f"{error.strerror}; choose another --encoder"
            ) from error
        self._graph = self._conversion()

    def encode(self, frame: Frame | None) -> list[av.Packet[VideoStream]]:
        """The packets that a frame makes ready; those held back for None."""
        return list(self.stream.encode(None if frame is None else self._convert(frame)))

    def _describe(self) -> None:
        footage, encoding = self._footage, self.encoding
        context = self.stream.codec_context
        context.width, context.height = footage.width_px, footage.height_px
        context.pix_fmt = encoding.pixel_format
        context.time_base = footage.time_base_seconds
        self.stream.time_base = footage.time_base_seconds
        context.sample_aspect_ratio = footage.pixel_aspect
        context.color_primaries = footage.colour.primaries
        context.color_trc = footage.colour.transfer
        is_rgb = self._format.is_rgb
        context.colorspace = MATRIX_RGB if is_rgb else footage.colour.matrix
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
        pixels = np.ascontiguousarray(to_bits(frame.image, self._bits))
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
def writing_errors(path: Path | str) -> Iterator[None]:
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
