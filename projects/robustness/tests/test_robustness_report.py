# SPDX-License-Identifier: Apache-2.0
"""Metrics and tables from scores."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.inputs import OneClassError
from iid_mm.evaluation.scores import FrameScore, FrameScores
from iid_mm.evaluation.statistics.delong import delong_test
from iid_mm.evaluation.statistics.intervals import Interval
from iid_mm.reporting.scoring import write_json
from robustness.cells import Cell
from robustness.functional.summary import summarize
from robustness.pictures import _points, distortion_sheet, plot_curves
from robustness.report import as_data, as_markdown, format_summary, summaries

LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1])
CLEAN = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])


def with_wins(lost: int) -> np.ndarray:
    """Scores whose AUC is (20 - lost) / 20: the first fake is below so many genuine videos."""
    scores = CLEAN.copy()
    scores[4] = 0.45 - 0.1 * lost
    return scores


class TestSummary:
    def test_by_hand(self) -> None:
        """20 pairs: AUCs 1, 19/20, 18/20, 18/20, 16/20."""
        distorted = {
            ('contrast', 1): with_wins(1),
            ('contrast', 3): with_wins(2),
            ('jpeg', 1): with_wins(2),
            ('jpeg', 3): with_wins(4),
        }
        found = summarize(CLEAN, distorted, LABELS, name='hand')
        assert found.clean.value == 1
        aucs = {key: cell.auc.value for key, cell in found.cells.items()}
        assert aucs == pytest.approx(
            {('contrast', 1): 0.95, ('contrast', 3): 0.9, ('jpeg', 1): 0.9, ('jpeg', 3): 0.8}
        )
        assert found.cells['jpeg', 3].drop.value == pytest.approx(0.2)
        assert found.kind_drops['contrast'].value == pytest.approx(0.075)
        assert found.kind_drops['jpeg'].value == pytest.approx(0.15)
        assert found.mean_drop.value == pytest.approx(0.1125)
        assert found.mean_auc(0) == 1
        assert found.mean_auc(3) == pytest.approx(0.85)
        assert (found.kinds, found.levels) == (['contrast', 'jpeg'], [1, 3])
        assert (found.num_videos, found.num_fake_videos) == (9, 5)

    def test_against_other_functions(self) -> None:
        """AUCs of scikit-learn; the interval of a single drop is that of DeLong's test."""
        rng = np.random.default_rng(0)
        labels = (np.arange(60) % 3 > 0).astype(np.int64)
        clean = labels + rng.normal(0, 1, 60)
        cells = {('jpeg', n): clean + rng.normal(0, n, 60) for n in (1, 2)}
        found = summarize(clean, cells, labels)
        for key, scores in cells.items():
            assert found.cells[key].auc.value == pytest.approx(roc_auc_score(labels, scores))
            test = delong_test(scores, clean, labels).difference
            assert found.cells[key].drop[:3] == pytest.approx(test[:3])
            assert found.cells[key].auc.low < found.cells[key].auc.value < found.cells[key].auc.high

    def test_interval_of_the_mean_drop_by_simulation(self) -> None:
        """It covers the true mean drop, known from the normal model, in 95 % of repeated draws."""
        from scipy.stats import norm

        rng = np.random.default_rng(1)
        labels = np.repeat([0, 1], 80)
        truth = norm.cdf(1.5 / np.sqrt(2)) - np.mean(
            [norm.cdf(1.5 / np.sqrt(2 * (1 + s * s))) for s in (1, 2)]
        )
        hits = 0
        for _ in range(300):
            clean = 1.5 * labels + rng.normal(0, 1, 160)
            cells = {('jpeg', n): clean + rng.normal(0, n, 160) for n in (1, 2)}
            drop = summarize(clean, cells, labels).mean_drop
            hits += drop.low < truth < drop.high
        assert 0.92 <= hits / 300 <= 0.98

    def test_no_difference_has_no_interval(self) -> None:
        found = summarize(CLEAN, {('jpeg', 1): CLEAN}, LABELS)
        assert found.mean_drop.value == 0
        assert np.isnan(found.mean_drop.low)
        assert '(nan' not in format_summary(found)

    def test_bad(self) -> None:
        with pytest.raises(InputError, match='3 cells for 2 distortions at 2 levels'):
            summarize(CLEAN, {('jpeg', 1): CLEAN, ('jpeg', 2): CLEAN, ('contrast', 1): CLEAN}, LABELS)
        with pytest.raises(InputError, match='0 cells'):
            summarize(CLEAN, {}, LABELS)
        with pytest.raises(OneClassError):
            summarize(CLEAN, {('jpeg', 1): CLEAN}, np.ones(9, dtype=np.int64))


def frames(shift: float = 0, *, drop: int = 0, dataset: str = 'ffpp', ids: bool = True) -> list[FrameScore]:
    """4 genuine videos and 2 fakes of each of two methods, 2 frames each; FaceSwap suffers by ``shift``."""
    rows = []
    for number in range(4):
        values = {'youtube': 0.1 * number, 'Deepfakes': 0.9, 'FaceSwap': 0.8 - shift}
        for method, value in values.items():
            if method != 'youtube' and number > 1:
                continue
            for frame in range(2):
                rows.append(
                    FrameScore(
                        video_key=f'{dataset}/{method}/c23/{number}',
                        frame=frame,
                        image=f'{method}{number}{frame}.png',
                        dataset=dataset,
                        method=method,
                        label=int(method != 'youtube'),
                        # The mean of both frames is the value.
                        score=value + (0.05 if frame else -0.05),
                        target_id=str(number) if ids else None,
                        split='test',
                    )
                )
    return rows[drop:]


def scored(**options: Any) -> FrameScores:
    return FrameScores.from_records(frames(**options))


class TestReport:
    @pytest.fixture
    def scores(self) -> dict[Cell, FrameScores]:
        return {Cell(): scored(), Cell('jpeg', 2): scored(shift=0.55), Cell('jpeg', 4): scored(shift=0.65)}

    def test_per_method_by_hand(self, scores: dict[Cell, FrameScores]) -> None:
        """FaceSwap at 0.25 beats 3 of 4 genuine videos (0 to 0.3), at 0.15 2 of 4."""
        overall, deepfakes, faceswap = summaries(scores, per_method=True)
        assert [s.name for s in (overall, deepfakes, faceswap)] == ['overall', 'Deepfakes', 'FaceSwap']
        assert [c.auc.value for c in faceswap.cells.values()] == [0.75, 0.5]
        assert [c.auc.value for c in deepfakes.cells.values()] == [1, 1]
        assert [c.auc.value for c in overall.cells.values()] == [0.875, 0.75]
        assert overall.mean_drop.value == pytest.approx(0.1875)
        assert (faceswap.num_videos, faceswap.num_fake_videos) == (6, 2)
        assert len(summaries(scores)) == 1

    def test_aggregation(self, scores: dict[Cell, FrameScores]) -> None:
        """The larger frames are 0.3 against 0.05 to 0.35, and 0.2."""
        (found,) = summaries(scores, how='max')
        assert [c.auc.value for c in found.cells.values()] == pytest.approx([0.875, 0.75])

    def test_identities_change_intervals_only(self, scores: dict[Cell, FrameScores]) -> None:
        (videos,), (people,) = summaries(scores), summaries(scores, identities=True)
        assert people.mean_drop.value == videos.mean_drop.value
        assert people.mean_drop[1:3] != videos.mean_drop[1:3]
        with pytest.raises(InputError, match='target_id'):
            summaries({cell: scored(ids=False) for cell in scores}, identities=True)

    def test_equal_names_in_two_data_sets_are_two_persons(self) -> None:
        def found(prefix: str) -> Interval:
            cells = {}
            for cell, shift in ((Cell(), 0.0), (Cell('jpeg', 1), 0.55)):
                other = [
                    row._replace(target_id=f'{prefix}{row.target_id}') for row in frames(shift, dataset='b')
                ]
                cells[cell] = FrameScores.from_records(frames(shift) + other)
            return summaries(cells, identities=True)[0].mean_drop

        assert found('') == found('x')

    def test_several_data_sets(self) -> None:
        both = {
            cell: FrameScores.from_records(frames(shift) + frames(shift, dataset='dfd'))
            for cell, shift in ((Cell(), 0.0), (Cell('jpeg', 1), 0.55))
        }
        names = [found.name for found in summaries(both, per_method=True)]
        assert names == [
            *('overall', 'dfd', 'dfd/Deepfakes', 'dfd/FaceSwap'),
            *('ffpp', 'ffpp/Deepfakes', 'ffpp/FaceSwap'),
        ]

    def test_scores_of_other_faces(self) -> None:
        for drop in (1, 2):
            with pytest.raises(InputError, match='scores of jpeg_1 are of other faces'):
                summaries({Cell(): scored(), Cell('jpeg', 1): scored(drop=drop)})

    def test_table(self, scores: dict[Cell, FrameScores]) -> None:
        (found,) = summaries(scores)
        lines = format_summary(found).splitlines()
        assert lines[0] == '| distortion | clean | level 2 | level 4 | mean drop |'
        cells = [cell.split(' (')[0].strip() for cell in lines[2].strip('|').split('|')]
        assert cells == ['JPEG compression', '100.00', '87.50', '75.00', '+18.75']
        assert lines[3].startswith('| **mean** | 100.00 | 87.50 | 75.00 | +18.75 (')

    def test_files(self, scores: dict[Cell, FrameScores], tmp_path: Path) -> None:
        found = summaries(scores, per_method=True)
        protocol = dict(test_set='toy', index_sha256=['ab'], versions=dict(av='18'))
        write_json(as_data(found, protocol, {'clean': 1.5}), tmp_path / 'r.json')
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
            'ImageNet-C',
        ):
            assert part in text

    def test_curves(self, scores: dict[Cell, FrameScores], tmp_path: Path) -> None:
        path = plot_curves(summaries(scores)[0], tmp_path / 'new/c.png')
        image = cv2.imread(str(path))
        assert image.shape[1] > 1000
        assert image.std() > 5


@pytest.mark.parametrize(
    ('value', 'text'), [(0.1234, '+12.3'), (-0.0004, '+0.0'), (0.0, '+0.0'), (-0.01, '-1.0')]
)
def test_points_have_no_minus_nought(value: float, text: str) -> None:
    assert _points(value) == text


def test_the_table_has_no_minus_nought() -> None:
    scores = {Cell(): scored(), Cell('jpeg', 2): scored(shift=0.55)}
    (found,) = summaries(scores)
    tiny = found.mean_drop._replace(value=-0.00004, low=-0.0004, high=0.01)
    row = format_summary(dataclasses.replace(found, mean_drop=tiny)).splitlines()[-1]
    assert row.endswith('| +0.00 (0.0 to 1.0) |')


def test_sheet_layout() -> None:
    clean = np.full((40, 40, 3), 100, np.uint8)
    distorted = {(kind, level): clean + level for kind in ('jpeg', 'contrast') for level in (1, 2)}
    sheet = distortion_sheet(clean, distorted, cell=100)
    # Three tiles of 100 px and four gaps of 8 px.
    assert sheet.shape[1] == 332
    values = {int(value) for value in np.unique(sheet[..., 0])}
    assert {100, 101, 102} <= values
    with pytest.raises(InputError, match='nothing to show'):
        distortion_sheet(clean, {})
