"""Draws progress on standard error. Refuses to know what goes on."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm


class ProgressBar:
    """What is done, at which rate, and the time left."""

    def __init__(self, unit: str, quiet: bool) -> None:
        self._unit = unit
        self._quiet = quiet
        self._bar: tqdm[Any] | None = None

    def close(self) -> None:
        """Take the bar off the screen."""
        if self._bar is not None:
            self._bar.close()

    def show(self, done: int, total: int | None, remark: str) -> None:
        """Draw one state. The bar appears with the first, so that early errors stand alone."""
        if self._bar is None:
            self._bar = tqdm(
                total=total,
                initial=done - 1,
                unit=self._unit,
                disable=self._quiet,
                leave=False,
                dynamic_ncols=True,
            )
        self._bar.set_postfix_str(remark, refresh=False)
        self._bar.update(done - self._bar.n)
