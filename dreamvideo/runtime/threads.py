"""Work done ahead of, behind and beside the main loop, with bounds.

Refuses to know what the work is. An error raised by it is raised again where its result is taken.
"""

from __future__ import annotations

import math
import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from typing import ParamSpec, TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")

# Added to the niceness, which ends at 19. Measured on two cores by turns: a film in memory takes a
# tenth less time.
HELPER_NICENESS = 10
# The main loop has no fewer, if there are so many. Measured on two: frames dreamed each on its own,
# and journeys, take two thirds of the time.
MIN_THREADS = 2


def _start_helper() -> None:
    """Let this thread compute alone, and where the main loop does not need the core.

    GNU's OpenMP lets all threads of a process fall asleep between two operations as soon as there
    are more of them than cores: threads of helpers would slow down the main loop's. Only Linux can
    let a thread give way.
    """
    torch.set_num_threads(1)
    if sys.platform == "linux":  # elsewhere it would be the whole process
        with suppress(OSError):  # not to be allowed to is no reason to fail
            os.nice(HELPER_NICENESS)


class _End:
    """Stands behind the last item."""


def prefetch(
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
    executor = ThreadPoolExecutor(workers, initializer=_start_helper)
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
def write_behind(
    function: Callable[Arguments, None], depth: int
) -> Iterator[Callable[Arguments, None]]:
    """A stand-in for `function` that runs it in a thread, in order, at most `depth` calls behind.

    When the body is done, so is all the work; when the body fails, what has not begun is dropped.
    """
    pending: deque[Future[None]] = deque()
    executor = ThreadPoolExecutor(1, initializer=partial(torch.set_num_threads, 1))

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


class SideWorker:
    """A thread for work beside the caller's, where both are done by cores."""

    def __init__(self, device: torch.device) -> None:
        """Args:
        device: which does the work. One that is no CPU takes it in turn anyway: there it is
            done when its result is asked for.
        """
        self._is_beside = device.type == "cpu"
        self._half = math.ceil(torch.get_num_threads() / 2)
        self._executor = ThreadPoolExecutor(1, initializer=self._take_half)

    def _take_half(self) -> None:
        torch.set_num_threads(self._half)

    def leaving_half(self) -> AbstractContextManager[None]:
        """While the caller's work goes on with half of the cores."""
        return _torch_threads(self._half) if self._is_beside else nullcontext()

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
        if not self._is_beside:
            yield partial(function, *arguments, **options)
            return
        begun = self._executor.submit(function, *arguments, **options)
        try:
            yield begun.result
        finally:
            wait([begun])


def leave_core_free(
    device: torch.device, *, is_alone: bool = False
) -> AbstractContextManager[None]:
    """While the main loop computes on the CPU, leave a core to what runs around it, if it can.

    Every operation of PyTorch on several threads ends when the last of them does: one that waits
    for its core lets all of them wait.

    Args:
        device: where the main loop computes.
        is_alone: whether nothing runs around it for long.
    """
    threads = torch.get_num_threads()
    if device.type == "cpu" and not is_alone:
        return _torch_threads(min(threads, max(MIN_THREADS, threads - 1)))
    return _torch_threads(threads)


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    """While this thread, and those that begin, compute with so many threads of PyTorch's."""
    threads = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


# Frames that wait between two stages: enough to even out their speeds, few enough for 8K.
QUEUE_FRAMES = 4
