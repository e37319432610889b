"""Work in threads keeps its order, its bounds and its errors, and ends with its owner."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from unittest.mock import Mock

import pytest
import torch

from dreamvideo.runtime.threads import (
    SideWorker,
    leave_core_free,
    parallel_map,
    prefetch,
    write_behind,
)

CPU, GPU = torch.device("cpu"), torch.device("cuda")


class Counting:
    """An endless iterator that counts the items taken."""

    def __init__(self) -> None:
        self.taken = 0

    def __iter__(self) -> Iterator[int]:
        while True:
            self.taken += 1
            yield self.taken


def test_prefetch_keeps_order_and_ends() -> None:
    assert list(prefetch(range(20), 3)) == list(range(20))
    assert list(prefetch([], 3)) == []


def test_prefetch_runs_in_another_thread_within_its_bound() -> None:
    numbers = Counting()
    with closing(prefetch(numbers, 3)) as items:
        for _ in range(5):
            next(items)
        time.sleep(0.1)
        assert 5 < numbers.taken <= 5 + 3 + 1
        name = next(iter(prefetch((threading.current_thread().name for _ in range(1)), 1)))
        assert name != threading.current_thread().name


def test_prefetch_raises_an_error_after_the_items_before_it() -> None:
    def broken() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("three")

    items = prefetch(broken(), 5)
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(ValueError, match="three"):
        next(items)


def test_parallel_map_keeps_order_and_bounds() -> None:
    numbers = Counting()

    def slow_first(number: int) -> int:
        time.sleep(0.05 if number == 1 else 0)
        return number * number

    with closing(parallel_map(slow_first, numbers, workers=3, depth=4)) as squares:
        assert [next(squares) for _ in range(6)] == [1, 4, 9, 16, 25, 36]
        assert numbers.taken <= 6 + 4 + 1


def test_closing_a_prefetch_ends_its_thread() -> None:
    before = threading.active_count()
    items = prefetch(Counting(), 3)
    next(items)
    assert threading.active_count() > before
    items.close()
    assert threading.active_count() == before


def test_write_behind_keeps_order_and_finishes() -> None:
    seen: list[int] = []
    with write_behind(seen.append, 2) as write:
        for number in range(10):
            write(number)
    assert seen == list(range(10))


def test_write_behind_raises_what_the_work_raised() -> None:
    def refuse(number: int) -> None:
        raise OSError(f"no room for {number}")

    with pytest.raises(OSError, match="no room for 0"), write_behind(refuse, 2) as write:
        for number in range(10):
            write(number)


def test_write_behind_cancels_what_waits_when_the_body_fails() -> None:
    seen: list[int] = []

    def slow(number: int) -> None:
        time.sleep(0.02)
        seen.append(number)

    with pytest.raises(KeyboardInterrupt), write_behind(slow, 50) as write:
        for number in range(30):
            write(number)
        raise KeyboardInterrupt
    assert len(seen) < 30


@pytest.mark.parametrize(("cores", "own", "half"), [(1, 1, 1), (2, 2, 1), (4, 3, 2), (8, 7, 4)])
def test_the_main_loop_leaves_cores_to_the_helpers(
    of_cores: Callable[[int], None], cores: int, own: int, half: int
) -> None:
    of_cores(cores)
    with pytest.raises(ZeroDivisionError), leave_core_free(CPU):
        assert torch.get_num_threads() == own
        with (
            SideWorker(CPU) as worker,
            worker.sharing_cores(),
            worker.running(torch.get_num_threads) as threads_of_worker,
        ):
            assert torch.get_num_threads() == half
            assert threads_of_worker() == half
        assert torch.get_num_threads() == own
        _ = 1 / 0
    assert torch.get_num_threads() == cores
    with leave_core_free(CPU, is_alone=True):
        assert torch.get_num_threads() == cores
    with leave_core_free(GPU), SideWorker(GPU) as worker, worker.sharing_cores():
        assert torch.get_num_threads() == cores


def test_helpers_compute_on_one_core_each(of_cores: Callable[[int], None]) -> None:
    """More threads than cores would let all of them fall asleep between two operations."""
    of_cores(2)
    seen = list[int]()

    def count(_: object = None) -> int:
        return torch.get_num_threads()

    with leave_core_free(CPU):
        seen += parallel_map(count, range(2), workers=1, depth=1)
        with write_behind(lambda: seen.append(count()), 1) as write:
            write()
        assert seen == [1, 1, 1]
        assert torch.get_num_threads() == 2
    with ThreadPoolExecutor(1) as others:
        assert others.submit(count).result() == 2


def test_a_side_worker_uses_its_thread_on_the_cpu_only() -> None:
    here = threading.get_ident()
    for device, is_threaded in (("cpu", True), ("cuda", False)):
        with SideWorker(torch.device(device)) as worker:
            with (
                worker.running(threading.get_ident) as first,
                worker.running(threading.get_ident) as second,
            ):
                assert (first() != here) == is_threaded
                assert first() == second()
            with pytest.raises(ZeroDivisionError), worker.running(divmod, 1, 0) as failing:
                failing()


def test_closing_a_side_worker_ends_its_thread() -> None:
    before = threading.active_count()
    with SideWorker(CPU) as worker:
        with worker.running(threading.get_ident) as ident:
            ident()
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def test_side_work_has_ended_when_the_body_fails() -> None:
    ended = threading.Event()

    def work() -> None:
        time.sleep(0.2)
        ended.set()

    with SideWorker(CPU) as worker:
        with pytest.raises(KeyboardInterrupt), worker.running(work):
            raise KeyboardInterrupt
        assert ended.is_set()


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a niceness of their own on Linux")
def test_helpers_have_a_lower_priority_if_the_system_allows_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def niceness(_: object = None) -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    here = niceness()
    assert list(parallel_map(niceness, [1], workers=1, depth=1)) == [min(19, here + 10)]
    assert niceness() == here
    monkeypatch.setattr("os.nice", Mock(side_effect=PermissionError))
    assert list(parallel_map(niceness, [1], workers=1, depth=1)) == [here]
