"""Settings of the process that dreams. Refuses to know what it runs."""

from __future__ import annotations

import ctypes
import sys

# Parameters of mallopt in glibc's malloc.h.
TRIM_THRESHOLD = -1
MMAP_THRESHOLD = -3
KEEP_BYTES = 1 << 30


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next allocation instead of handing it back each time.

    Every step of ascent allocates the same large activations anew. By default each of them is
    mapped, zeroed and unmapped by the kernel, which takes a third of the time at 384×216.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # musl has none
        libc.mallopt(TRIM_THRESHOLD, KEEP_BYTES)
        libc.mallopt(MMAP_THRESHOLD, KEEP_BYTES)
