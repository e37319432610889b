"""Work done ahead of and behind the main loop, with bounds. Refuses to know what the work is.

An error raised by the work is raised again where its result is taken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class _End:
    """Stands behind the last item."""


def ahead(items: Iterable[Item], depth: int) -> Generator[Item]:
    """The items, at most `depth` of them taken in advance by a thread of their own."""
    iterator = iter(items)

    def take(_: int) -> Item | type[_End]:
        return next(iterator, _End)

    def forever() -> Iterator[int]:
        while True:
            yield 0

    for item in parallel_map(take, forever(), workers=1, depth=depth):
        if isinstance(item, type):
            return
        yield item


def parallel_map(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, depth: int
) -> Generator[Result]:
    """`function` of each item, in order, at most `depth` of them computed in advance.

    Items are taken in the consumer's thread. Closing the iterator drops what has not begun and
    waits for what has.
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
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


class Behind(Generic[Item]):
    """Calls `function` in a thread of its own, in order, at most `depth` items behind."""

    def __init__(self, function: Callable[[Item], None], depth: int) -> None:
        self._function = function
        self._depth = depth
        self._executor = ThreadPoolExecutor(1)
        self._pending: deque[Future[None]] = deque()

    def __call__(self, item: Item) -> None:
        """Hand over one item; waits while too many are pending, and raises what they raised."""
        self._pending.append(self._executor.submit(self._function, item))
        if len(self._pending) > self._depth:
            self._pending.popleft().result()

    def __enter__(self) -> Behind[Item]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            while error is None and self._pending:
                self._pending.popleft().result()
        finally:
            self._executor.shutdown(wait=True, cancel_futures=True)
