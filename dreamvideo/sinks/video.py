"""Frames as a film: H.264, exact times, tagged colours, the source's sound.

Refuses to know how the frames were made.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags
from av.filter import Graph
from av.video.stream import VideoStream

from dreamvideo.colour import MATRIX_NAMES, SCALE_FLAGS
from dreamvideo.errors import OutputError
from dreamvideo.frames import Footage, Frame
from dreamvideo.settings import Settings
from dreamvideo.sinks.pixels import to_eight_bits
from dreamvideo.sinks.sound import SoundTracks

CONTAINER_FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
# Puts the index first, so that a film plays in a browser before it is all there.
# The movie's clock ticks in milliseconds by default, which moves a film that starts late.
MOVIE_OPTIONS = {"movflags": "+faststart", "movie_timescale": "90000"}
CONTAINER_OPTIONS = {".mp4": MOVIE_OPTIONS, ".mov": MOVIE_OPTIONS}
# What every player shows.
PIXEL_FORMAT = "yuv420p"
LIMITED_RANGE = 1


class VideoSink:
    """Encodes frames into a container as they come."""

    def __init__(self, part: Path, path: Path, footage: Footage, settings: Settings) -> None:
        """Open the file `part` for a film that will be called `path`.

        Raises:
            OutputError: the file cannot be opened, or an encoder is missing.
        """
        self._path = path
        self._footage = footage
        self._last_pts: int | None = None
        suffix = path.suffix.lower()
        with self._errors(), ExitStack() as opened:
            self._container = opened.enter_context(
                av.open(
                    str(part.absolute()),
                    "w",
                    format=CONTAINER_FORMATS[suffix],
                    container_options=CONTAINER_OPTIONS.get(suffix, {}),
                )
            )
            self._stream = self._add_stream(settings)
            self._sound = opened.enter_context(closing(SoundTracks(footage.path, self._container)))
            self._graph = self._conversion()
            self._opened = opened.pop_all()

    def write(self, frame: Frame) -> None:
        """See `Sink`."""
        with self._errors():
            self._sound.write_until(frame.time_seconds)
            self._container.mux(self._stream.encode(self._convert(frame)))

    def finish(self) -> None:
        """Write all that is still held back, and the file's index.

        Raises:
            OutputError: as in `write`.
        """
        with self._errors():
            self._container.mux(self._stream.encode(None))
            self._sound.write_until(None)
            self._container.close()

    def close(self) -> None:
        """Close the files. Without `finish` the film is not whole, so that no error matters."""
        with suppress(av.FFmpegError, OSError):
            self._opened.close()

    def _add_stream(self, settings: Settings) -> VideoStream:
        footage = self._footage
        stream: VideoStream = self._container.add_stream("libx264", rate=footage.frame_rate)
        colour = footage.colour
        context = stream.codec_context
        context.width, context.height = (
            side + side % 2 for side in (footage.width_px, footage.height_px)
        )
        context.pix_fmt = PIXEL_FORMAT
        context.time_base = footage.time_base_seconds
        stream.time_base = footage.time_base_seconds
        context.sample_aspect_ratio = footage.pixel_aspect
        context.color_primaries = colour.primaries
        context.color_trc = colour.transfer
        context.colorspace = colour.matrix
        context.color_range = LIMITED_RANGE
        # Without this the last frame of a film with a variable rate is shown too long.
        context.flags |= Flags.frame_duration
        context.options = {"crf": str(settings.crf), "preset": settings.preset}
        return stream

    def _conversion(self) -> Graph:
        """From 8-bit RGB to what the encoder takes; PyAV's own conversion misplaces chroma."""
        context = self._stream.codec_context
        matrix = MATRIX_NAMES[int(context.colorspace)]
        graph = Graph()
        source = graph.add_buffer(
            width=context.width,
            height=context.height,
            format=av.VideoFormat("rgb24"),
            time_base=self._footage.time_base_seconds,
        )
        scale = graph.add(
            "scale",
            f"flags={SCALE_FLAGS}:out_color_matrix={matrix}:out_range=tv:out_chroma_loc=left",
        )
        graph.link_nodes(source, scale, graph.add("format", PIXEL_FORMAT), graph.add("buffersink"))
        graph.configure()
        return graph

    def _convert(self, frame: Frame) -> av.VideoFrame:
        pixels = to_eight_bits(frame.image)
        height, width = pixels.shape[:2]
        if height % 2 or width % 2:
            # H.264 in 4:2:0 has even sides only; the repeated edge is one pixel nobody notices.
            pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
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
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (av.FFmpegError, OSError) as error:
            remedy = (
                "make room and start again"
                if error.errno == errno.ENOSPC
                else "choose another place or format"
            )
            raise OutputError(f"cannot write {self._path}: {error.strerror}; {remedy}") from error
