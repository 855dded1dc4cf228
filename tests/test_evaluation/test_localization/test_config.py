# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import pytest
from mmengine.config import Config

from iid_mm.engine import SafeRunner
from iid_mm.errors import InputError
from iid_mm.evaluation.localization.config import add_localization, with_masks


@pytest.fixture
def config(masked_config: Config) -> Config:
    return masked_config


def test_everything_is_added_once(config: Config) -> None:
    before = config.val_dataloader.to_dict()
    add_localization(config)
    add_localization(config, heat_map='density', seed=3)
    names = [t['type'] for t in config.test_dataloader.dataset.pipeline]
    assert names == ['LoadForgeryPair', 'AlignFace', 'LoadForgeryMask', 'PackForgeryInputs']
    assert [m['type'] for m in config.test_evaluator] == ['ForgeryAUC', 'ArtifactLocalization']
    assert config.test_evaluator[1] == dict(type='ArtifactLocalization', seed=3)
    assert config.model.test_cfg.heat_map == 'density'
    assert config.model.test_cfg.nms_pre == 1000
    assert config.val_dataloader.to_dict() == before


def test_the_heads_own_test_config(config: Config) -> None:
    config.model.artifact_head.test_cfg = dict(score_thr=0.3)
    add_localization(config)
    assert config.model.artifact_head.test_cfg == dict(score_thr=0.3, heat_map='noisy_or')
    assert 'heat_map' not in config.model.test_cfg


def test_wrapped_datasets(config: Config) -> None:
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
    with pytest.raises(InputError, match='has no PackForgeryInputs, beside which LoadForgeryMask'):
        with_masks([dict(type='LoadForgeryPair')])
