# SPDX-License-Identifier: Apache-2.0
"""MMEngine's moving average of weights together with our checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from iid_mm.apis import init_model, load_checkpoint_file

EMA = dict(type='EMAHook', momentum=0.1, update_buffers=True)


def test_a_resumed_run_keeps_the_same_average(make_runner: Any, recorder: Any, killed: Any) -> None:
    def run(name: str, hook: Any, **options: Any) -> Path:
        runner = make_runner(name, save_every=2, train_cfg__max_epochs=1, **options)
        runner.register_hook(EMA)
        runner.register_hook(hook)
        work_dir = Path(runner.work_dir)
        runner.train()
        return work_dir / 'epoch_1.pth'

    whole, first, second = recorder(), recorder(3), recorder()
    expected = load_checkpoint_file(run('whole', whole))
    with pytest.raises(killed):
        run('killed', first)
    resumed = load_checkpoint_file(run('killed', second, resume=True))
    assert {**first.losses, **second.losses} == whole.losses
    for key in ('state_dict', 'ema_state_dict'):
        assert list(resumed[key]) == list(expected[key])
        assert all(torch.equal(resumed[key][name], value) for name, value in expected[key].items())


def test_checkpoints_hold_the_average_as_weights(make_runner: Any, tmp_path: Path) -> None:
    runner = make_runner('ema', train_cfg__max_epochs=1)
    runner.register_hook(EMA)
    runner.train()
    stored = load_checkpoint_file(tmp_path / 'ema' / 'epoch_1.pth')
    last = {f'module.{name}': value for name, value in runner.model.state_dict().items()}
    name = 'forgery_head.fc.weight'
    assert torch.equal(stored['ema_state_dict'][f'module.{name}'], last[f'module.{name}'])
    assert not torch.equal(stored['state_dict'][name], last[f'module.{name}'])
    # What the tools load are these weights.
    model = init_model(next((tmp_path / 'ema').glob('*.py')), tmp_path / 'ema' / 'epoch_1.pth')
    assert torch.equal(model.state_dict()[name], stored['state_dict'][name])
