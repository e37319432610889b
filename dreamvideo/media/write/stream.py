"""Frames as a Matroska stream on standard output. Refuses to know how frames were made."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import BinaryIO

import av

from dreamvideo.errors import OutputError
from dreamvideo.media.metadata import write_signature
from dreamvideo.media.opening import KEEP_ODD_TAGS, Location
from dreamvideo.media.write import FrameWriter
from dreamvideo.media.write.encoder import FrameEncoder, choose_encoding, translate_write_errors
from dreamvideo.media.write.tracks import Tracks
from dreamvideo.settings import Settings
from dreamvideo.settings.files import settings_as_json
from dreamvideo.types import DreamedFrame, OpaqueOnBlack, VideoInfo

STREAM_SUFFIX = ".mkv"
STREAM_LABEL = "standard output"
# Whoever reads gets each packet as soon as it is there, and a place to enter once a second.
STREAM_OPTIONS = {"flush_packets": "1", "cluster_time_limit": "1000"}
SECONDS_PER_KEY_FRAME = 2


class StreamWriter:
    """Encodes frames into a stream as they come."""

    def __init__(
        self, output: BinaryIO, info: VideoInfo, settings: Settings, tracks_from: Location | None
    ) -> None:
        """Begin the stream.

        Raises:
            SettingsError: the encoder cannot be had so.
            OutputError: the encoder does not start.
        """
        encoding = choose_encoding(STREAM_SUFFIX, settings, info)
        self._on_black = OpaqueOnBlack()
        self._output = _OutputPipe(output)
        with self._errors(), ExitStack() as opened:
            self._container = opened.enter_context(
                av.open(
                    self._output,
                    "w",
                    format="matroska",
                    container_options=STREAM_OPTIONS,
                    **KEEP_ODD_TAGS,
                )
            )
            self._encoder = FrameEncoder(self._container, encoding, info)
            self._encoder.stream.codec_context.gop_size = math.ceil(
                SECONDS_PER_KEY_FRAME * info.frame_rate
            )
            self._tracks = opened.enter_context(
                closing(Tracks(tracks_from, self._container, info, self._encoder.stream))
            )
            write_signature(self._container, settings_as_json(settings))
            self._opened = opened.pop_all()

    def write(self, dreamed: DreamedFrame) -> None:
        """See `Sink`."""
        with self._errors():
            self._tracks.write_until(dreamed.frame.time_seconds)
            self._container.mux(self._encoder.encode(self._on_black(dreamed.frame)))

    def finish(self) -> None:
        """Write all that is held back.

        Raises:
            OutputError: as in `write`.
        """
        with self._errors():
            self._container.mux(self._encoder.encode(None))
            self._tracks.write_until(None)
            self._opened.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        with translate_write_errors(STREAM_LABEL):
            yield
            if self._output.error is not None:
                raise self._output.error

    def close(self) -> None:
        """End the stream. Without `finish` no error matters any more."""
        with suppress(av.FFmpegError, OSError, OutputError):
            self._opened.close()


class _OutputPipe(io.RawIOBase):
    """Standard output as FFmpeg can write it.

    An error inside of FFmpeg's own writing would end the process: it is kept to be raised outside.
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
    """Matroska on standard output."""
    with closing(StreamWriter(sys.stdout.buffer, info, settings, tracks_from)) as stream:
        yield stream
        stream.finish()
