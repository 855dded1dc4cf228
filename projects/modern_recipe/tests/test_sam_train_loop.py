# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from iid_mm.errors import InputError
from modern_recipe import SAMTrainLoop

SAM = dict(optim_wrapper__type='SAMOptimWrapper', train_cfg__type='SAMTrainLoop')


@pytest.mark.slow
def test_trains_in_the_loop_and_resumes(make_runner: Any, recorder: Any, killed: Any) -> None:
    options = dict(**SAM, optim_wrapper__rho=0.05, train_cfg__max_epochs=1)
    whole = recorder()
    runner = make_runner('whole', **options)
    runner.register_hook(whole)
    runner.train()
    assert sorted(whole.losses) == list(range(1, 7))
    first, second = recorder(3), recorder()
    runner = make_runner('killed', save_every=2, **options)
    runner.register_hook(first)
    with pytest.raises(killed):
        runner.train()
    runner = make_runner('killed', resume=True, save_every=2, **options)
    runner.register_hook(second)
    runner.train()
    assert {**first.losses, **second.losses} == whole.losses


def test_a_loss_that_is_not_finite_ends_training(make_runner: Any, tmp_path: Path) -> None:
    runner = make_runner(**SAM)
    head = runner.model.forgery_head
    original = head.loss

    def loss(*args: Any, **kwargs: Any) -> Any:
        found = original(*args, **kwargs)
        return {**found, 'loss_cls': found['loss_cls'] * float('nan')} if runner.iter == 1 else found

    head.loss = loss
    with pytest.raises(InputError, match=r'forgery\.loss_cls was not finite.* at iteration 2'):
        runner.train()
    assert list((tmp_path / 'work').glob('*.pth')) == []


def test_the_loop_of_the_package_is_refused(make_runner: Any) -> None:
    with pytest.raises(InputError, match=r"set train_cfg\.type='SAMTrainLoop'"):
        make_runner(**{**SAM, 'train_cfg__type': 'ResumableEpochTrainLoop'}).train()
    assert isinstance(make_runner(**SAM).train_loop, SAMTrainLoop)
