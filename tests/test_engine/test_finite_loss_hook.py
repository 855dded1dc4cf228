# SPDX-License-Identifier: Apache-2.0
"""Training that has diverged: it ends before a checkpoint, a validation or a best checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.hooks import Hook

from iid_mm.engine.hooks.finite_loss_hook import FiniteLossHook
from iid_mm.errors import InputError


def spoil(runner: Any, at: int, value: float = float('nan'), part: str = 'forgery_head') -> None:
    """Let one loss of an iteration be multiplied by a value, as the model computes it."""
    head = getattr(runner.model, part)
    original = head.loss

    def loss(*args: Any, **kwargs: Any) -> Any:
        found = original(*args, **kwargs)
        if runner.iter + 1 == at:
            name = next(name for name in found if 'loss' in name)
            old = found[name]
            found[name] = [v * value for v in old] if isinstance(old, (list, tuple)) else old * value
        return found

    head.loss = loss


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
@pytest.mark.parametrize(('part', 'name'), [('forgery_head', 'forgery'), ('artifact_head', 'artifact')])
def test_nothing_is_saved_after_a_loss_that_is_not_finite(
    value: float, part: str, name: str, make_runner: Any, tmp_path: Path
) -> None:
    runner = make_runner(save_every=4)
    spoil(runner, 3, value, part)
    validated: list[Any] = []

    class Count(Hook):
        def before_val_iter(self, *args: Any, **kwargs: Any) -> None:
            validated.append(args)

    runner.register_hook(Count())
    with pytest.raises(
        InputError, match=rf'{name}\.loss_cls.* was not finite.* at iteration 3 \(epoch 1\).*optim_wrapper'
    ):
        runner.train()
    assert list((tmp_path / 'work').glob('*.pth')) == []
    assert not validated


def test_the_end_of_an_epoch_is_not_saved(make_runner: Any, tmp_path: Path) -> None:
    runner = make_runner()
    spoil(runner, 11)
    with pytest.raises(InputError, match=r'at iteration 11 \(epoch 2\)'):
        runner.train()
    assert (tmp_path / 'work/epoch_1.pth').is_file()
    assert not (tmp_path / 'work/epoch_2.pth').exists()


def test_mixed_precision(make_runner: Any, tmp_path: Path) -> None:
    runner = make_runner(optim_wrapper__type='BFloat16OptimWrapper')
    spoil(runner, 2)
    with pytest.raises(InputError, match=r'forgery\.loss_cls was not finite.* at iteration 2'):
        runner.train()
    assert list((tmp_path / 'work').glob('*.pth')) == []


class Overflow(Hook):
    """Make the gradients of an iteration infinite, as a dynamic loss scale that is too large does."""

    def __init__(self, at: int) -> None:
        self.at = at

    def before_train(self, runner: Any) -> None:
        parameter = runner.model.forgery_head.fc.weight
        parameter.register_hook(lambda grad: grad * torch.inf if runner.iter + 1 == self.at else grad)


def test_a_step_that_a_dynamic_loss_scale_leaves_out_is_normal(make_runner: Any, tmp_path: Path) -> None:
    """MMEngine's wrapper needs a GPU; this one leaves the step out in the same way."""
    runner = make_runner()
    wrapper_step: list[Any] = []

    class Leave(Hook):
        priority = 'LOWEST'

        def before_train(self, runner: Any) -> None:
            step = runner.optim_wrapper.optimizer.step

            def scaled(*args: Any, **kwargs: Any) -> Any:
                if runner.iter + 1 == 2:
                    wrapper_step.append(runner.iter)
                    return None
                return step(*args, **kwargs)

            runner.optim_wrapper.optimizer.step = scaled

    runner.register_hook(Leave())
    runner.register_hook(Overflow(2))
    runner.train()
    assert wrapper_step == [1]
    assert (tmp_path / 'work/epoch_2.pth').is_file()


def test_weights_that_the_last_step_spoiled_are_not_saved(make_runner: Any, tmp_path: Path) -> None:
    """The loss of the iteration was finite."""
    runner = make_runner(optim_wrapper__clip_grad=None)
    runner.register_hook(Overflow(6))
    with pytest.raises(InputError, match=r'weights are no longer finite.*forgery_head\.fc\.weight'):
        runner.train()
    assert list((tmp_path / 'work').glob('*')) != []
    assert [path.name for path in (tmp_path / 'work').glob('*pth*')] == []


@pytest.mark.distributed
def test_two_processes_end_together(train_processes: Any, new_runner: Any, tmp_path: Path) -> None:
    """The loss of the second process's share is NaN."""
    options: dict[str, Any] = dict(custom_hooks=[dict(type='SpoilSecond')], train_dataloader__batch_size=2)
    with pytest.raises(InputError, match=r'forgery\.loss_cls was not finite.* at iteration 2'):
        train_processes(2, tmp_path, **options)
    assert list(tmp_path.glob('*.pth')) == []


def test_looking_waits_for_nothing(monkeypatch: pytest.MonkeyPatch, make_runner: Any) -> None:
    """Values are read every ``interval`` iterations only, which is when a GPU would be waited for."""
    reads: list[int] = []
    original = FiniteLossHook._check

    def check(self: FiniteLossHook, runner: Any) -> None:
        reads.append(runner.iter)
        original(self, runner)

    monkeypatch.setattr(FiniteLossHook, '_check', check)
    runner = make_runner(
        train_cfg__max_epochs=1,
        custom_hooks=[dict(type='FiniteLossHook', interval=3)],
        default_hooks__checkpoint=None,
    )
    runner.train()
    # The third and the sixth iteration, the end of the epoch, and the validation; once, when names are
    # learned.
    assert reads == [0, 2, 5, 6, 6]
