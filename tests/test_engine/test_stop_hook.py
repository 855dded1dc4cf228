# SPDX-License-Identifier: Apache-2.0
"""Training that is asked to stop: it saves, and goes on as if nothing had happened."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.hooks import Hook

from iid_mm.engine.hooks.stop_hook import StopHook
from iid_mm.errors import StoppedError

# As in test_processes: what depends on the other samples of a process's batch or on its number is left out.
EQUAL: dict[str, Any] = dict(
    model__backbone__norm_cfg=dict(type='GN', num_groups=4),
    model__neck__norm_cfg=dict(type='GN', num_groups=4),
    model__forgery_head__dropout=0.0,
    train_cfg__max_epochs=2,
)


class Ask(Hook):
    """Send this process a signal at a point of the training."""

    def __init__(self, where: str, number: int = signal.SIGTERM, nth: int = 1) -> None:
        self.number = number
        self.left = nth
        setattr(self, where, self._ask)

    def _ask(self, *args: Any, **kwargs: Any) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)


def meta(work_dir: Path, name: str = 'interrupted.pth') -> tuple[int, int]:
    content = torch.load(work_dir / name, weights_only=False)['meta']
    return content['epoch'], content['iter']


@pytest.fixture(scope='module')
def whole(new_runner: Any, recorder: Any, tmp_path_factory: Any) -> Any:
    hook = recorder()
    runner = new_runner(tmp_path_factory.mktemp('whole'))
    runner.register_hook(hook)
    runner.train()
    return hook.losses


@pytest.mark.parametrize(('name', 'status'), [('SIGTERM', 75), ('SIGUSR1', 75), ('SIGINT', 130)])
def test_a_signal_saves_and_stops(
    name: str, status: int, whole: Any, make_runner: Any, recorder: Any, tmp_path: Path
) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)}
    runner = make_runner()
    first = recorder()
    runner.register_hook(first)
    runner.register_hook(Ask('before_train_iter', getattr(signal, name), 4))
    with pytest.raises(
        StoppedError, match=r'interrupted\.pth holds its state; continue with --resume'
    ) as caught:
        runner.train()
    assert caught.value.status == status
    assert meta(tmp_path / 'work') == (0, 4)
    assert {number: signal.getsignal(number) for number in before} == before
    second = recorder()
    resumed = make_runner(resume=True)
    resumed.register_hook(second)
    resumed.train()
    assert {**first.losses, **second.losses} == whole
    assert sorted(second.losses) == list(range(5, 13))


def test_a_second_ctrl_c_does_not_wait(
    make_runner: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hook = StopHook()
    with hook.during_training():
        os.kill(os.getpid(), signal.SIGINT)
        # The terminal and a launcher send the same one.
        os.kill(os.getpid(), signal.SIGINT)
        now = time.monotonic()
        monkeypatch.setattr(time, 'monotonic', lambda: now + 5)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize('interval', [1, 5])
def test_a_validation_is_broken_off(interval: int, make_runner: Any, tmp_path: Path) -> None:
    """With the checkpoint of the epoch, or one that is made for it."""
    runner = make_runner(default_hooks__checkpoint__interval=interval)
    runner.register_hook(Ask('before_val_iter'))
    validated: list[Any] = []

    class Count(Hook):
        def after_val_epoch(self, runner: Any, metrics: Any = None) -> None:
            validated.append(metrics)

    runner.register_hook(Count(), 'HIGHEST')
    with pytest.raises(StoppedError):
        runner.train()
    assert not validated
    assert meta(tmp_path / 'work', (tmp_path / 'work/last_checkpoint').read_text()) == (1, 6)
    assert (tmp_path / 'work/interrupted.pth').exists() == (interval == 5)
    resumed = make_runner(default_hooks__checkpoint__interval=interval, resume=True)
    resumed.register_hook(Count(), 'HIGHEST')
    resumed.train()
    # That of the first epoch is made up for.
    assert len(validated) == 2


def test_a_moving_average_is_not_saved_in_place_of_the_weights(make_runner: Any, tmp_path: Path) -> None:
    options: dict[str, Any] = dict(default_hooks__checkpoint__interval=5)
    runner = make_runner(**options)
    runner.register_hook(dict(type='EMAHook', momentum=0.5))
    runner.register_hook(Ask('before_val_iter'))
    weights: list[torch.Tensor] = []

    class Keep(Hook):
        priority = 'VERY_HIGH'

        def before_val_epoch(self, runner: Any) -> None:
            weights.append(runner.model.forgery_head.fc.weight.detach().clone())

    runner.register_hook(Keep())
    with pytest.raises(StoppedError):
        runner.train()
    content = torch.load(tmp_path / 'work/interrupted.pth', weights_only=False)
    # EMAHook stores the average as the state, and the weights beside it.
    assert torch.equal(content['ema_state_dict']['module.forgery_head.fc.weight'], weights[0])


def test_accumulated_gradients_are_waited_for(make_runner: Any, tmp_path: Path) -> None:
    runner = make_runner(optim_wrapper__accumulative_counts=4)
    runner.register_hook(Ask('before_train_iter', nth=2))
    with pytest.raises(StoppedError):
        runner.train()
    assert meta(tmp_path / 'work') == (0, 4)


@pytest.mark.distributed
def test_two_processes_agree(train_processes: Any, tmp_path: Path) -> None:
    """Only the second one is asked; both stop at one iteration, and one process goes on alone."""
    whole = train_processes(1, tmp_path / 'whole', **EQUAL)
    stopped = train_processes(
        2, tmp_path / 'run', asked=4, asked_rank=1, **EQUAL, train_dataloader__batch_size=2
    )
    assert sorted(stopped.losses) == [1, 2, 3, 4]
    assert meta(tmp_path / 'run') == (0, 4)
    rest = train_processes(1, tmp_path / 'run', resume=True, **EQUAL)
    assert sorted(rest.losses) == list(range(5, 13))
    assert rest.difference(whole, first=5) < 1e-5
