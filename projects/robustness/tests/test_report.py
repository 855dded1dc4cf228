# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from iid_mm.evaluation.scores import FrameScores
from iid_mm.utils.files import write_json
from robustness.grid import Cell
from robustness.report import as_data, as_markdown, format_summary
from robustness.summary import summaries

from .cell_scores import cell_scores, scored


@pytest.fixture
def scores() -> dict[Cell, FrameScores]:
    return cell_scores()


def test_table(scores: dict[Cell, FrameScores]) -> None:
    (found,) = summaries(scores)
    lines = format_summary(found).splitlines()
    head, _, jpeg, mean = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]
    assert head == ['distortion', 'clean', 'level 2', 'level 4', 'mean drop']
    values = [cell.split(' (')[0] for cell in jpeg]
    assert values == ['JPEG compression', '100.00', '87.50', '75.00', '+18.75']
    assert mean[:4] == ['**mean**', '100.00', '87.50', '75.00']
    assert mean[4].startswith('+18.75 (')


def test_files(scores: dict[Cell, FrameScores], tmp_path: Path) -> None:
    found = summaries(scores, per_method=True)
    protocol = dict(test_set='toy', index_sha256=['ab'], versions=dict(av='18'))
    write_json(tmp_path / 'r.json', as_data(found, protocol))
    data = json.loads((tmp_path / 'r.json').read_text())
    assert data['distortions']['jpeg']['values'] == {'2': 18, '4': 10}
    overall = data['results'][0]
    assert overall['mean_corruption_drop']['value'] == pytest.approx(0.1875)
    assert [c['video_auc']['value'] for c in overall['cells']] == [0.875, 0.75]
    # Deepfakes lose nothing: no interval, and no NaN in JSON.
    assert data['results'][1]['mean_corruption_drop']['low'] is None
    text = as_markdown(found, protocol)
    for part in (
        '# Robustness: toy',
        '## overall: 4 genuine and 4 fake videos',
        '* versions: av 18',
        '| ImageNet-C |',
    ):
        assert part in text


def test_the_table_has_no_minus_nought() -> None:
    scores = {Cell(): scored(), Cell('jpeg', 2): scored(shift=0.55)}
    (found,) = summaries(scores)
    tiny = found.mean_drop._replace(value=-0.00004, low=-0.0004, high=0.01)
    row = format_summary(dataclasses.replace(found, mean_drop=tiny)).splitlines()[-1]
    assert row.endswith(' +0.00 (0.0 to 1.0) |')
