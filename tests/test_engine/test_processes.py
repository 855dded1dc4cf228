# SPDX-License-Identifier: Apache-2.0
"""One process or several, the losses are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from iid_mm.errors import InputError

pytestmark = [pytest.mark.distributed, pytest.mark.slow]

# What depends on the other samples of a process's batch (batch norm) or on its number (dropout) is left out.
EQUAL: dict[str, Any] = dict(
    model__backbone__norm_cfg=dict(type='GN', num_groups=4),
    model__neck__norm_cfg=dict(type='GN', num_groups=4),
    model__forgery_head__dropout=0.0,
    model__forgery_head__loss__class_weight=[3.0, 1.0],
    train_cfg__max_epochs=4,
    train_cfg__val_interval=10,
)
PAIRS: dict[str, Any] = dict(
    train_dataloader__collate_fn=dict(type='iid_mm.collate_pairs'),
    train_dataloader__dataset__paired_only=True,
    train_dataloader__dataset__pipeline__5__type='PackForgeryPair',
)
NOISE = 1e-5
"""Largest difference that other orders of summation may make in losses of about 1."""


@pytest.fixture(scope='module')
def one_process(train_processes: Any, tmp_path_factory: Any) -> Any:
    """A run of one process with batches of 4, 6 iterations an epoch, that nothing disturbed."""
    return train_processes(1, tmp_path_factory.mktemp('one'), **EQUAL)


def test_two_processes_give_the_losses_of_one(one_process: Any, train_processes: Any, tmp_path: Path) -> None:
    two = train_processes(2, tmp_path, **EQUAL, train_dataloader__batch_size=2)
    assert len(two.losses) == 24
    # Both parts of both heads are there to compare.
    assert all(min(v for k, v in row.items() if 'acc' not in k) > 0 for row in two.losses.values())
    assert two.difference(one_process) < NOISE


def test_two_processes_give_the_losses_of_one_with_pairs(train_processes: Any, tmp_path: Path) -> None:
    options = {**EQUAL, **PAIRS, 'train_cfg__max_epochs': 3}
    one = train_processes(1, tmp_path / 'one', **options, train_dataloader__batch_size=2)
    two = train_processes(2, tmp_path / 'two', **options, train_dataloader__batch_size=1)
    assert len(two.losses) == 24
    assert {len(paths) for paths in two.paths.values()} <= {3, 4}
    assert two.difference(one) < NOISE


@pytest.mark.parametrize(('before', 'after'), [(2, 1), (1, 2)])
def test_a_killed_run_goes_on_with_another_number_of_processes(
    before: int, after: int, one_process: Any, train_processes: Any, tmp_path: Path
) -> None:
    options = dict(**EQUAL, save_every=4)
    train_processes(before, tmp_path, kill_after=9, **options, train_dataloader__batch_size=4 // before)
    rest = train_processes(after, tmp_path, resume=True, **options, train_dataloader__batch_size=4 // after)
    # Iteration 8 is the second of the second epoch.
    assert sorted(rest.losses) == list(range(9, 25))
    assert rest.difference(one_process, first=9) < NOISE


def test_another_total_batch_size_is_an_error(train_processes: Any, tmp_path: Path) -> None:
    options = dict(**EQUAL, save_every=2)
    train_processes(1, tmp_path, kill_after=3, **options)
    with pytest.raises(InputError, match=r'started with 6 iterations an epoch and there are 3 now'):
        train_processes(2, tmp_path, resume=True, **options)


# Gradient accumulation

PLAIN: dict[str, Any] = dict(
    model__neck=None,
    model__artifact_head=None,
    model__forgery_head__artifact_channels=None,
    model__backbone__norm_cfg=dict(type='GN', num_groups=4),
    model__forgery_head__dropout=0.0,
    train_cfg__val_interval=10,
    param_scheduler=None,
)


def steps(run: Any, count: int) -> list[float]:
    """Losses averaged over every ``count`` iterations."""
    values = [run.losses[i]['loss'] for i in sorted(run.losses)]
    return [sum(values[i : i + count]) / count for i in range(0, len(values), count)]


@pytest.mark.parametrize('processes', [1, 2])
def test_accumulated_batches_of_a_plain_classifier_are_one_batch(
    processes: int, train_processes: Any, tmp_path: Path
) -> None:
    whole = train_processes(1, tmp_path / 'whole', **PLAIN)
    parts = train_processes(
        processes,
        tmp_path / 'parts',
        **PLAIN,
        optim_wrapper__accumulative_counts=4 // processes,
        train_dataloader__batch_size=1,
    )
    assert steps(parts, 4 // processes) == pytest.approx(steps(whole, 1), abs=NOISE)


def test_the_last_step_of_an_epoch_uses_what_there_is(make_runner: Any, recorder: Any) -> None:
    runner = make_runner(optim_wrapper__accumulative_counts=4)
    weights: list[float] = []

    class Weights(recorder):
        def after_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
            weights.append(float(runner.model.forgery_head.fc.weight.detach().abs().sum()))

    runner.register_hook(Weights())
    runner.train()
    # 6 iterations an epoch: steps after 4 and 6, 10 and 12.
    changed = [i + 1 for i in range(1, 12) if weights[i] != weights[i - 1]]
    assert changed == [4, 6, 10, 12]


def test_a_killed_run_that_accumulates_goes_on_from_its_last_step(
    train_processes: Any, tmp_path: Path
) -> None:
    options = dict(**EQUAL, optim_wrapper__accumulative_counts=4, save_every=1)
    whole = train_processes(1, tmp_path / 'whole', **options)
    # Killed within the second epoch after iteration 11, whose gradient waits for iteration 12.
    train_processes(1, tmp_path / 'killed', kill_after=11, **options)
    two = train_processes(2, tmp_path / 'killed', resume=True, **options, train_dataloader__batch_size=2)
    assert sorted(two.losses) == list(range(11, 25))
    assert two.difference(whole, first=11) < NOISE


def test_a_checkpoint_between_two_steps_is_refused(
    make_runner: Any, recorder: Any, killed: Any, tmp_path: Path
) -> None:
    options = dict(
        optim_wrapper__accumulative_counts=4,
        default_hooks__checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=5),
    )
    runner = make_runner('between', **options)
    runner.register_hook(recorder(5))
    with pytest.raises(killed):
        runner.train()
    checkpoint = tmp_path / 'between' / 'iter_5.pth'
    with pytest.raises(InputError, match=r'at iteration 5 of an epoch, between two steps.*interrupted\.pth'):
        make_runner('resumed', resume=checkpoint, **options).train()
