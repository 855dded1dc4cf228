# SPDX-License-Identifier: Apache-2.0
"""A queue of runs, some at a time, with a progress line."""

from __future__ import annotations

import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from types import FrameType
from typing import TextIO

from cross_manipulation.run_task import Report, RunTask, clock

TICK_SECONDS = 2.0
LINE_SECONDS = 60.0


class RunQueue:
    """Execute tasks, at most ``jobs`` at a time.

    A failing task does not stop the others. Tasks that another queue works on are left for the
    end and waited for then. Ctrl-C or SIGTERM ends the processes that run; the next
    call resumes from their checkpoints.

    Args:
        jobs: Tasks at a time.
        out: Where lines are printed.
    """

    def __init__(self, jobs: int = 1, out: TextIO | None = None) -> None:
        self.jobs = jobs
        self.stop = threading.Event()
        self._out = out or sys.stdout
        self._slots: queue.SimpleQueue[int] = queue.SimpleQueue()
        for slot in range(jobs):
            self._slots.put(slot)
        self._running: dict[RunTask, float] = {}
        self._printed = 0.0

    def run(
        self, tasks: Sequence[RunTask], done: Callable[[RunTask, Report], None] | None = None
    ) -> dict[RunTask, Report]:
        """Execute the tasks.

        Args:
            tasks: The tasks, in order.
            done: Called after every task that has finished or failed.

        Returns:
            The report of each task that was begun.
        """
        reports: dict[RunTask, Report] = {}
        self._begin(tasks)
        with _stop_signals(self.stop), ThreadPoolExecutor(self.jobs) as executor:
            for is_last in (False, True):
                rest = [task for task in tasks if task not in reports or reports[task].result == 'busy']
                if is_last and rest and not self.stop.is_set():
                    for task in rest:
                        self._say(f'waiting for {task.run.title}: {reports[task].message}')
                futures = {executor.submit(self._execute, task, wait_for=is_last): task for task in rest}
                while futures:
                    self._collect(futures, reports, done)
        self._clear_line()
        return reports

    def _collect(
        self,
        futures: dict[Future[Report], RunTask],
        reports: dict[RunTask, Report],
        done: Callable[[RunTask, Report], None] | None,
    ) -> None:
        """Wait a little and take what has ended."""
        ended, _ = wait(futures, timeout=TICK_SECONDS, return_when=FIRST_COMPLETED)
        for future in ended:
            task = futures.pop(future)
            report = reports[task] = future.result()
            if report.result in ('finished', 'failed'):
                number = sum(r.result in ('finished', 'failed') for r in reports.values())
                word = 'done' if report.result == 'finished' else 'FAILED'
                self._say(f'[{number}/{self._total}] {word}: {task.run.title}: {report.message}')
                if done is not None:
                    done(task, report)
        self._show_progress()

    def _execute(self, task: RunTask, *, wait_for: bool) -> Report:
        if self.stop.is_set():
            return Report('stopped')
        slot = self._slots.get()
        try:
            self._running[task] = time.monotonic()
            return task.execute(slot, self.stop, wait=wait_for)
        finally:
            self._running.pop(task, None)
            self._slots.put(slot)

    def _begin(self, tasks: Sequence[RunTask]) -> None:
        self._tasks = list(tasks)
        self._total = len(tasks)
        self._started = time.monotonic()
        self._share_before = self._share()

    def _share(self) -> float:
        """Runs that are done, parts of runs included."""
        return sum(task.state.progress() for task in self._tasks)

    def _show_progress(self) -> None:
        """Print the progress: in place on a terminal, a line a minute elsewhere."""
        now = time.monotonic()
        if not self._running or (not self._out.isatty() and now - self._printed < LINE_SECONDS):
            return
        self._printed = now
        share = self._share()
        gained, elapsed = share - self._share_before, now - self._started
        left = clock(elapsed * (self._total - share) / gained) if gained > 0.01 else '?'
        parts = [
            f'{task.run.arm.name}, {task.run.train_set.label}, seed {task.run.seed}: '
            f'{task.state.progress():.0%}'
            for task in list(self._running)
        ]
        text = f'{share:.1f} of {self._total} runs, {clock(elapsed)} so far, {left} left ({"; ".join(parts)})'
        if self._out.isatty():
            self._out.write(f'\r\x1b[2K{text[:160]}')
            self._out.flush()
        else:
            print(text, file=self._out, flush=True)

    def _say(self, text: str) -> None:
        self._clear_line()
        print(text, file=self._out, flush=True)

    def _clear_line(self) -> None:
        if self._out.isatty():
            self._out.write('\r\x1b[2K')
            self._out.flush()


@contextmanager
def _stop_signals(stop: threading.Event) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into ``stop`` within the block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
