# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from iid_mm.errors import InputError
from iid_mm.evaluation.localization.config import add_localization
from iid_mm.models.build import init_model
from iid_mm.registry import DATASETS
from iid_mm.utils.config import load_config
from iid_mm.visualization.drawing import BLUE, SKY, VERMILION
from iid_mm.visualization.sample_grids import chosen_samples, localization_grid, sample_panel
from support.paths import REPOSITORY

from .stub_dataset import StubDataset


def test_a_panel_shows_window_canvas_and_class() -> None:
    drawn, caption, color = sample_panel(StubDataset()[1], cell=128)
    assert drawn.shape == (128, 128, 3)
    # The window's lower edge at 80, its right one at 96; the whole canvas along the image's edge.
    assert tuple(drawn[80, 64]) == VERMILION
    assert tuple(drawn[50, 96]) == VERMILION
    assert tuple(drawn[64, 2]) == SKY
    assert caption == ['fake  A', '1  frame 7', 'fake into genuine']
    assert color == VERMILION
    _, caption, color = sample_panel(StubDataset()[0], cell=128)
    assert caption == ['genuine  youtube', '0  frame 7']
    assert color == BLUE


def test_samples_that_are_not_packed_are_refused() -> None:
    with pytest.raises(InputError, match='a sample has img; the pipeline must end with a packing'):
        sample_panel({'img': np.zeros((8, 8, 3))})
    sample = StubDataset()[0]
    sample['inputs'] = sample['inputs'].float()
    with pytest.raises(InputError, match=r'inputs are torch\.float32'):
        sample_panel(sample)


@pytest.fixture
def config(masked_config: Config) -> Config:
    return masked_config


def test_localization_grid(config: Config) -> None:
    plain = init_model(config)
    add_localization(config)
    model = init_model(config)
    dataset = DATASETS.build(config.test_dataloader.dataset)
    indices = chosen_samples(dataset, 2, masked=True)
    infos = [dataset.get_data_info(i) for i in indices]
    assert [info['method'] for info in infos] == ['Deepfakes'] * 2 + ['FaceSwap'] * 2 + ['youtube'] * 2
    assert all(info['mask_path'] for info in infos[:4])
    grid = localization_grid(model, dataset, indices, columns=3)
    # Three faces of 224 px with gaps of 6 in each of three panels, 8 around them.
    assert grid.shape[1] == 3 * (3 * 224 + 2 * 6) + 4 * 8
    assert grid.dtype == np.uint8
    with pytest.raises(InputError, match='makes no heat maps'):
        localization_grid(plain, dataset, indices)


def test_nothing_to_draw(tiny_config: Path) -> None:
    dataset = DATASETS.build(load_config(tiny_config).test_dataloader.dataset)
    with pytest.raises(InputError, match='no fake of the dataset has a mask'):
        chosen_samples(dataset, 2, masked=True)


@pytest.mark.parametrize(('tool', 'count'), [('show_localization.py', 3), ('show_predictions.py', 5)])
def test_tools(
    config: Config,
    tmp_path: Path,
    tiny_checkpoint: Path,
    run_as_script: Callable[..., Any],
    tool: str,
    count: int,
) -> None:
    config.dump(tmp_path / 'tiny.py')
    out = tmp_path / 'new' / 'grid.png'
    number = 1 if tool == 'show_localization.py' else 5
    path = REPOSITORY / 'tools' / 'analysis_tools' / tool
    status, text, _ = run_as_script(
        path, tmp_path / 'tiny.py', tiny_checkpoint, '--out', out, '--num', number
    )
    assert status == 0
    assert text.startswith(f'{count} of ')
    assert cv2.imread(str(out)) is not None
