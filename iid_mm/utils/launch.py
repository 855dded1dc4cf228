# SPDX-License-Identifier: Apache-2.0
"""torchrun for the scripts in tools/, without a traceback of its own when a process fails.

Usage: python -m iid_mm.utils.launch [arguments of torchrun]
"""

from __future__ import annotations

import logging
import os
import signal
import sys

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.run import main as torchrun

LOGGER = 'torch.distributed.elastic.multiprocessing.api'


def main() -> int:
    """Start the processes and wait for them.

    Returns:
        0, or the exit status of the process that failed first; 1 if a signal killed it. A process that ends
        with 1 has said why. With the environment variable ``IID_DEBUG=1`` torchrun reports as it always does.
    """
    if os.environ.get('IID_DEBUG') == '1':
        torchrun()
        return 0
    logging.getLogger(LOGGER).setLevel(logging.CRITICAL)
    try:
        torchrun()
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode != 1:
            print(f'error: process {rank} {_ending(failure)}', file=sys.stderr)
        return max(failure.exitcode, 1)
    return 0


def _ending(failure: ProcessFailure) -> str:
    if failure.exitcode >= 0:
        return f'ended with exit status {failure.exitcode}'
    name = signal.Signals(-failure.exitcode).name
    hint = '; the machine may have run out of memory' if name == 'SIGKILL' else ''
    return f'was killed by signal {name}{hint}'


if __name__ == '__main__':
    sys.exit(main())
