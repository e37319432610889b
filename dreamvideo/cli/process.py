"""Settings of the process that dreams. Refuses to know what it runs."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from types import FrameType
from typing import TextIO

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


def share_cores() -> None:
    """Let threads that wait for others give up their core. To be called before torch is loaded."""
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS_BEFORE_SLEEP)


def silence_encoders() -> None:
    """Keep SVT-AV1 from introducing itself for every segment."""
    os.environ.setdefault("SVT_LOG", "1")  # errors only


def interrupt_on_signals() -> None:
    """Clean up after Ctrl-C, a polite kill, and when the terminal is closed.

    Whoever asks twice does not want to wait: the second one ends the process at once. That is as
    safe as a power cut, for which all work is kept.
    """
    seen = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal seen
        if seen:
            os._exit(128 + signal.SIGINT)
        seen = True
        raise KeyboardInterrupt

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        # Windows has no SIGHUP; a process in the background ignores SIGINT, and goes on doing so.
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) != signal.SIG_IGN:
            signal.signal(getattr(signal, name), interrupt)


def print_anything(stream: TextIO) -> None:
    """Let a stream take names that its encoding cannot express, instead of failing at the end."""
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")
