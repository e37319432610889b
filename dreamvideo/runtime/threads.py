"""Threads around the main loop: work ahead of it, behind it and at its side, with bounded queues.

An exception that the work raises is raised again where its result is taken.
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

# Frames that wait between two stages: enough to even out their speeds, few enough for 8K.
QUEUE_FRAMES = 4
# Added to the niceness of helper threads, which ends at 19. Measured on two cores, interleaved: a
# video that is decoded from memory takes a tenth less time.
HELPER_NICENESS = 10
# The main loop keeps at least this many threads where the machine has them. Measured on two cores:
# frames without optical flow, and zooms, take two thirds of the time.
MIN_THREADS = 2


def _start_helper() -> None:
    """Limit a helper thread to one core, and let it give way to the main loop.

    GNU's OpenMP puts all threads of a process to sleep between two operations as soon as there are
    more of them than cores: helpers with several threads would slow down the main loop.
    """
    torch.set_num_threads(1)
    if sys.platform == "linux":  # elsewhere the niceness belongs to the whole process
        with suppress(OSError):  # a system that forbids it is no reason to fail
            os.nice(HELPER_NICENESS)


class _End:
    """Marks the end of the items."""


def prefetch(
    items: Iterable[Item], depth: int, stop: Callable[[], None] | None = None
) -> Generator[Item]:
    """The items in order, up to `depth` of them taken in advance in a separate thread.

    If the generator is closed or interrupted, `stop` is called, so that a thread that waits for an
    item, for example of a live stream, ends.
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
    """`function` of each item in order, up to `depth` results computed in advance.

    Items are taken in the consumer's thread. Closing the generator cancels the calls that have not
    started, calls `stop`, and waits for those that have.
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
    """A stand-in for `function` that runs it in a separate thread, in order.

    A call blocks while more than `depth` earlier calls are unfinished. When the body ends, all
    calls have run; if the body fails, those that have not started are cancelled.
    """
    pending: deque[Future[None]] = deque()
    executor = ThreadPoolExecutor(1, initializer=partial(torch.set_num_threads, 1))

    def submit(*arguments: Arguments.args, **options: Arguments.kwargs) -> None:
        pending.append(executor.submit(function, *arguments, **options))
        if len(pending) > depth:
            pending.popleft().result()

    try:
        yield submit
        while pending:
            pending.popleft().result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


class SideWorker(AbstractContextManager["SideWorker"]):
    """A thread that computes at the side of its owner's thread, each of them on half of the cores.

    On a GPU nothing would be gained, since both would queue for it: there the work runs in the
    owner's thread. The thread lives until `close`, or until the end of a `with` block.
    """

    def __init__(self, device: torch.device) -> None:
        """Create it without a thread; the first work starts one.

        Args:
            device: where the work and the owner compute.
        """
        self._is_threaded = device.type == "cpu"
        self._half = math.ceil(torch.get_num_threads() / 2)
        initializer = partial(torch.set_num_threads, self._half)
        self._executor = ThreadPoolExecutor(1, initializer=initializer)

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the thread, after the work that it has started."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def sharing_cores(self) -> AbstractContextManager[None]:
        """Limits the owner's thread to half of the cores inside the `with` block."""
        return _torch_threads(self._half) if self._is_threaded else nullcontext()

    @contextmanager
    def running(
        self,
        function: Callable[Arguments, Result],
        *arguments: Arguments.args,
        **options: Arguments.kwargs,
    ) -> Iterator[Callable[[], Result]]:
        """Start the work, and return a function that waits for its result.

        When the body ends or fails, the work has ended as well.
        """
        if not self._is_threaded:
            yield partial(function, *arguments, **options)
            return
        started = self._executor.submit(function, *arguments, **options)
        try:
            yield started.result
        finally:
            wait([started])


def leave_core_free(
    device: torch.device, *, is_alone: bool = False
) -> AbstractContextManager[None]:
    """Leaves one core to the helper threads inside the `with` block, if the main loop needs few.

    An operation of PyTorch on several threads ends with the slowest of them: a thread that waits
    for a core delays all the others.

    Args:
        device: where the main loop computes; only on the CPU it competes with the helpers.
        is_alone: whether no helper thread runs for long.
    """
    threads = torch.get_num_threads()
    if device.type == "cpu" and not is_alone:
        return _torch_threads(min(threads, max(MIN_THREADS, threads - 1)))
    return _torch_threads(threads)


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    """Sets PyTorch's number of threads for this thread, and for those that start in the meantime.

    At the end it restores the number for both.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
