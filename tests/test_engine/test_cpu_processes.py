# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from torch import distributed as dist

from iid_mm.engine.runner.cpu_processes import join_cpu_processes
from iid_mm.errors import InputError

NAMES = ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT', 'SLURM_PROCID', 'SLURM_NTASKS')


@pytest.fixture(autouse=True)
def joined(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Calls of ``init_process_group``, which does nothing; no variable of a launcher is set."""
    calls: list[Any] = []
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(dist, 'init_process_group', lambda *args, **kwargs: calls.append((args, kwargs)))
    for name in NAMES:
        # Set first, so that what the function sets is taken back after the test.
        monkeypatch.setenv(name, '')
        monkeypatch.delenv(name)
    return calls


def test_torchrun(joined: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in dict(RANK='1', WORLD_SIZE='2', MASTER_ADDR='node1', MASTER_PORT='1').items():
        monkeypatch.setenv(name, value)
    assert join_cpu_processes('pytorch', dict(backend='nccl', timeout=60))
    assert [args for args, _ in joined] == [('gloo',)]
    assert joined[0][1]['timeout'].total_seconds() == 60


@pytest.mark.parametrize(('port', 'expected'), [(None, '29500'), (1234, '1234')])
def test_slurm(port: int | None, expected: str, joined: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in dict(
        SLURM_PROCID='3', SLURM_NTASKS='4', SLURM_LOCALID='1', MASTER_ADDR='node1'
    ).items():
        monkeypatch.setenv(name, value)
    assert join_cpu_processes('slurm', dict(port=port))
    assert len(joined) == 1
    assert [os.environ[name] for name in NAMES[:5]] == ['3', '1', '4', 'node1', expected]


def test_one_process_and_machines_with_a_gpu(joined: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert not join_cpu_processes('none')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    assert not join_cpu_processes('pytorch')
    assert joined == []


@pytest.mark.parametrize(
    ('launcher', 'missing'),
    [('pytorch', 'RANK, WORLD_SIZE'), ('slurm', 'SLURM_LOCALID, SLURM_NTASKS, SLURM_PROCID')],
)
def test_not_started_by_the_launcher(launcher: str, missing: str) -> None:
    with pytest.raises(InputError, match=rf'--launcher {launcher}: {missing} is not set'):
        join_cpu_processes(launcher)


@pytest.mark.parametrize(
    ('launcher', 'given', 'message'),
    [
        ('pytorch', dict(RANK='0', WORLD_SIZE='1'), r'--launcher pytorch: MASTER_ADDR is not set'),
        (
            'pytorch',
            dict(RANK='0', WORLD_SIZE='1', MASTER_ADDR='node1'),
            r'--launcher pytorch: MASTER_PORT is not set',
        ),
        (
            'mpi',
            dict(OMPI_COMM_WORLD_RANK='0', OMPI_COMM_WORLD_SIZE='1', OMPI_COMM_WORLD_LOCAL_RANK='0'),
            r'--launcher mpi: MASTER_ADDR is not set',
        ),
        (
            'slurm',
            dict(SLURM_PROCID='0', SLURM_NTASKS='1', SLURM_LOCALID='0', PATH=''),
            r"--launcher slurm: 'scontrol show hostnames .*' failed .*; set MASTER_ADDR",
        ),
    ],
)
def test_the_first_machine_is_not_told(
    launcher: str, given: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=message):
        join_cpu_processes(launcher)
