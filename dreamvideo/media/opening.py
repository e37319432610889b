"""Opens videos: only local files and standard input, unless the network is allowed."""

from __future__ import annotations

import io
import os
import select
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from dreamvideo.errors import InputError, UsageError
from dreamvideo.media.formats import MediaKind, is_address

# FFmpeg's formats that name other files, or hosts, and read those.
REFERRING_FORMATS = {
    *("hls", "dash", "concat", "concatf", "imf", "sdp", "rtsp", "rtp", "image2", "lavfi"),
    *("webm_dash_manifest", "applehttp", "avisynth", "vapoursynth", "sap", "mmst"),
}
# FFmpeg opens nothing but files, neither for itself nor for what a playlist names.
LOCAL_ONLY = {"protocol_whitelist": "file"}
# Tags that are not UTF-8 go through byte by byte. PyAV does so by itself from version 19 on.
KEEP_ODD_TAGS: dict[str, Any] = (
    {"metadata_errors": "surrogateescape"} if int(av.__version__.split(".")[0]) < 19 else {}
)
# Reading is given up where nothing arrives for so long.
NETWORK_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class Location:
    """Where a film is to be read from."""

    name: str
    """As the user wrote it, for messages."""
    allow_network: bool = False
    spool: Spool | None = None
    """What standard input gave so far, where that is the source."""

    @property
    def is_file(self) -> bool:
        """Whether this is a file that can be read as often as one likes."""
        return self.spool is None and not is_address(self.name)


def check_location(location: Location) -> None:
    """Refuse what no film can be read from, before anything is opened.

    Raises:
        UsageError: an address, while the network is not allowed.
        InputError: nothing there, or not a file, or empty.
    """
    if location.spool is not None:
        if not location.spool.beginning(1):
            raise InputError("standard input is empty (0 bytes); pipe a film into it")
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
        raise InputError(f"{path} does not exist; give an existing picture, film or folder")
    if not path.is_file():
        raise InputError(f"{path} is a pipe or a device; give a file, or - and pipe into it")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} may not be read by you; change its permissions, or copy it")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes); give a picture or film file")


def video_stream_of(container: InputContainer) -> VideoStream | None:
    """The stream that holds a film's pictures; the cover of a song, a still, is none."""
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic and stream.codec_context:
            return stream
    return None


def open_video_container(location: Location) -> InputContainer:
    """The container, opened for reading.

    Raises:
        InputError: it is not a film that can be read, or it refers to other files.
    """
    options = {} if location.allow_network else LOCAL_ONLY
    # Absolute, since FFmpeg takes what stands before a colon for a protocol.
    place = str(Path(location.name).absolute()) if location.is_file else location.name
    timeout = None if location.is_file else NETWORK_TIMEOUT_SECONDS
    container: InputContainer
    try:
        if location.spool is not None:
            container = av.open(SpoolReader(location.spool), "r", options=options, **KEEP_ODD_TAGS)
        else:
            container = av.open(place, "r", options=options, timeout=timeout, **KEEP_ODD_TAGS)
    except (av.FFmpegError, OSError) as error:
        raise InputError(
            f"cannot read {location.name} as {MediaKind.VIDEO.value}: {error.strerror}; is it a "
            "video, and complete?"
        ) from error
    formats = set(container.format.name.split(","))
    if not location.allow_network and formats & REFERRING_FORMATS:
        container.close()
        raise InputError(
            f"{location.name} is not a film but a list that names other files "
            f"({container.format.name}), and such are not followed; give the film itself, or add "
            "--allow-network if you trust the list"
        )
    return container


CHUNK_BYTES = 1 << 16
# How often a reader that waits looks up whether it still is to.
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
        """Let nobody wait for more: from now on the stream is at its end."""
        self._stopped.set()

    def beginning(self, size_bytes: int) -> bytes:
        """The first bytes of the stream, fewer where it is shorter; waits for them all."""
        with self._lock:
            self._fetch(size_bytes)
        return self.read_at(0, size_bytes)

    def read_at(self, position: int, size_bytes: int) -> bytes:
        """What there is from a position, up to `size_bytes`; waits for a byte, empty at the end."""
        with self._lock:
            self._fetch(position + 1)
            self._store.seek(position)
            return self._store.read(size_bytes)

    def length(self) -> int:
        """How long the whole stream is, in bytes; waits for its end."""
        with self._lock:
            self._fetch(None)
            return self._length

    def _fetch(self, until: int | None) -> None:
        while not self._ended and (until is None or self._length < until):
            if not self._wait():
                return
            # What is there, without waiting for more: a live stream comes in drops.
            chunk = self._stream.read1(CHUNK_BYTES)
            self._ended = not chunk
            self._store.seek(self._length)
            self._store.write(chunk)
            self._length += len(chunk)

    def _wait(self) -> bool:
        """Whether there is something to read; false once the spool is stopped."""
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
        # A film in MP4 may have its index at the end. In all other formats the reader could do
        # without seeking, and asking for the end would wait for it: a live stream has none.
        self._seekable = spool.beginning(8)[4:] == MP4_MAGIC

    def readable(self) -> bool:
        """See `io.IOBase`."""
        return True

    def seekable(self) -> bool:
        """Whether the format needs it."""
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
