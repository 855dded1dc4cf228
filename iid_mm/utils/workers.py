# SPDX-License-Identifier: Apache-2.0
"""Worker processes that Ctrl+C does not reach."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import TypeVar

T = TypeVar('T')
R = TypeVar('R')


@contextmanager
def no_interrupts() -> Iterator[None]:
    """Keep Ctrl+C from processes that are started here.

    It reaches every process of a terminal; only the first one answers it, in one line.
    """
    # It starts with the first process, and unblocks the signal when it has started.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def map_in_processes(
    function: Callable[[T], R],
    items: Iterable[T],
    processes: int,
    initializer: Callable[[], None] | None = None,
) -> Iterator[R]:
    """Call a function in worker processes; few items are read ahead of the results.

    Args:
        function: Top-level function of a module.
        items: Its arguments.
        processes: Number of processes.
        initializer: Called at the start of each process.

    Yields:
        Results in the order of the items.

    Raises:
        BrokenProcessPool: If a process died.
    """
    # Not fork: libraries of this process may hold threads and locks.
    context = multiprocessing.get_context('spawn')
    executor = ProcessPoolExecutor(processes, mp_context=context, initializer=initializer)
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            with no_interrupts():
                waiting.append(executor.submit(function, item))
            if len(waiting) >= 4 * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
