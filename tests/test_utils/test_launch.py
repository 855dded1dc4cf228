# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import signal
import time
from types import SimpleNamespace
from typing import Any

import pytest
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from iid_mm.utils import launch

KILLED = 'error: process 0 was killed by signal SIGKILL'


def failing(*exitcodes: int) -> Any:
    def torchrun() -> None:
        failures = {}
        for rank, code in enumerate(exitcodes):
            failure = ProcessFailure(local_rank=rank, pid=1, exitcode=code, error_file='<N/A>')
            failure.timestamp = rank
            failures[rank] = failure
        raise ChildFailedError('tool', failures)

    return torchrun


@pytest.mark.parametrize(
    ('exitcodes', 'status', 'message'),
    [
        ((1, -15), 1, ''),
        ((75, -15), 75, ''),
        ((130,), 130, ''),
        ((3,), 3, 'error: process 0 ended with exit status 3\n'),
        (
            (-9, -15),
            1,
            'error: process 0 was killed by signal SIGKILL; the machine may have run out of memory\n',
        ),
        ((-11,), 1, 'error: process 0 was killed by signal SIGSEGV\n'),
    ],
)
def test_failures_are_told_in_one_line(
    exitcodes: tuple[int, ...],
    status: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv('IID_DEBUG', raising=False)
    monkeypatch.setattr(launch, 'torchrun', failing(*exitcodes))
    assert launch.main() == status
    assert capsys.readouterr().err == message


def test_success(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, 'torchrun', lambda: None)
    assert launch.main() == 0


def test_debugging_leaves_torchrun_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('IID_DEBUG', '1')
    monkeypatch.setattr(launch, 'torchrun', failing(1))
    with pytest.raises(ChildFailedError):
        launch.main()


def test_signals_are_passed_on_before_processes_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(time, 'monotonic', lambda: now[0])
    monkeypatch.setattr(os, 'kill', lambda process, number: sent.append((process, number)))
    ended: list[int] = []
    context: Any = SimpleNamespace(pids=lambda: {0: 11, 1: 12})
    handler = launch._PassedOn(context, lambda number, frame: ended.append(number))
    handler(signal.SIGINT, None)
    # Both the terminal and a scheduler send it.
    handler(signal.SIGINT, None)
    assert sent == [(11, signal.SIGINT), (12, signal.SIGINT)]
    now[0] += 5
    handler(signal.SIGUSR1, None)
    assert len(sent) == 4
    assert not ended
    now[0] += 5
    handler(signal.SIGTERM, None)
    assert ended == [signal.SIGTERM]
