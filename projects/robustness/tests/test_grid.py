# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from iid_mm.datasets.functional.distortion import DISTORTIONS, LEVELS
from iid_mm.errors import InputError
from iid_mm.evaluation.eval_sets import find_eval_sets
from iid_mm.utils.config import load_config
from robustness.grid import Cell, distorted_set, make_cells


@pytest.fixture
def cfg(tiny_config: Path) -> Config:
    return load_config(tiny_config)


def cell_loader(*args: Any) -> dict[str, Any]:
    return distorted_set(*args).dataloader


def test_order_and_repeats() -> None:
    names = [cell.name for cell in make_cells(['jpeg', 'contrast', 'jpeg'], [3, 1, 3, 0])]
    assert names == ['clean', 'contrast_1', 'contrast_3', 'jpeg_1', 'jpeg_3']
    assert make_cells(None, LEVELS)[1:] == [Cell(kind, level) for kind in DISTORTIONS for level in LEVELS]


def test_bad() -> None:
    with pytest.raises(InputError, match="'fog' is unknown; choose from saturation, contrast"):
        make_cells(['fog'], [1])
    with pytest.raises(InputError, match='level 6 is out of range; levels are 1 to 5'):
        make_cells(None, [1, 6])
    with pytest.raises(InputError, match='nothing to test'):
        make_cells(None, [0])


def test_loaders(cfg: Config) -> None:
    test_set = find_eval_sets(cfg)[0]
    clean = cell_loader(test_set, Cell())
    assert clean == test_set.dataloader
    jpeg = cell_loader(test_set, Cell('jpeg', 4))
    assert [step['type'] for step in jpeg['dataset']['pipeline']] == [
        *('LoadForgeryPair', 'DistortFace', 'AlignFace', 'PackForgeryInputs')
    ]
    assert jpeg['sampler'] == clean['sampler']
    video = cell_loader(test_set, Cell('video_compression', 4))
    assert video['batch_sampler'] == dict(type='VideoBatchSampler')
    assert cell_loader(test_set, Cell()) == clean


def test_pipelines_that_cannot_be_distorted(cfg: Config) -> None:
    test_set = find_eval_sets(cfg)[0]
    test_set.dataset['type'] = 'OtherDataset'
    with pytest.raises(InputError, match='needs the dataset ForgeryDataset, the config has OtherDataset'):
        cell_loader(test_set, Cell('video_compression', 1))
    test_set.dataset['pipeline'] = test_set.dataset['pipeline'][1:]
    with pytest.raises(InputError, match=r'AlignFace, PackForgeryInputs.* has no LoadForgeryPair'):
        cell_loader(test_set, Cell('jpeg', 1))
