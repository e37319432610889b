"""Settings of the whole process that make dreaming fast; for programs, not for libraries."""

from __future__ import annotations

import ctypes
import os
import sys

# Parameters of mallopt in glibc's malloc.h.
TRIM_THRESHOLD = -1
MMAP_THRESHOLD = -3
KEEP_BYTES = 1 << 30
# How often an idle thread of GNU's OpenMP looks for work before it sleeps. Measured with two
# threads on two cores, by frames dreamed each on its own: at 1000 they fall asleep between two
# operations, which takes a third longer. At 30000, beside a program that keeps a core busy, each
# waits for the other's turn, and all take four times as long; here 2.7 times.
SPINS_BEFORE_SLEEP = "10000"


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


def limit_openmp_spinning() -> None:
    """Let threads that wait for others give up their core. To be called before torch is loaded."""
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS_BEFORE_SLEEP)
