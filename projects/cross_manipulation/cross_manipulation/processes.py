# SPDX-License-Identifier: Apache-2.0
"""Processes of single runs: logs, devices, environment."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from iid_mm.utils.run_lock import RunLock

POLL_SECONDS = 0.2
GRACE_SECONDS = 15.0


class StoppedError(RuntimeError):
    """The queue was told to stop while a run was going on."""


def run_logged(
    command: Sequence[str],
    log: Path,
    *,
    environment: Mapping[str, str],
    stop: threading.Event,
    lock: RunLock,
) -> int:
    """Run a command to its end and append what it prints to a log.

    Args:
        command: The command.
        log: The log file.
        environment: Its environment variables.
        stop: Set to end the command early.
        lock: Lock that the command holds too while it runs.

    Returns:
        The exit status; negative if a signal ended it.

    Raises:
        StoppedError: ``stop`` was set.
    """
    with open(log, 'ab') as file:
        file.write(f'\n$ {" ".join(command)}\n'.encode())
        file.flush()
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            # A group of its own: Ctrl-C reaches the queue, which then ends the group as a whole.
            start_new_session=True,
            pass_fds=(lock.descriptor,),
        )
        lock.note(f'process {process.pid} on {socket.gethostname()}')
        while process.poll() is None:
            if stop.wait(POLL_SECONDS):
                _end(process)
                raise StoppedError
    return process.returncode


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and those it has started, which may outlive it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        deadline = time.monotonic() + GRACE_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS / 4)
    process.wait()


def last_error(log: Path) -> str:
    """The error that ends a log: its last ``error:`` line, or else its last line."""
    with open(log, 'rb') as file:
        file.seek(max(log.stat().st_size - 65536, 0))
        lines = [line.strip() for line in file.read().decode(errors='replace').splitlines() if line.strip()]
    marked = [line for line in lines if line.startswith('error: ')]
    # What launchers print after the message of a process says less.
    line = (marked or lines or ['(empty log)'])[-1].removeprefix('error: ')
    return line if len(line) <= 300 else f'{line[:297]}...'


def devices() -> list[str]:
    """Names of the GPUs that may be used, as in ``CUDA_VISIBLE_DEVICES``; none on a CPU."""
    named = os.environ.get('CUDA_VISIBLE_DEVICES')
    if named is not None:
        return [name for name in named.split(',') if name and name != '-1']
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def environment_of(slot: int, jobs: int, processes: int, gpus: Sequence[str]) -> dict[str, str]:
    """Environment of a run that shares the machine with others.

    Args:
        slot: Which of the parallel runs it is.
        jobs: How many there are.
        processes: Processes of each.
        gpus: The GPUs of the machine; runs of one process may share one.

    Returns:
        This process's environment with threads, devices and port of the slot.
    """
    # The scripts call `python`: it must be this one.
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ.get("PATH", "")}'
    environment = {**os.environ, 'PATH': path, 'PYTHONUNBUFFERED': '1'}
    if jobs > 1 or processes > 1:
        # Threads that wait for busy cores slow all runs down many times.
        environment.setdefault('OMP_NUM_THREADS', '1')
    if gpus:
        first = slot * processes
        chosen = [gpus[(first + i) % len(gpus)] for i in range(processes)]
        environment['CUDA_VISIBLE_DEVICES'] = ','.join(dict.fromkeys(chosen))
    if processes > 1:
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            environment['PORT'] = str(probe.getsockname()[1])
    return environment
