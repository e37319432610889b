"""Work done ahead of, behind and beside the main loop, with bounds.

Refuses to know what the work is. An error raised by it is raised again where its result is taken.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import partial
from typing import ParamSpec, TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")

# Added to the niceness, which ends at 19. Measured on two cores by turns: a film in memory takes a
# tenth less time.
HELPERS_NICENESS = 10


def _give_way() -> None:
    """Let this thread run where the main loop does not need the core; only Linux can."""
    if sys.platform == "linux":  # elsewhere it would be the whole process
        with suppress(OSError):  # not to be allowed to is no reason to fail
            os.nice(HELPERS_NICENESS)


class _End:
    """Stands behind the last item."""


def ahead(
    items: Iterable[Item], depth: int, stop: Callable[[], None] | None = None
) -> Generator[Item]:
    """The items, at most `depth` of them taken in advance by a thread of their own.

    When the consumer gives up or is interrupted, `stop` is called, so that a thread that waits for
    an item, of a stream perhaps, does not have to be waited for.
    """
    iterator = iter(items)

    def take(_: int) -> Item | type[_End]:
        return next(iterator, _End)

    def forever() -> Iterator[int]:
        while True:
            yield 0

    for item in parallel_map(take, forever(), workers=1, depth=depth, stop=stop):
        if isinstance(item, type):
            return
        yield item


def parallel_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    depth: int,
    stop: Callable[[], None] | None = None,
) -> Generator[Result]:
    """`function` of each item, in order, at most `depth` of them computed in advance.

    Items are taken in the consumer's thread. Closing the iterator drops what has not begun, calls
    `stop`, and waits for what has.
    """
    pending: deque[Future[Result]] = deque()
    executor = ThreadPoolExecutor(workers, initializer=_give_way)
    try:
        for item in items:
            pending.append(executor.submit(function, item))
            if len(pending) > depth:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BaseException:
        if stop is not None:
            stop()
        raise
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


@contextmanager
def behind(function: Callable[Arguments, None], depth: int) -> Iterator[Callable[Arguments, None]]:
    """A stand-in for `function` that runs it in a thread, in order, at most `depth` calls behind.

    When the body is done, so is all the work; when the body fails, what has not begun is dropped.
    """
    pending: deque[Future[None]] = deque()
    executor = ThreadPoolExecutor(1)

    def hand_over(*arguments: Arguments.args, **options: Arguments.kwargs) -> None:
        pending.append(executor.submit(function, *arguments, **options))
        if len(pending) > depth:
            pending.popleft().result()

    try:
        yield hand_over
        while pending:
            pending.popleft().result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


class Beside:
    """A thread for work beside the caller's, where both are done by cores."""

    def __init__(self, device: torch.device) -> None:
        """Args:
        device: which does the work. One that is no CPU takes it in turn anyway: there it is
            done when its result is asked for.
        """
        self._executor = ThreadPoolExecutor(1) if device.type == "cpu" else None

    @contextmanager
    def doing(
        self,
        function: Callable[Arguments, Result],
        *arguments: Arguments.args,
        **options: Arguments.kwargs,
    ) -> Iterator[Callable[[], Result]]:
        """What waits for the work, and returns what came of it.

        When the body ends, however it does, so has the work.
        """
        if self._executor is None:
            yield partial(function, *arguments, **options)
            return
        begun = self._executor.submit(function, *arguments, **options)
        try:
            yield begun.result
        finally:
            wait([begun])


@contextmanager
def sharing_cores(device: torch.device, at_once: int = 1) -> Iterator[None]:
    """While the main loop computes on the CPU, leave cores to what runs beside it.

    Every operation of PyTorch on several threads ends when the last of them does: one that waits
    for its core lets all of them wait.

    Args:
        device: where the main loop computes.
        at_once: of how many things it does at once, each gets an equal part of the cores. One
            thing gets all but a core, for the threads around it.
    """
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(max(1, min(threads - 1, threads // at_once)))
    try:
        yield
    finally:
        torch.set_num_threads(threads)
