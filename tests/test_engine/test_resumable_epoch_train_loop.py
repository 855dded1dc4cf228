# SPDX-License-Identifier: Apache-2.0
"""Training on a tiny set: whole, killed and resumed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from mmengine.hooks import Hook

from iid_mm.apis import init_model, load_checkpoint_file
from iid_mm.engine import SafeRunner
from iid_mm.errors import InputError

PARTS = {'loss', 'forgery.loss_cls', 'forgery.acc', 'artifact.loss_cls', 'artifact.loss_bbox'}


def train(runner: SafeRunner, hook: Any) -> dict[int, dict[str, float]]:
    runner.register_hook(hook)
    try:
        runner.train()
    finally:
        # Left to the garbage collector, workers of a killed run take 5 seconds each to go.
        iterator = runner.train_dataloader._iterator
        if iterator is not None:
            iterator._shutdown_workers()
    return hook.losses


@pytest.fixture(scope='module')
def whole_run(tiny_config: Path, recorder: Any, new_runner: Any, tmp_path_factory: Any) -> Any:
    """Recorder and work directory of a run that nothing disturbed."""
    hook = recorder()
    work_dir = tmp_path_factory.mktemp('whole')
    train(new_runner(work_dir), hook)
    return hook, work_dir


def test_two_epochs(whole_run: Any) -> None:
    hook, work_dir = whole_run
    assert sorted(hook.losses) == list(range(1, 13))
    assert set(hook.losses[1]) == PARTS
    # Every epoch sees every training sample once, in another order.
    epochs = [[p for i in range(first, first + 6) for p in hook.paths[i]] for first in (1, 7)]
    assert all(len(set(paths)) == 24 for paths in epochs)
    assert epochs[0] != epochs[1]
    names = {path.name for path in work_dir.glob('*.pth')}
    assert {'epoch_1.pth', 'epoch_2.pth'} < names
    best = [name for name in names if re.fullmatch(r'best_forgery_video_auc_epoch_\d\.pth', name)]
    assert len(best) == 1

    scalars = next(work_dir.glob('*/vis_data/scalars.json')).read_text().splitlines()
    records = [json.loads(line) for line in scalars]
    training = [r for r in records if 'loss' in r]
    assert len(training) == 12
    assert {*PARTS, 'lr', 'data_time', 'time', 'epoch', 'iter'} <= set(training[0])
    assert training[0]['lr'] == pytest.approx(1e-4)
    validation = [r for r in records if 'forgery/video_auc' in r]
    assert len(validation) == 2
    assert validation[0]['forgery/num_videos'] == 3

    # A file that MMEngine wrote, with its training history, is read without trust.
    content = load_checkpoint_file(work_dir / 'epoch_2.pth')
    assert {'state_dict', 'optimizer', 'message_hub', 'meta', 'param_schedulers'} <= set(content)
    model = init_model(next(work_dir.glob('*.py')), work_dir / best[0])
    assert not model.training


@pytest.mark.slow
@pytest.mark.parametrize(
    ('kill_after', 'interval', 'start', 'workers'),
    [
        (3, 2, 2, 0),  # within the first epoch
        (9, 4, 8, 2),  # within the second epoch, by other processes
    ],
)
def test_a_killed_run_goes_on_with_the_same_losses(
    kill_after: int,
    interval: int,
    start: int,
    workers: int,
    whole_run: Any,
    make_runner: Any,
    recorder: Any,
    killed: Any,
) -> None:
    expected, _ = whole_run
    options = dict(
        save_every=interval,
        train_dataloader__num_workers=workers,
        train_dataloader__persistent_workers=workers > 0,
    )
    first = recorder(kill_after)
    with pytest.raises(killed):
        train(make_runner('killed', **options), first)
    second = recorder()
    train(make_runner('killed', resume=True, **options), second)
    assert sorted(second.losses) == list(range(start + 1, 13))
    assert {**first.losses, **second.losses} == expected.losses
    assert {**first.paths, **second.paths} == expected.paths


@pytest.mark.slow
def test_checkpoint_of_the_last_iteration_of_an_epoch(
    whole_run: Any, make_runner: Any, recorder: Any, killed: Any
) -> None:
    """Such a file says: epoch 0 and all its iterations done."""
    expected, _ = whole_run
    with pytest.raises(killed):
        train(make_runner('killed', save_every=6), recorder(6))
    work_dir = Path(make_runner('killed').work_dir)
    assert not (work_dir / 'epoch_1.pth').exists()
    second = recorder()
    train(make_runner('killed', resume=work_dir / 'interrupted.pth'), second)
    assert second.losses == {i: expected.losses[i] for i in range(7, 13)}
    assert (work_dir / 'epoch_1.pth').exists()


class KillInValidation(Hook):
    """End the run when the first validation begins."""

    def __init__(self, error: type[Exception]) -> None:
        self.error = error

    def before_val_epoch(self, runner: Any) -> None:
        raise self.error


def test_a_run_killed_while_it_validates_makes_up_for_it(
    whole_run: Any, make_runner: Any, recorder: Any, killed: Any
) -> None:
    expected, whole_dir = whole_run
    first = make_runner('killed')
    first.register_hook(KillInValidation(killed))
    with pytest.raises(killed):
        first.train()
    work_dir = Path(first.work_dir)
    assert (work_dir / 'epoch_1.pth').exists()
    assert not list(work_dir.glob('best_*'))
    second = recorder()
    resumed = make_runner('killed', resume=True)
    train(resumed, second)
    assert second.losses == {i: expected.losses[i] for i in range(7, 13)}
    lines = (Path(resumed.log_dir) / 'vis_data/scalars.json').read_text().splitlines()
    found = [r for r in map(json.loads, lines) if 'forgery/video_auc' in r]
    lines = next(whole_dir.glob('*/vis_data/scalars.json')).read_text().splitlines()
    wanted = [r for r in map(json.loads, lines) if 'forgery/video_auc' in r]
    assert [r['forgery/frame_auc'] for r in found] == [r['forgery/frame_auc'] for r in wanted]
    assert {p.name for p in work_dir.glob('best_*')} == {p.name for p in whole_dir.glob('best_*')}


def test_interrupted_checkpoint_is_the_latest(make_runner: Any, recorder: Any, killed: Any) -> None:
    runner = make_runner('killed', save_every=2)
    with pytest.raises(killed):
        train(runner, recorder(5))
    work_dir = Path(runner.work_dir)
    assert (work_dir / 'last_checkpoint').read_text() == str(work_dir / 'interrupted.pth')
    assert load_checkpoint_file(work_dir / 'interrupted.pth')['meta']['iter'] == 4
    assert list(work_dir.glob('*.tmp')) == []


@pytest.mark.parametrize(('checkpoint', 'batch_size'), [('epoch_1.pth', 5), ('epoch_1.pth', 3)])
def test_resuming_with_another_batch_size_is_an_error(
    checkpoint: str, batch_size: int, whole_run: Any, make_runner: Any
) -> None:
    runner = make_runner('other', resume=whole_run[1] / checkpoint, train_dataloader__batch_size=batch_size)
    with pytest.raises(
        InputError, match=r'started with 6 iterations an epoch and there are \d now.*batch size'
    ):
        runner.train()


def test_resuming_within_an_epoch_needs_a_sampler_that_skips(
    make_runner: Any, recorder: Any, killed: Any
) -> None:
    sampler = dict(type='DefaultSampler', shuffle=True)
    options = dict(save_every=2, train_dataloader__sampler=sampler)
    with pytest.raises(killed):
        train(make_runner('killed', **options), recorder(3))
    with pytest.raises(InputError, match=r'DefaultSampler cannot skip.*ResumableSampler'):
        make_runner('killed', resume=True, **options).train()


def test_data_that_do_not_fill_a_batch_are_an_error(make_runner: Any) -> None:
    with pytest.raises(
        InputError, match=r'has 24 of 24 training samples .* do not fill a batch of 25.*batch_size'
    ):
        make_runner('small', train_dataloader__batch_size=25).train()
