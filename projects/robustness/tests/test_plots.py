# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from robustness import VideoForgeryDataset
from robustness.grid import Cell
from robustness.plots import _points, distortion_sheet, plot_curves
from robustness.summary import summaries

from .cell_scores import cell_scores


def test_curves(tmp_path: Path) -> None:
    path = plot_curves(summaries(cell_scores())[0], tmp_path / 'new/c.png')
    image = cv2.imread(str(path))
    assert image.shape[1] > 1000
    assert image.std() > 5


@pytest.mark.parametrize(
    ('value', 'text'), [(0.1234, '+12.3'), (-0.0004, '+0.0'), (0.0, '+0.0'), (-0.01, '-1.0')]
)
def test_points_have_no_minus_nought(value: float, text: str) -> None:
    assert _points(value) == text


def test_sheet_layout(videos: VideoForgeryDataset) -> None:
    cells = [Cell(kind, level) for kind in ('contrast', 'jpeg') for level in (1, 2)]
    sheet = distortion_sheet(videos, cells, size=100)
    # Three tiles of 100 px and four gaps of 8 px.
    assert sheet.shape[1] == 332
    clean, weak, strong = (sheet[16:100, 8 + 108 * place : 108 * (place + 1)] for place in range(3))
    # The row of contrast: its levels darken the image.
    assert clean.mean() > weak.mean() > strong.mean()
    assert np.unique(sheet).size > 10
