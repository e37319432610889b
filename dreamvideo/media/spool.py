"""Lets a stream be read more than once, by keeping what went by. Refuses to know what it holds."""

from __future__ import annotations

import io
import select
import threading
from typing import BinaryIO

CHUNK_BYTES = 1 << 16
# How often a reader that waits looks up whether it still is to.
LOOK_UP_SECONDS = 0.2
# Bytes 4 to 7 of every MP4 and MOV file.
MP4_MARK = b"ftyp"


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
                if select.select([descriptor], [], [], LOOK_UP_SECONDS)[0]:
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
        self._seekable = spool.beginning(8)[4:] == MP4_MARK

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
