"""Writes frames as a Matroska stream on standard output."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from fractions import Fraction
from typing import BinaryIO

import av

from dreamvideo.errors import OutputError
from dreamvideo.media.formats import OUTPUT_FORMATS
from dreamvideo.media.metadata import write_signature
from dreamvideo.media.opening import PRESERVE_TAG_BYTES, Location
from dreamvideo.media.pixels import OpaqueOnBlack
from dreamvideo.media.write import FrameWriter
from dreamvideo.media.write.encoder import FrameEncoder, choose_encoding, translate_write_errors
from dreamvideo.media.write.track_plan import plan_tracks
from dreamvideo.media.write.tracks import Tracks
from dreamvideo.settings import Settings
from dreamvideo.settings.files import settings_as_json
from dreamvideo.types import DreamedFrame, VideoInfo

STREAM_FORMAT = OUTPUT_FORMATS[".mkv"]
STREAM_LABEL = "standard output"
# A reader gets each packet at once, and can join once per second.
STREAM_OPTIONS = {"flush_packets": "1", "cluster_time_limit": "1000"}
SECONDS_PER_KEY_FRAME = 2
# Matroska's, in FFmpeg.
STREAM_TICK_SECONDS = Fraction(1, 1000)


class StreamWriter:
    """Encodes frames into a stream as they come."""

    def __init__(
        self, output: BinaryIO, info: VideoInfo, settings: Settings, tracks_from: Location | None
    ) -> None:
        """Open the stream and the encoder.

        Raises:
            SettingsError: the encoder does not support the settings.
            OutputError: the encoder does not start.
        """
        encoding = choose_encoding(STREAM_FORMAT, settings, info)
        self._on_black = OpaqueOnBlack()
        self._output = _OutputPipe(output)
        plan = plan_tracks(tracks_from, STREAM_FORMAT, info)
        with self._translate_errors(), ExitStack() as opened:
            self._container = opened.enter_context(
                av.open(
                    self._output,
                    "w",
                    format=STREAM_FORMAT.muxer,
                    container_options=STREAM_OPTIONS,
                    **PRESERVE_TAG_BYTES,
                )
            )
            # Frames that are closer than a tick of the container get different times, too.
            tick_seconds = max(info.time_base_seconds, STREAM_TICK_SECONDS)
            encoded_info = replace(info, time_base_seconds=tick_seconds)
            self._encoder = FrameEncoder(self._container, encoding, encoded_info)
            stream = self._encoder.stream
            stream.codec_context.gop_size = math.ceil(SECONDS_PER_KEY_FRAME * info.frame_rate)
            self._tracks = opened.enter_context(
                closing(Tracks(plan, self._container, STREAM_FORMAT, info, stream))
            )
            write_signature(self._container, settings_as_json(settings))
            self._opened = opened.pop_all()

    def write(self, dreamed: DreamedFrame) -> None:
        """See `FrameWriter`."""
        with self._translate_errors():
            self._tracks.write_until(dreamed.frame.time_seconds)
            self._container.mux(self._encoder.encode(self._on_black(dreamed.frame)))

    def finish(self) -> None:
        """Write what the encoder still holds back, and close the stream.

        Raises:
            OutputError: as in `write`.
        """
        with self._translate_errors():
            self._container.mux(self._encoder.encode(None))
            self._tracks.write_until(None)
            self._opened.close()

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        with translate_write_errors(STREAM_LABEL):
            yield
            if self._output.error is not None:
                raise self._output.error

    def close(self) -> None:
        """Close the stream, which is incomplete without `finish`; errors are ignored."""
        with suppress(av.FFmpegError, OSError, OutputError):
            self._opened.close()


class _OutputPipe(io.RawIOBase):
    """Standard output as a file that FFmpeg can write.

    An exception within FFmpeg's own writing would end the process: it is kept, to be raised later.
    """

    def __init__(self, output: BinaryIO) -> None:
        self._output = output
        self.error: OSError | None = None

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def write(self, data: bytes) -> int:  # type: ignore[override]
        if self.error is None:
            try:
                self._output.write(data)
                self._output.flush()
            except OSError as error:
                self.error = error
        return len(data)


@contextmanager
def open_stream_writer(
    info: VideoInfo, settings: Settings, tracks_from: Location | None
) -> Iterator[FrameWriter]:
    """A writer of Matroska on standard output."""
    with closing(StreamWriter(sys.stdout.buffer, info, settings, tracks_from)) as writer:
        yield writer
        writer.finish()
