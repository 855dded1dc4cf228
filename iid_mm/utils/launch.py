# SPDX-License-Identifier: Apache-2.0
"""torchrun for the scripts in tools/, without a traceback of its own when a process fails.

Usage: python -m iid_mm.utils.launch [arguments of torchrun]
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from contextlib import suppress
from typing import Any

from torch.distributed.elastic.multiprocessing import PContext, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.run import main as torchrun

LOGGER = 'torch.distributed.elastic.multiprocessing.api'
REPORTED = (1, 75, 130)
"""Exit statuses of processes that have reported why: an error, a request to stop, Ctrl+C."""

ECHO = 1.0
"""Seconds within which a repeated signal counts as the same one."""


def main() -> int:
    """Start the processes and wait for them.

    SIGTERM, SIGUSR1 and Ctrl+C are passed on, and the processes get the time that they need to save a
    checkpoint; after a second signal torchrun ends them within 30 seconds.

    Returns:
        0, or the exit status of the process that failed first; 1 if a signal killed it. A process that ends
        with 1, 75 or 130 has reported why. With the environment variable ``IID_DEBUG=1`` torchrun reports as
        usual.
    """
    if os.environ.get('IID_DEBUG') == '1':
        torchrun()
        return 0
    logging.getLogger(LOGGER).setLevel(logging.CRITICAL)
    pass_signals_on()
    try:
        torchrun()
    except SignalException as error:
        print(f'error: ended by {error.sigval.name}', file=sys.stderr)
        return 128 + error.sigval
    except KeyboardInterrupt:
        return 130
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode not in REPORTED:
            print(f'error: process {rank} {_ending(failure)}', file=sys.stderr)
        return max(failure.exitcode, 1)
    return 0


def pass_signals_on() -> None:
    """Let torchrun pass signals on to its processes and wait for them, instead of ending them."""
    start = PContext.start

    def started(context: PContext) -> None:
        start(context)
        # torchrun has just set its own.
        handler = _PassedOn(context, signal.getsignal(signal.SIGTERM))
        for name in ('SIGTERM', 'SIGUSR1', 'SIGINT'):
            signal.signal(getattr(signal, name), handler)

    setattr(PContext, 'start', started)  # noqa: B010


class _PassedOn:
    """Signal handler that passes the first signal on, and leaves the second one to torchrun."""

    def __init__(self, context: PContext, otherwise: Any) -> None:
        self.context = context
        self.otherwise = otherwise
        self.asked_at = -ECHO

    def __call__(self, number: int, frame: Any) -> None:
        before, self.asked_at = self.asked_at, time.monotonic()
        if before >= 0 and self.asked_at - before < ECHO:
            return
        if before >= 0 and number != signal.SIGUSR1 and callable(self.otherwise):
            self.otherwise(number, frame)
            return
        for process in self.context.pids().values():
            with suppress(ProcessLookupError):
                os.kill(process, number)


def _ending(failure: ProcessFailure) -> str:
    if failure.exitcode >= 0:
        return f'ended with exit status {failure.exitcode}'
    name = signal.Signals(-failure.exitcode).name
    hint = '; the machine may have run out of memory' if name == 'SIGKILL' else ''
    return f'was killed by signal {name}{hint}'


if __name__ == '__main__':
    sys.exit(main())
