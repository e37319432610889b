"""Progress on standard error: a bar on a terminal, otherwise a line every ten seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

from tqdm import tqdm

LINE_INTERVAL_SECONDS = 10.0


class ProgressDisplay:
    """Shows the frames done, their rate and the time left."""

    def __init__(
        self,
        unit: str,
        quiet: bool,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args:
        unit: what is counted, in the singular, such as `frame`.
        quiet: whether nothing is shown.
        stream: where it is shown; None is standard error.
        clock: the time in seconds.
        """
        self._unit = unit
        self._quiet = quiet
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._bar: _Bar | None = None
        self._last_line_seconds = clock()
        # The time of the first update, and how many units were done then.
        self._first: tuple[float, int] | None = None

    def update(self, done: int, total: int | None, remark: str) -> None:
        """Show the current state.

        The bar appears with the first update, so that an error before it is a line of its own.

        Args:
            done: how many units are done, including those of an earlier run.
            total: how many there are; None if unknown.
            remark: stands at the end.
        """
        if self._quiet:
            return
        if self._stream.isatty():
            self._update_bar(done, total, remark)
        else:
            self._update_lines(done, total, remark)

    def close(self) -> None:
        """Remove the bar from the terminal."""
        if self._bar is not None:
            self._bar.close()

    def _update_bar(self, done: int, total: int | None, remark: str) -> None:
        if self._bar is None:
            self._bar = _Bar(
                total=total,
                initial=done - 1,
                unit=self._unit,
                file=self._stream,
                leave=False,
                dynamic_ncols=True,
            )
        self._bar.set_postfix_str(remark, refresh=False)
        self._bar.update(done - self._bar.n)

    def _update_lines(self, done: int, total: int | None, remark: str) -> None:
        now = self._clock()
        if self._first is None:
            self._first = now, done
        if now - self._last_line_seconds < LINE_INTERVAL_SECONDS:
            return
        self._last_line_seconds = now
        parts = [f"{done}/{'?' if total is None else total} {self._unit}s"]
        first_seconds, first_done = self._first
        if done > first_done and now > first_seconds:
            rate = (done - first_done) / (now - first_seconds)
            parts.append(f"{rate:.2f} {self._unit}s/s")
            if total is not None:
                parts.append(f"{tqdm.format_interval((total - done) / rate)} left")
        print(f"dreamvideo: {', '.join([*parts, remark])}", file=self._stream, flush=True)


class _Bar(tqdm):  # type: ignore[type-arg]  # generic for type checkers only
    """A bar without tqdm's monitor, a thread that would outlive the bar."""

    monitor_interval = 0


def print_note(message: str) -> None:
    """Print a line on standard error, above the bar if there is one."""
    _Bar.write(f"dreamvideo: note: {message}", file=sys.stderr)
