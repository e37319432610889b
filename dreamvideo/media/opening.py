"""Opens videos with FFmpeg: local files and standard input; the network only if it is allowed."""

from __future__ import annotations

import io
import os
import re
import select
import threading
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from dreamvideo.errors import InputError, UsageError
from dreamvideo.media.formats import MediaKind

# FFmpeg's formats that name other files, or hosts, and read those.
REFERRING_FORMATS = {
    *("hls", "dash", "concat", "concatf", "imf", "sdp", "rtsp", "rtp", "image2", "lavfi"),
    *("webm_dash_manifest", "applehttp", "avisynth", "vapoursynth", "sap", "mmst"),
}
# FFmpeg opens nothing but files, neither for itself nor for what a playlist names.
LOCAL_ONLY = {"protocol_whitelist": "file"}
# Tags that are not UTF-8 are copied byte by byte. PyAV does so by itself from version 19 on.
PRESERVE_TAG_BYTES: dict[str, Any] = (
    {"metadata_errors": "surrogateescape"} if int(av.__version__.split(".")[0]) < 19 else {}
)
# A name that begins with this asks for noise of a size.
NOISE_PREFIX = "noise:"
# Reading from the network is given up where nothing arrives for so long.
NETWORK_TIMEOUT_SECONDS = 30.0


class Ratio(Protocol):
    """What PyAV's ratios have in common: Fraction before version 19, a type of its own since."""

    @property
    def numerator(self) -> int:
        """Above the line."""
        ...

    @property
    def denominator(self) -> int:
        """Below it."""
        ...


def as_fraction(ratio: Ratio) -> Fraction:
    """A ratio of PyAV as a fraction."""
    return Fraction(ratio.numerator, ratio.denominator)


@dataclass(frozen=True)
class Location:
    """Where a video, an image or a folder is read from."""

    name: str
    """As the user wrote it, for messages."""
    allow_network: bool = False
    spool: Spool | None = None
    """What standard input gave so far, if that is the source."""
    stream: int | None = None
    """The number of the video stream to read, by FFmpeg; None chooses it by `video_stream_of`."""

    @property
    def is_file(self) -> bool:
        """Whether this is a file, which can be read any number of times."""
        return self.spool is None and not is_address(self.name)


def check_location(location: Location) -> None:
    """Refuse a location that cannot be read, before anything is opened.

    Raises:
        UsageError: an address, while the network is not allowed.
        InputError: it does not exist, is not a regular file, is not readable, or is empty.
    """
    if location.spool is not None:
        if not location.spool.beginning(1):
            raise InputError("standard input is empty (0 bytes); pipe a video into it")
        return
    if not location.is_file:
        if not location.allow_network:
            raise UsageError(
                f"{location.name} is an address and only local files are read; download it first, "
                "or add --allow-network"
            )
        return
    path = Path(location.name)
    if not path.exists():
        raise InputError(f"{path} does not exist; give an existing image, video or folder")
    if not path.is_file():
        raise InputError(f"{path} is a pipe or a device; give a file, or - and pipe into it")
    if not os.access(path, os.R_OK):
        raise InputError(f"you may not read {path}; change its permissions, or copy it")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes); give an image or video file")


# Streams that are not a video by themselves: the tiles of a photo, pictures of a seek bar.
PARTIAL_VIDEO = Disposition.dependent | Disposition.timed_thumbnails


def video_streams(container: InputContainer) -> list[VideoStream]:
    """The streams of moving images; the cover of a song or a film is none."""
    return [
        stream
        for stream in container.streams.video
        if not stream.disposition & Disposition.attached_pic
    ]


def video_stream_of(container: InputContainer, number: int | None = None) -> VideoStream | None:
    """The stream of moving images that is read; None if there is none that can be decoded.

    Args:
        container: the file.
        number: FFmpeg's number of the stream. None takes one that players show by default, and of
            several the one with the largest frames.
    """
    streams = [stream for stream in video_streams(container) if stream.codec_context]
    if number is not None:
        return next((stream for stream in streams if stream.index == number), None)
    return max(
        (stream for stream in streams if not stream.disposition & PARTIAL_VIDEO),
        key=lambda stream: (
            bool(stream.disposition & Disposition.default),
            stream.codec_context.width * stream.codec_context.height,
        ),
        default=None,
    )


def describe_video_stream(stream: VideoStream) -> str:
    """A video stream in words, such as "stream 1 (h264, 640x360)"."""
    context = stream.codec_context
    if not context:
        return f"stream {stream.index} (of an unknown codec)"
    codec = context.codec.canonical_name
    return f"stream {stream.index} ({codec}, {context.width}x{context.height})"


def open_video_container(location: Location) -> InputContainer:
    """The container, opened for reading.

    Raises:
        InputError: it cannot be read as a video, or it refers to other files.
    """
    options = {} if location.allow_network else LOCAL_ONLY
    # Absolute, since FFmpeg takes what comes before a colon for a protocol.
    url = str(Path(location.name).absolute()) if location.is_file else location.name
    timeout = None if location.is_file else NETWORK_TIMEOUT_SECONDS
    container: InputContainer
    try:
        if location.spool is not None:
            reader = SpoolReader(location.spool)
            container = av.open(reader, "r", options=options, **PRESERVE_TAG_BYTES)
        else:
            container = av.open(url, "r", options=options, timeout=timeout, **PRESERVE_TAG_BYTES)
    except (av.FFmpegError, OSError) as error:
        raise InputError(
            f"cannot read {location.name} as {MediaKind.VIDEO.value}: {error.strerror}; is it a "
            "video, and complete?"
        ) from error
    formats = set(container.format.name.split(","))
    if not location.allow_network and formats & REFERRING_FORMATS:
        container.close()
        raise InputError(
            f"{location.name} is not a video but a list that names other files "
            f"({container.format.name}), and such lists are not followed; give the video itself, "
            "or add --allow-network if you trust the list"
        )
    return container


def open_picture_container(file: BinaryIO) -> InputContainer:
    """A file that FFmpeg reads by itself, whatever its name is, opened for reading.

    By name, FFmpeg could take it for a numbered sequence of images.

    Raises:
        av.FFmpegError: it cannot be read.
    """
    container: InputContainer = av.open(file, "r", options=LOCAL_ONLY, **PRESERVE_TAG_BYTES)
    return container


CHUNK_BYTES = 1 << 16
# How often a waiting reader checks whether it was stopped.
POLL_SECONDS = 0.2
# Bytes 4 to 7 of every MP4 and MOV file.
MP4_MAGIC = b"ftyp"


class Spool:
    """A stream, copied to a file as it is read, for any number of readers.

    A reader that is ahead of the file reads on in the stream; one that is behind reads the file.
    """

    def __init__(self, stream: io.BufferedIOBase, store: BinaryIO) -> None:
        """Args:
        stream: read once, from its beginning to its end.
        store: an empty file, opened for reading and writing.
        """
        self._stream = stream
        self._store = store
        self._length = 0
        self._ended = False
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End the stream here, for readers that wait for more as well."""
        self._stopped.set()

    def beginning(self, size_bytes: int) -> bytes:
        """The first bytes of the stream, fewer where it is shorter; waits for them all."""
        with self._lock:
            self._fetch(size_bytes)
        return self.read_at(0, size_bytes)

    def read_at(self, position: int, size_bytes: int) -> bytes:
        """What is available from a position on, up to `size_bytes`.

        Waits for at least one byte; empty at the end of the stream.
        """
        with self._lock:
            self._fetch(position + 1)
            self._store.seek(position)
            return self._store.read(size_bytes)

    def length(self) -> int:
        """The length of the whole stream in bytes; waits for its end."""
        with self._lock:
            self._fetch(None)
            return self._length

    def _fetch(self, end: int | None) -> None:
        """Read until the store has `end` bytes; to the end of the stream for None."""
        while not self._ended and (end is None or self._length < end):
            if not self._wait():
                return
            # What is available, without waiting for a full chunk: a live stream is slow.
            chunk = self._stream.read1(CHUNK_BYTES)
            self._ended = not chunk
            self._store.seek(self._length)
            self._store.write(chunk)
            self._length += len(chunk)

    def _wait(self) -> bool:
        """Wait until there is something to read; false once the spool is stopped."""
        try:
            descriptor = self._stream.fileno()
            while not self._stopped.is_set():
                if select.select([descriptor], [], [], POLL_SECONDS)[0]:
                    return True
        except OSError:  # not a file, or on Windows a pipe: reading then waits by itself
            return not self._stopped.is_set()
        return False


class SpoolReader(io.RawIOBase):
    """Reads a spool like a file of its own."""

    def __init__(self, spool: Spool) -> None:
        """Read from the beginning."""
        self._spool = spool
        self._position = 0
        # An MP4 may have its index at the end. FFmpeg reads all other formats without seeking, and
        # would otherwise ask for the length, which a live stream never has.
        self._seekable = spool.beginning(8)[4:] == MP4_MAGIC

    def readable(self) -> bool:
        """See `io.IOBase`."""
        return True

    def seekable(self) -> bool:
        """Whether the format needs seeking."""
        return self._seekable

    def read(self, size: int = -1) -> bytes:
        """See `io.RawIOBase`."""
        if size < 0:
            size = self._spool.length() - self._position
        data = self._spool.read_at(self._position, size)
        self._position += len(data)
        return data

    def tell(self) -> int:
        """See `io.IOBase`."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See `io.IOBase`."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position}
        self._position = offset + (origin[whence] if whence in origin else self._spool.length())
        return self._position


def is_address(name: str) -> bool:
    """Whether a name is an address such as https://…, and not that of a file."""
    return "://" in name and not Path(name).exists()


def is_noise(name: str) -> bool:
    """Whether a name asks for noise, `noise:WIDTHxHEIGHT`, and is not that of a file."""
    return name.startswith(NOISE_PREFIX) and not Path(name).exists()


def noise_size(name: str) -> tuple[int, int]:
    """(width, height) in px of the noise that a name asks for.

    Raises:
        UsageError: the name has no size.
    """
    size = re.fullmatch(rf"{NOISE_PREFIX}([1-9]\d{{0,6}})x([1-9]\d{{0,6}})", name)
    if size is None:
        raise UsageError(
            f"cannot read {name}; noise is written {NOISE_PREFIX}WIDTHxHEIGHT, such as "
            f"{NOISE_PREFIX}1280x720"
        )
    return int(size[1]), int(size[2])
