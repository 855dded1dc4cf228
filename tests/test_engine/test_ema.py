# SPDX-License-Identifier: Apache-2.0
"""MMEngine's moving average of weights together with our checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.hooks import EMAHook

from iid_mm.apis import init_model, load_checkpoint_file
from iid_mm.registry import MODELS

EMA = dict(type='EMAHook', momentum=0.1, update_buffers=True)
VIT: dict[str, Any] = dict(
    type='mmpretrain.VisionTransformer',
    arch=dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64),
    img_size=112,
    patch_size=16,
    out_type='featmap',
    out_indices=(0, 1),
)


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


def test_the_average_has_frozen_weights_that_checkpoints_do_not_hold(
    make_runner: Any, tmp_path: Path, iid_scope: None
) -> None:
    plain = MODELS.build(dict(VIT))
    plain.init_weights()
    torch.save(dict(state_dict=plain.state_dict()), tmp_path / 'vit.pth')
    pretrained = dict(VIT, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'vit.pth')))
    runner = make_runner(
        'lora',
        train_cfg__max_epochs=1,
        model__backbone=dict(
            _delete_=True, type='LoRABackbone', targets=['attn.qkv'], module=pretrained, store_base=False
        ),
        model__neck=dict(_delete_=True, type='PatchArtifactNeck', in_channels=[32, 32], channels=16),
    )
    runner.register_hook(EMA)
    runner.train()
    average = next(hook for hook in runner.hooks if isinstance(hook, EMAHook)).ema_model.module
    frozen = {k: v for k, v in average.backbone.module.named_parameters() if '.lora_' not in k}
    for name, value in frozen.items():
        assert torch.equal(value, plain.state_dict()[name.replace('.original_layer', '')]), name
    assert len(frozen) > 10
