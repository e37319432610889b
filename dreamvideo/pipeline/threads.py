"""Work done ahead of and behind the main loop, with bounds. Refuses to know what the work is.

An error raised by the work is raised again where its result is taken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")


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
    executor = ThreadPoolExecutor(workers)
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


@contextmanager
def sharing_cores(device: torch.device) -> Iterator[None]:
    """While the main loop computes on the CPU, leave one core to the threads around it.

    Every operation of PyTorch on several threads ends when the last of them does: one that waits
    for its core lets all of them wait.
    """
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(max(1, threads - 1))
    try:
        yield
    finally:
        torch.set_num_threads(threads)
