# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import EMAHook, Hook
from torch import nn

from iid_mm.apis import init_model, load_checkpoint_file
from iid_mm.datasets.loader_workers import TIMEOUT
from iid_mm.engine import SafeRunner, build_runner
from iid_mm.errors import InputError
from iid_mm.registry import MODELS, RUNNERS


@pytest.mark.parametrize('name', ['Runner', 'mmengine.FlexibleRunner', 'Nothing'])
def test_runners_that_run_code_of_checkpoints_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"runner_type='{name}': must be 'SafeRunner' or .* a subclass"):
        build_runner(Config(dict(runner_type=name)))


def test_a_subclass_is_built_by_its_name(make_runner: Any) -> None:
    @RUNNERS.register_module(force=True)
    class OwnRunner(SafeRunner):
        pass

    assert type(make_runner(runner_type='OwnRunner')) is OwnRunner


def test_checkpoint_of_another_model(make_runner: Any, tmp_path: Path) -> None:
    torch.save(dict(state_dict=dict(weight=torch.ones(1))), tmp_path / 'other.pth')
    runner = make_runner('other')
    with pytest.raises(InputError, match=r'other\.pth is of another model.*not of this model: weight'):
        runner.load_checkpoint(str(tmp_path / 'other.pth'))


def test_test_computes_and_stores_metrics(make_runner: Any, tmp_path: Path) -> None:
    runner = make_runner('test', test_evaluator__scores_file=str(tmp_path / 's.parquet'))
    metrics = runner.test()
    assert metrics['forgery/num_videos'] == 9
    assert 0 <= metrics['forgery/video_auc'] <= 1
    assert (tmp_path / 's.parquet').is_file()


def test_parts_of_the_model_are_checked_before_training(make_runner: Any) -> None:
    with pytest.raises(InputError, match=r'model\.forgery_head: ForgeryHead expects 64 channels and got 32'):
        make_runner(model__forgery_head__in_channels=64)


def test_runners_harden_their_loaders(make_runner: Any, tmp_path: Path) -> None:
    runner = make_runner(train_dataloader__num_workers=1, train_dataloader__persistent_workers=False)
    built = runner.build_dataloader(runner.cfg.train_dataloader, seed=0)
    assert built.timeout == TIMEOUT


def test_one_process_needs_no_synchronization(make_runner: Any) -> None:
    model = make_runner(sync_bn='torch').model
    assert any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    assert not any(isinstance(m, nn.SyncBatchNorm) for m in model.modules())


class BatchRecorder(Hook):
    """Remembers labels and paths of every batch."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[int, str]]] = []

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        self.batches.append([(int(s.gt_label), s.img_path) for s in data_batch['data_samples']])


def test_every_batch_holds_fakes_and_their_genuine_frames(make_runner: Any) -> None:
    loader = 'train_dataloader__'
    runner = make_runner(
        train_cfg__max_epochs=1,
        **{
            f'{loader}collate_fn': dict(type='iid_mm.collate_pairs'),
            f'{loader}batch_size': 2,
            f'{loader}dataset__paired_only': True,
            f'{loader}dataset__pipeline__5__type': 'PackForgeryPair',
        },
    )
    hook = BatchRecorder()
    runner.register_hook(hook)
    runner.train()
    assert len(hook.batches) == 8
    for batch in hook.batches:
        assert [label for label, _ in batch] == [1, 0, 1, 0]
        for (_, fake), (_, genuine) in zip(batch[::2], batch[1::2], strict=True):
            assert fake.split('/')[-1] == genuine.split('/')[-1]
            assert fake.split('/')[-2].split('_')[0] == genuine.split('/')[-2]


# MMEngine's moving average of the weights

EMA = dict(type='EMAHook', momentum=0.1, update_buffers=True)
VIT: dict[str, Any] = dict(
    type='mmpretrain.VisionTransformer',
    arch=dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64),
    img_size=112,
    patch_size=16,
    out_type='featmap',
    out_indices=(0, 1),
)


@pytest.mark.slow
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


@pytest.mark.slow
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
