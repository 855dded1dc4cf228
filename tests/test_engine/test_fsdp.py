# SPDX-License-Identifier: Apache-2.0
"""Models in shards, on two CPU processes, against the same models in one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from iid_mm.apis import init_model, load_checkpoint_file
from iid_mm.errors import InputError

VIT: dict[str, Any] = dict(
    type='mmpretrain.VisionTransformer',
    arch=dict(embed_dims=32, num_layers=3, num_heads=2, feedforward_channels=64),
    img_size=112,
    patch_size=16,
    out_type='featmap',
    out_indices=(0, 2),
)
LORA: dict[str, Any] = dict(type='LoRABackbone', rank=4, targets=['attn.qkv'], module=VIT)


def options(backbone: dict[str, Any]) -> dict[str, Any]:
    """A detector on a vision transformer with layer-wise weight decay and gradients clipped by norm."""
    return dict(
        model__backbone=dict(_delete_=True, **backbone),
        model__neck=dict(
            _delete_=True,
            type='PatchArtifactNeck',
            in_channels=[32, 32],
            channels=16,
            norm_cfg=dict(type='GN', num_groups=4),
        ),
        model__forgery_head__dropout=0.0,
        train_cfg__val_interval=10,
        optim_wrapper__clip_grad=dict(_delete_=True, type='norm', max_norm=0.5),
        optim_wrapper__paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    )


SHARDED: dict[str, Any] = dict(
    runner_type='FlexibleForgeryRunner',
    strategy=dict(
        type='ForgeryFSDPStrategy',
        model_wrapper=dict(auto_wrap_policy=dict(type='wrap_layers', layers=['TransformerEncoderLayer'])),
    ),
    train_dataloader__batch_size=2,
)
NOISE = 2e-5


@pytest.fixture(scope='module', params=['vit', 'lora'])
def runs(request: Any, train_processes: Any, tmp_path_factory: Any) -> Any:
    """The same training by one process and in two shards, and the work directory of the latter."""
    cfg = options(dict(vit=VIT, lora=LORA)[request.param])
    whole = train_processes(1, tmp_path_factory.mktemp('whole'), **cfg)
    folder = tmp_path_factory.mktemp('sharded')
    return cfg, whole, train_processes(2, folder, **cfg, **SHARDED), folder


def test_shards_give_the_losses_of_whole_weights(runs: Any) -> None:
    _, whole, sharded, _ = runs
    assert len(whole.losses) == 12
    assert sharded.difference(whole) < NOISE


def test_checkpoints_are_those_of_whole_models(runs: Any, make_runner: Any, iid_scope: None) -> None:
    cfg, _, _, folder = runs
    model = init_model(next(folder.glob('*.py')), folder / 'epoch_2.pth')
    stored = load_checkpoint_file(folder / 'epoch_2.pth')
    assert list(stored['state_dict']) == list(model.state_dict())
    # The optimizer's state, too: an optimizer of the whole model takes it.
    runner = make_runner(**cfg)
    wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    wrapper.load_state_dict(stored['optimizer'])
    for parameter, state in wrapper.optimizer.state.items():
        assert state['exp_avg'].shape == parameter.shape
        assert int(state['step']) == 12
    trained = sum(parameter.requires_grad for parameter in runner.model.parameters())
    assert len(wrapper.optimizer.state) == trained

    tester = make_runner('test', **cfg)
    tester._load_from = str(folder / 'epoch_2.pth')
    assert tester.test()['forgery/num_videos'] == 9


@pytest.mark.parametrize('runs', ['lora'], indirect=True)
@pytest.mark.parametrize(
    ('before', 'after'), [(SHARDED, SHARDED), (SHARDED, {}), ({}, SHARDED)], ids=['2-2', '2-1', '1-2']
)
def test_a_killed_run_goes_on_in_other_shards(
    before: dict[str, Any], after: dict[str, Any], runs: Any, train_processes: Any, tmp_path: Path
) -> None:
    cfg, whole, _, _ = runs
    train_processes(2 if before else 1, tmp_path, kill_after=5, save_every=4, **cfg, **before)
    rest = train_processes(2 if after else 1, tmp_path, resume=True, **cfg, **after)
    assert sorted(rest.losses) == list(range(5, 13))
    assert rest.difference(whole, first=5) < NOISE


def test_gradients_are_accumulated_in_shards(train_processes: Any, tmp_path: Path) -> None:
    cfg = options(LORA) | dict(optim_wrapper__accumulative_counts=4, train_cfg__max_epochs=1)
    whole = train_processes(1, tmp_path / 'whole', **cfg)
    sharded = train_processes(2, tmp_path / 'sharded', **cfg, **SHARDED)
    assert len(whole.losses) == 6
    assert sharded.difference(whole) < NOISE


STRATEGY = SHARDED['strategy']
LORA_WITHOUT_BASE = dict(
    LORA, store_base=False, module=dict(VIT, init_cfg=dict(type='Pretrained', checkpoint='/absent.pth'))
)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(strategy=None), r'strategy\.type=None: FlexibleForgeryRunner needs'),
        (
            dict(strategy=dict(STRATEGY, state_dict_cfg='local')),
            r'checkpoints are always whole',
        ),
        (
            dict(strategy__model_wrapper__auto_wrap_policy=dict(type='wrap_layers', layers=['Block'])),
            r"auto_wrap_policy=.*'Block'.* picks no module",
        ),
        (dict(optim_wrapper__type='SAMOptimWrapper'), r'SAM needs the norm of the whole gradient'),
        (dict(custom_hooks=[dict(type='EMAHook')]), r'EMAHook keeps a second copy of whole weights'),
        (dict(model__forgery_head__in_channels=64), r'model\.forgery_head'),
        (dict(model__backbone=dict(LORA_WITHOUT_BASE, _delete_=True)), r'store_base=False: FSDP gathers'),
        (dict(strategy=dict(STRATEGY, skip_init_weights=True)), r'strategy\.skip_init_weights'),
        (dict(runner_type='Other'), r"runner_type='Other'"),
        # MMEngine's own, which would run code of checkpoints.
        (dict(runner_type='FlexibleRunner'), r"runner_type='FlexibleRunner'"),
    ],
)
def test_what_does_not_go_together(
    changes: dict[str, Any], message: str, train_processes: Any, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        train_processes(2, tmp_path, **{**options(VIT), **SHARDED, **changes})


def test_shards_need_processes(make_runner: Any) -> None:
    with pytest.raises(InputError, match=r'spreads a model over processes.*dist_train\.sh'):
        make_runner(**options(VIT), **SHARDED)


@pytest.mark.parametrize('runs', ['lora'], indirect=True)
def test_resuming_from_weights_alone_is_an_error(runs: Any, train_processes: Any, tmp_path: Path) -> None:
    cfg, _, _, folder = runs
    weights = dict(state_dict=load_checkpoint_file(folder / 'epoch_2.pth')['state_dict'])
    torch.save(weights, tmp_path / 'weights.pth')
    with pytest.raises(InputError, match=r'weights\.pth holds weights only'):
        train_processes(2, tmp_path / 'work', resume=tmp_path / 'weights.pth', **cfg, **SHARDED)


def test_shards_stop_together_and_go_on_whole(train_processes: Any, tmp_path: Path) -> None:
    """The signal of one process; at the end of the epoch the flexible runner would store another position."""
    cfg = options(VIT)
    for asked, position in ((3, (0, 3)), (6, (0, 6))):
        folder = tmp_path / str(asked)
        stopped = train_processes(2, folder, asked=asked, asked_rank=1, **cfg, **SHARDED)
        assert len(stopped.losses) == asked
        content = load_checkpoint_file(folder / 'interrupted.pth')
        assert (content['meta']['epoch'], content['meta']['iter']) == position
        rest = train_processes(1, folder, resume=True, **cfg)
        assert sorted(rest.losses) == list(range(asked + 1, 13))
