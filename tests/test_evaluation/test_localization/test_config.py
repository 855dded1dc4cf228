# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from iid_mm.apis import init_model
from iid_mm.datasets.index import read_index, write_index
from iid_mm.engine import SafeRunner
from iid_mm.errors import InputError
from iid_mm.evaluation.localization.config import add_localization, with_masks
from iid_mm.registry import DATASETS
from iid_mm.utils.config import load_config
from iid_mm.visualization.localization_grid import (
    chosen_fakes,
    localization_grid,
    outline,
    overlay_heat,
)
from support.paths import REPOSITORY


@pytest.fixture(scope='module')
def masked(tiny_prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prepared set with masks of the test split's fakes, but for Deepfakes of person 202."""
    root = tmp_path_factory.mktemp('masked')
    (root / 'frames').symlink_to(tiny_prepared / 'frames')
    mask = np.zeros((64, 64), dtype=np.uint8)
    mask[16:48, 16:48] = 255
    (root / 'masks').mkdir()
    cv2.imwrite(str(root / 'masks/square.png'), mask)
    rows = read_index(tiny_prepared / 'index.parquet').to_pylist()
    for row in rows:
        without = row['label'] == 0 or row['video_key'] == 'ffpp/Deepfakes/c23/202_999'
        row['mask'] = None if without or row['split'] != 'test' else 'masks/square.png'
    write_index(rows, root / 'index.parquet')
    return root


@pytest.fixture
def config(tiny_config: Path, masked: Path, tmp_path: Path) -> Config:
    cfg = load_config(tiny_config, {'data_root': str(masked)})
    cfg.work_dir, cfg.launcher = str(tmp_path / 'work'), 'none'
    return cfg


def test_everything_is_added_once(config: Config) -> None:
    before = config.val_dataloader.to_dict()
    add_localization(config)
    add_localization(config, heat_map='density', tolerance=3)
    names = [t['type'] for t in config.test_dataloader.dataset.pipeline]
    assert names == ['LoadForgeryPair', 'AlignFace', 'LoadForgeryMask', 'PackForgeryInputs']
    assert [m['type'] for m in config.test_evaluator] == ['ForgeryAUC', 'ArtifactLocalization']
    assert config.test_evaluator[1] == dict(type='ArtifactLocalization', tolerance=3)
    assert config.model.test_cfg.heat_map == 'density'
    assert config.model.test_cfg.nms_pre == 1000
    assert config.val_dataloader.to_dict() == before


def test_the_heads_own_test_config(config: Config) -> None:
    config.model.artifact_head.test_cfg = dict(score_thr=0.3)
    add_localization(config)
    assert config.model.artifact_head.test_cfg == dict(score_thr=0.3, heat_map='noisy_or')
    assert 'heat_map' not in config.model.test_cfg


def test_wrapped_data_sets(config: Config) -> None:
    inner = config.test_dataloader.dataset
    wrapped = dict(type='ConcatDataset', datasets=[inner, dict(type='RepeatDataset', times=1, dataset=inner)])
    config.test_dataloader.dataset = wrapped
    add_localization(config)
    first, second = config.test_dataloader.dataset.datasets
    for dataset in (first, second.dataset):
        assert dataset.pipeline[-2]['type'] == 'LoadForgeryMask'


def test_a_whole_test(config: Config, tmp_path: Path) -> None:
    add_localization(config, num_resamples=20, samples_file=str(tmp_path / 'samples.parquet'))
    metrics = SafeRunner.from_cfg(config).test()
    assert metrics['localization/num_scored'] == 15
    assert metrics['localization/num_without_mask'] == 3
    assert metrics['localization/num_paired'] == 15
    assert 0 < metrics['localization/chance_energy'] < 1
    assert 0 <= metrics['localization/energy'] <= 1
    assert 'forgery/video_auc' in metrics
    assert json.dumps(metrics)


def test_errors(config: Config, tiny_prepared: Path) -> None:
    with pytest.raises(InputError, match="heat_map='hot'"):
        add_localization(config, heat_map='hot')
    config.test_dataloader.dataset.methods = ['Deepfakes']
    add_localization(config)
    config.test_dataloader.dataset.split = 'val'
    with pytest.raises(InputError, match=r'no fake of the test set has a mask in .*index.parquet.*--masks'):
        add_localization(config)
    config.test_dataloader.dataset.update(split='test', data_root=str(tiny_prepared))
    with pytest.raises(InputError, match='--masks'):
        add_localization(config)
    config.test_dataloader.dataset.data_root = 'nowhere'
    with pytest.raises(FileNotFoundError):
        add_localization(config)
    config.model.artifact_head = None
    with pytest.raises(InputError, match='artifact_head is None'):
        add_localization(config)
    with pytest.raises(InputError, match='must end with PackForgeryInputs'):
        with_masks([dict(type='LoadForgeryPair')])


def test_picture(config: Config) -> None:
    plain = init_model(config)
    add_localization(config)
    model = init_model(config)
    dataset = DATASETS.build(config.test_dataloader.dataset)
    indices = chosen_fakes(dataset, 2)
    infos = [dataset.get_data_info(i) for i in indices]
    assert [info['method'] for info in infos] == ['Deepfakes'] * 2 + ['FaceSwap'] * 2 + ['youtube'] * 2
    assert all(info['mask_path'] for info in infos[:4])
    picture = localization_grid(model, dataset, indices, columns=3, cell=96)
    # Three faces of 96 px with gaps of 6 in each of three panels, 8 around them.
    assert picture.shape[1] == 3 * (3 * 96 + 2 * 6) + 4 * 8
    assert picture.dtype == np.uint8
    with pytest.raises(InputError, match='makes no heat maps'):
        localization_grid(plain, dataset, indices)


def test_nothing_to_draw(tiny_config: Path) -> None:
    dataset = DATASETS.build(load_config(tiny_config).test_dataloader.dataset)
    with pytest.raises(InputError, match='no fake of the set has a mask'):
        chosen_fakes(dataset, 2)


def test_overlay_and_outline() -> None:
    image = np.full((40, 40, 3), 90, dtype=np.uint8)
    heat = np.zeros((40, 40), dtype=np.float32)
    heat[10:30, 10:30] = 1.0
    hot = overlay_heat(image, heat)
    assert (hot[0, 0] == 90).all()
    # The hottest color is a pale yellow.
    assert hot[20, 20, 1] > 150
    assert (image == 90).all()
    assert not (outline(image, np.zeros((40, 40))) != image).any()
    drawn = outline(image, (heat > 0).astype(np.uint8))
    assert (drawn[20, 20] == 90).all()
    assert (drawn[10, 20] != 90).any()


def test_tool(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call_localization: Callable[..., Any]
) -> None:
    path = tmp_path / 'tiny.py'
    config.dump(path)
    checkpoint = tmp_path / 'model.pth'
    import torch

    torch.save({'state_dict': init_model(config).state_dict()}, checkpoint)
    assert call_localization(path, checkpoint, '--out', tmp_path / 'new/looks.png', '--num', 1) == 0
    assert cv2.imread(str(tmp_path / 'new/looks.png')) is not None


@pytest.fixture
def call_localization(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the tool in this process."""
    import importlib.util
    import sys

    from iid_mm.utils.cli import run_tool

    file = REPOSITORY / 'tools/analysis_tools/show_localization.py'
    spec = importlib.util.spec_from_file_location('show_localization', file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def call(*arguments: Any) -> int:
        monkeypatch.setattr(sys, 'argv', [str(file), *map(str, arguments)])
        return run_tool(module.main)

    return call
