# SPDX-License-Identifier: Apache-2.0
"""The arms of the recipe's ablation train, and differ in what their names say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from iid_mm.apis import load_checkpoint_file, load_config
from iid_mm.engine import SafeRunner
from iid_mm.registry import DATA_SAMPLERS, DATASETS
from support.paths import REPOSITORY

CONFIGS = REPOSITORY / 'projects' / 'modern_recipe' / 'configs'
ARMS = sorted(path.stem for path in CONFIGS.glob('mini_*.py'))


@pytest.fixture(autouse=True)
def _scope(iid_scope: None) -> None:
    pass


def arm(name: str, **options: Any) -> Any:
    return load_config(CONFIGS / f'{name}.py', {key.replace('__', '.'): v for key, v in options.items()})


def images_an_epoch(cfg: Any, videos: dict[int, int], frames: int) -> int:
    """Images that an epoch shows; ``videos`` counts genuine and fake ones."""
    loader, dataset = cfg.train_dataloader, cfg.train_dataloader.dataset
    samples = sum(count for label, count in videos.items() if label or not dataset.paired_only) * frames
    samples = loader.sampler.get('size') or samples
    return samples * (2 if loader.collate_fn.type == 'iid_mm.collate_pairs' else 1)


@pytest.mark.parametrize('name', ARMS)
def test_budgets_are_equal(name: str) -> None:
    cfg = arm(name)
    # The mini set with one manipulation left out: 48 genuine and 96 fake training videos, 8 frames of each.
    assert images_an_epoch(cfg, {0: 48, 1: 96}, 8) * cfg.train_cfg.max_epochs == 18432
    batch = cfg.train_dataloader.batch_size
    pairs = cfg.train_dataloader.get('collate_fn', {}).get('type') == 'iid_mm.collate_pairs'
    assert batch * (2 if pairs else 1) == 16


def test_the_published_arm_is_the_published_recipe() -> None:
    cfg = arm('mini_published')
    assert cfg.model.fused_level == -1
    swap = next(step for step in cfg.train_dataloader.dataset.pipeline if step.type == 'MultiScaleFacialSwap')
    assert set(swap) == {'type', 'windows'}
    assert arm('mini_plain').model.artifact_head is None


@pytest.mark.slow
@pytest.mark.parametrize('name', ARMS)
def test_trains_an_epoch(name: str, tiny_prepared: Path, tmp_path: Path) -> None:
    cfg = arm(
        name,
        data_root=str(tiny_prepared),
        work_dir=str(tmp_path),
        train_cfg__max_epochs=1,
        train_dataloader__batch_size=4,
        model__backbone__stem_channels=8,
        model__backbone__base_channels=8,
        model__forgery_head__in_channels=32,
    )
    if cfg.model.neck is not None:
        cfg.merge_from_dict({'model.neck.in_channels': 32})
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.num_workers, loader.persistent_workers = 0, False
    if cfg.train_dataloader.sampler.get('size'):
        cfg.train_dataloader.sampler.size = 12
    cfg.default_hooks.logger.interval = 1
    cfg.experiment_name = f'recipe_{name}'
    cfg.launcher = 'none'
    SafeRunner.from_cfg(cfg).train()
    state = load_checkpoint_file(tmp_path / 'epoch_1.pth')
    assert all(torch.isfinite(value).all() for value in state['state_dict'].values())
    assert ('ema_state_dict' in state) == name.endswith('ema')


def test_the_full_size_recipe_shows_pairs_of_fakes_and_blends(tiny_prepared: Path) -> None:
    cfg = arm('recipe_effb4_ffpp', data_root=str(tiny_prepared))
    loader = cfg.train_dataloader
    # As many images an epoch as FF++ has at 32 frames of 720 videos of five kinds.
    assert loader.sampler.size * 2 == 5 * 720 * 32
    assert loader.batch_size * 2 == 128
    dataset = DATASETS.build(loader.dataset)
    sampler = DATA_SAMPLERS.build({**loader.sampler, 'size': 24}, default_args=dict(dataset=dataset, seed=0))
    pairs = [dataset[index] for index in sampler]
    assert all([int(item['data_samples'].gt_label) for item in pair] == [1, 0] for pair in pairs)
    kinds = [pair[0]['data_samples'].swap_kind == 'self_blended' for pair in pairs]
    assert sum(kinds) == 12
    # Boxes: the canvas and what was blended.
    assert {
        len(pair[0]['data_samples'].gt_instances) for pair, blend in zip(pairs, kinds, strict=True) if blend
    } == {2}
