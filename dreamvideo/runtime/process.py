"""Settings of the whole process that speed up dreaming.

The command line applies them. The functions for Python programs do not: the process is not theirs.
"""

from __future__ import annotations

import ctypes
import os
import sys

# Parameters of mallopt in glibc's malloc.h.
TRIM_THRESHOLD = -1
MMAP_THRESHOLD = -3
KEEP_BYTES = 1 << 30
# How often an idle thread of GNU's OpenMP checks for work before it sleeps. Measured with two
# threads on two cores, on frames without optical flow: at 1000 the threads sleep between two
# operations, and a frame takes a third longer. While another program keeps one core busy, the
# threads wait for each other: a frame takes 4 times as long at 30000, 2.7 times at this value.
SPINS_BEFORE_SLEEP = "10000"


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next allocation instead of returning it to the kernel.

    Every step of gradient ascent allocates the same large activations again. By default the kernel
    maps, zeroes and unmaps each of them, which takes a third of the time at 384×216.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # musl, another C library, does not have it
        libc.mallopt(TRIM_THRESHOLD, KEEP_BYTES)
        libc.mallopt(MMAP_THRESHOLD, KEEP_BYTES)


def limit_openmp_spinning() -> None:
    """Let waiting threads give up their core soon; to be called before torch is imported."""
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS_BEFORE_SLEEP)
