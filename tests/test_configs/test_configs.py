# SPDX-License-Identifier: Apache-2.0
"""Every config builds, and names nothing that is not registered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.fileio import load
from mmengine.optim import OptimWrapper, build_optim_wrapper

from iid_mm.apis import init_model, load_config
from iid_mm.registry import (
    DATA_SAMPLERS,
    DATASETS,
    HOOKS,
    LOOPS,
    METRICS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
    PARAM_SCHEDULERS,
    TRANSFORMS,
    VISBACKENDS,
    VISUALIZERS,
)
from iid_mm.utils.config import pipeline_input_size
from support.paths import REPOSITORY

CONFIG_DIR = REPOSITORY / 'configs'
NAMES = sorted(path.name for path in CONFIG_DIR.glob('*.py'))
BASES = ('iid_effb4_ffpp.py', 'iid_effb3_ffpp.py', 'iid_r34_ffpp.py', 'iid_effb4_slim_ffpp.py')
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


@pytest.fixture(autouse=True)
def _scope(iid_scope: None) -> None:
    pass


@pytest.fixture(params=NAMES)
def config(request: pytest.FixtureRequest) -> Config:
    return load_config(CONFIG_DIR / request.param)


def pipelines(config: Config) -> Iterator[Any]:
    for name in LOADERS:
        yield config[name].dataset.pipeline


@pytest.fixture
def fast_init(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the random numbers of 290 M weights that no test looks at."""
    for name in ('kaiming_uniform_', 'uniform_', 'trunc_normal_'):
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, *args, **kwargs: tensor)


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def listed_models() -> dict[str, Any]:
    """Entries of the model index by the name of their config."""
    (file,) = load(CONFIG_DIR.parent / 'model-index.yml')['Import']
    return {Path(entry['Config']).stem: entry for entry in load(CONFIG_DIR.parent / file)['Models']}


def test_model_index_and_zoo_list_every_config() -> None:
    models = listed_models()
    assert sorted(f'{name}.py' for name in models) == NAMES
    zoo = (CONFIG_DIR.parent / 'docs' / 'model_zoo.md').read_text()
    for name, entry in models.items():
        assert entry['Name'] == name
        row = next(line for line in zoo.splitlines() if f'[`{name}`]' in line)
        facts = entry['Metadata']
        for value in (facts['Parameters'] / 1e6, facts['FLOPs'] / 1e9):
            assert f'| {value:.2f} ' in row, (name, value)
        for result in entry['Results'] or ():
            (metric,) = result['Metrics'].values()
            assert f'{metric:.2f}' in row, (name, metric)


def test_the_configs_of_the_issue_are_there() -> None:
    assert {*BASES, 'baseline_effb4_ffpp.py', 'iid_r18_toy.py'} <= set(NAMES)


def test_model_builds(config: Config, fast_init: None) -> None:
    model = init_model(config)
    is_baseline = Path(config.filename).name.startswith('baseline')
    assert (model.artifact_head is None) == is_baseline
    assert (model.neck is None) == is_baseline


def test_data_parts_build(config: Config) -> None:
    for pipeline in pipelines(config):
        for transform in pipeline:
            assert repr(TRANSFORMS.build(transform))
        assert pipeline[-1].type in ('PackForgeryInputs', 'PackForgeryPair')
    for name in LOADERS:
        dataset = dict(config[name].dataset)
        assert DATA_SAMPLERS.get(config[name].sampler.type) is not None
        assert dataset['data_root'] == config.data_root
        assert DATASETS.build(dataset | dict(lazy_init=True)).split == name.split('_')[0]
    for evaluator in (config.val_evaluator, config.test_evaluator):
        assert METRICS.build(evaluator).default_prefix == 'forgery'


def test_pairs_are_collated_and_degraded_alike(config: Config) -> None:
    loader = config.train_dataloader
    packs = loader.dataset.pipeline[-1].type == 'PackForgeryPair'
    assert (loader.get('collate_fn', {}).get('type') == 'iid_mm.collate_pairs') == packs
    for transform in loader.dataset.pipeline:
        if transform.type == 'DegradeFace':
            assert transform.get('with_source', False) == packs
    for name in LOADERS[1:]:
        assert config[name].dataset.pipeline[-1].type == 'PackForgeryInputs'


def test_run_parts_are_registered(config: Config) -> None:
    for hook in config.default_hooks.values():
        HOOKS.build(hook)
    assert OPTIM_WRAPPERS.get(config.optim_wrapper.type) is not None
    assert OPTIMIZERS.get(config.optim_wrapper.optimizer.type) is not None
    for scheduler in config.param_scheduler:
        assert PARAM_SCHEDULERS.get(scheduler.type) is not None
    for loop in (config.train_cfg, config.val_cfg, config.test_cfg):
        assert LOOPS.get(loop.type) is not None
    assert VISUALIZERS.get(config.visualizer.type) is not None
    for backend in config.vis_backends:
        assert VISBACKENDS.get(backend.type) is not None


def test_what_tools_rely_on(config: Config) -> None:
    assert config.default_scope == 'iid_mm'
    assert config.custom_imports.imports == ['iid_mm']
    assert config.auto_scale_lr.base_batch_size > 0
    # The seed of the samples, and a sampler that resumes within an epoch.
    assert config.train_dataloader.dataset.seed is not None
    assert config.train_dataloader.sampler.type == 'ResumableSampler'
    # The best checkpoint is chosen on the validation split, by video AUC.
    assert config.default_hooks.checkpoint.save_best == 'forgery/video_auc'
    assert config.default_hooks.checkpoint.rule == 'greater'
    assert config.val_dataloader.dataset.split == 'val'
    assert [b.type for b in config.vis_backends] == ['LocalVisBackend', 'TensorboardVisBackend']


def test_anchors_and_windows_fit_the_canvas(config: Config) -> None:
    pipeline = config.train_dataloader.dataset.pipeline
    size = next(t for t in pipeline if t.type == 'AlignFace').size
    for other in (config.val_dataloader, config.test_dataloader):
        assert next(t for t in other.dataset.pipeline if t.type == 'AlignFace').size == size
    if config.model.artifact_head is None:
        assert all(t.type != 'MultiScaleFacialSwap' for t in pipeline)
        return
    generator = config.model.artifact_head.get('anchor_generator')
    if generator is None or generator.type != 'ExplicitAnchorGenerator':
        return
    assert len(generator.strides) == len(generator.sizes) == 4
    assert generator.strides[-1] == size[0]
    swap = TRANSFORMS.build(next(t for t in pipeline if t.type == 'MultiScaleFacialSwap'))
    # Every window that a partial swap pastes has an anchor of its own size.
    assert [tuple(map(int, level[0])) for level in generator.sizes] == list(swap.windows)


@pytest.mark.parametrize('name', ['iid_r18_ffpp.py', 'baseline_r18_ffpp.py', 'iid_r18_toy.py'])
def test_small_configs_predict_at_their_size(name: str) -> None:
    model = init_model(CONFIG_DIR / name)
    with torch.no_grad():
        logits, (cls_maps, _) = model(torch.zeros(1, 3, 112, 112))
    assert tuple(logits.shape) == (1, 2)
    assert [m.shape[-1] for m in cls_maps] == ([] if 'baseline' in name else [7, 5, 3, 1])


@pytest.mark.slow
def test_trains_two_iterations_and_predicts(config: Config, make_samples: Any) -> None:
    """Every config and its parts, without compiled operators."""
    model = init_model(config)
    facts = listed_models()[Path(config.filename).stem]['Metadata']
    assert (count(model), [*pipeline_input_size(config)]) == (facts['Parameters'], facts['Input Size'])
    side = pipeline_input_size(config)[0]
    model.check_wiring((side, side))
    assert build_optim_wrapper(model, config.optim_wrapper).optimizer.param_groups
    # AdamW keeps two more numbers a weight, which is too much where tests run side by side.
    optim_wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-3))
    batch = dict(
        inputs=list(torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8)),
        data_samples=make_samples(
            [1, 0], side=side, extra=[[0.2 * side, 0.2 * side, 0.5 * side, 0.7 * side]]
        ),
    )
    model.train()
    for _ in range(2):
        log = model.train_step(batch, optim_wrapper)
    expected = {'forgery.loss_cls'}
    if model.artifact_head is not None:
        expected |= {'artifact.loss_cls', 'artifact.loss_bbox'}
    assert expected < set(log)
    assert torch.isfinite(log['loss'])
    model.eval()
    predicted = model.test_step(batch)
    assert [tuple(p.pred_score.shape) for p in predicted] == [(2,), (2,)]
    assert all(('pred_instances' in p) == (model.artifact_head is not None) for p in predicted)


def test_learning_rates_fall_towards_the_input(fast_init: None) -> None:
    config = load_config(CONFIG_DIR / 'iid_vit_b16_ffpp.py')
    model = init_model(config)
    optimizer = build_optim_wrapper(model, config.optim_wrapper).optimizer
    rates = {group['param_name']: group['lr'] for group in optimizer.param_groups}
    # 12 blocks: the stem is depth 0 of 14, block k is k, neck and heads are the last, 13.
    for name, depth in (
        ('backbone.pos_embed', 0),
        ('backbone.layers.0.attn.qkv.weight', 1),
        ('backbone.layers.11.ln1.bias', 12),
        ('neck.adapters.0.1.weight', 13),
        ('forgery_head.fc.weight', 13),
    ):
        assert rates[name] == pytest.approx(5e-4 * 0.75 ** (13 - depth))


def test_lora_config_trains_adapters_neck_and_heads_only(fast_init: None) -> None:
    model = init_model(CONFIG_DIR / 'iid_clip_l14_lora_ffpp.py')
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    adapters = {name for name in trained if name.startswith('backbone.')}
    # 24 blocks, two layers, two matrices: rank 8 on 1024 -> 3072 and on 1024 -> 1024.
    assert len(adapters) == 24 * 2 * 2
    assert sum(p.numel() for n, p in model.named_parameters() if n in adapters) == 24 * 8 * (4096 + 2048)
    assert {name.partition('.')[0] for name in trained - adapters} == {
        'neck',
        'artifact_head',
        'forgery_head',
    }


def test_published_recipe() -> None:
    """The numbers of the published recipe, DESIGN section 2."""
    config = load_config(CONFIG_DIR / 'iid_effb4_ffpp.py')
    assert config.train_dataloader.batch_size == 128
    assert config.train_cfg.max_epochs == 200
    assert config.optim_wrapper.optimizer == dict(type='AdamW', lr=3.6e-4, weight_decay=4e-3)
    assert config.optim_wrapper.clip_grad == dict(type='value', clip_value=2)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=3.6e-4)
    schedulers = [
        PARAM_SCHEDULERS.build(s, default_args=dict(optimizer=optimizer)) for s in config.param_scheduler
    ]
    rates = []
    for _ in range(14):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    assert rates == pytest.approx([3.6e-4] * 4 + [1e-4] * 6 + [5e-5] * 4)
    model = config.model
    assert 'mean' not in model.data_preprocessor
    assert model.artifact_head.neg_pos_ratio == 2
    assert model.artifact_head.bbox_coder.target_stds == [0.1, 0.1, 0.2, 0.2]
    assert (model.artifact_head.loss_cls.loss_weight, model.artifact_head.loss_bbox.loss_weight) == (0.1, 0.1)


@pytest.mark.parametrize(('name', 'millions'), [('iid_effb4_ffpp.py', 288), ('iid_effb4_slim_ffpp.py', 24)])
def test_sizes_that_comments_and_readme_tell(name: str, millions: int, fast_init: None) -> None:
    assert round(count(init_model(CONFIG_DIR / name)) / 1e6) == millions


def test_data_root_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('IID_DATA_ROOT', '/some/where')
    config = load_config(CONFIG_DIR / 'iid_effb4_ffpp.py')
    assert [config[name].dataset.data_root for name in LOADERS] == ['/some/where'] * 3


@pytest.mark.parametrize('name', ['iid_effb4_ffpp.py', 'iid_r18_toy.py'])
def test_data_root_from_the_command_line(name: str) -> None:
    config = load_config(CONFIG_DIR / name, {'data_root': '/some/where'})
    assert [config[loader].dataset.data_root for loader in LOADERS] == ['/some/where'] * 3
