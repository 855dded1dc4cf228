# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.model import convert_sync_batchnorm, revert_sync_batchnorm
from torch import distributed as dist
from torch import nn

from iid_mm.engine.runner.distributed import check_sync_bn, join_cpu_processes
from iid_mm.errors import InputError
from iid_mm.registry import MODELS
from iid_mm.utils.checkpoint import check_state_dict

NAMES = ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT', 'SLURM_PROCID', 'SLURM_NTASKS')


@pytest.fixture
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
@pytest.mark.usefixtures('joined')
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
    launcher: str, given: dict[str, str], message: str, joined: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=message):
        join_cpu_processes(launcher)


# Synchronized batch norm


@pytest.fixture
def has_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)


@pytest.mark.usefixtures('has_gpu')
@pytest.mark.parametrize('sync_bn', [None, 'torch'])
def test_good_values(sync_bn: str | None) -> None:
    check_sync_bn(sync_bn)


@pytest.mark.usefixtures('has_gpu')
@pytest.mark.parametrize(
    ('sync_bn', 'message'),
    [(True, r"sync_bn=True: must be 'torch', 'mmcv' or None"), ('mmcv', r'without compiled operators')],
)
def test_bad_values(sync_bn: Any, message: str) -> None:
    import mmcv.ops

    if sync_bn == 'mmcv' and hasattr(mmcv.ops, 'SyncBatchNorm'):
        pytest.skip('mmcv has compiled operators')
    with pytest.raises(InputError, match=message):
        check_sync_bn(sync_bn)


@pytest.mark.distributed
def test_processes_without_a_gpu_end_before_they_train(train_processes: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"sync_bn='torch' needs a GPU in every process.*norm_cfg"):
        train_processes(2, tmp_path, sync_bn='torch')


@pytest.mark.usefixtures('iid_scope')
def test_checkpoints_of_converted_and_plain_models_are_the_same(tiny_model_cfg: dict[str, Any]) -> None:
    """What MMEngine does to a model on GPUs; the layers themselves run there only."""
    plain = MODELS.build(tiny_model_cfg)
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    count = sum(isinstance(m, nn.BatchNorm2d) for m in plain.modules())
    converted = convert_sync_batchnorm(plain, 'torch')
    assert sum(isinstance(m, nn.SyncBatchNorm) for m in converted.modules()) == count > 0
    check_state_dict(converted, before, 'plain')
    back = revert_sync_batchnorm(converted).state_dict()
    assert all(torch.equal(back[name], value) for name, value in before.items())
