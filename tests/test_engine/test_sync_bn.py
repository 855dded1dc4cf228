# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.model import convert_sync_batchnorm, revert_sync_batchnorm
from torch import nn

from iid_mm.engine.runner.sync_bn import check_sync_bn
from iid_mm.errors import InputError
from iid_mm.registry import MODELS
from iid_mm.utils.checkpoint import check_state_dict


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


def test_processes_without_a_gpu_end_before_they_train(train_processes: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"sync_bn='torch' needs a GPU in every process.*norm_cfg"):
        train_processes(2, tmp_path, sync_bn='torch')


def test_one_process_needs_no_synchronization(make_runner: Any) -> None:
    model = make_runner(sync_bn='torch').model
    assert any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    assert not any(isinstance(m, nn.SyncBatchNorm) for m in model.modules())


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
