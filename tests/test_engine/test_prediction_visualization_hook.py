# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import pytest

from iid_mm.engine import PredictionVisualizationHook
from iid_mm.errors import InputError


def test_images_of_a_test(make_runner: Any, tmp_path: Path) -> None:
    runner = make_runner()
    runner.register_hook(PredictionVisualizationHook(interval=5, max_images=4))
    runner.test()
    paths = sorted((tmp_path / 'work' / 'predictions').iterdir())
    # 27 samples: numbers 0, 5, 10, 15; 20 and 25 are too many.
    assert [path.name[:11] for path in paths] == [f'test_{n:06d}' for n in (0, 5, 10, 15)]
    assert all(path.suffix == '.png' for path in paths)
    image = cv2.imread(str(paths[0]))
    # A face of 384 px and a band with the words below it.
    assert image.shape[1] == 384
    assert image.shape[0] > 384


def test_images_of_a_validation_go_to_the_backends(make_runner: Any, tmp_path: Path) -> None:
    runner = make_runner(train_cfg__max_epochs=2)
    runner.register_hook(PredictionVisualizationHook(interval=3))
    runner.train()
    names = sorted(path.name for path in (tmp_path / 'work').glob('*/vis_data/vis_image/*'))
    # 6 samples, after each of two epochs.
    assert [name[:10] for name in names] == ['val_000000', 'val_000000', 'val_000003', 'val_000003']


def test_switched_off(make_runner: Any, tmp_path: Path) -> None:
    runner = make_runner()
    runner.register_hook(PredictionVisualizationHook(draw=False, interval=1))
    runner.test()
    assert not (tmp_path / 'work' / 'predictions').exists()


@pytest.mark.parametrize('name', ['interval', 'max_images'])
def test_bad_numbers(name: str) -> None:
    with pytest.raises(InputError, match=f'{name}=0'):
        PredictionVisualizationHook(**{name: 0})
