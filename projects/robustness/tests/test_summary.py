# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.inputs import OneClassError
from iid_mm.evaluation.scores import FrameScores
from iid_mm.evaluation.statistics.delong import delong_covariance
from iid_mm.evaluation.statistics.intervals import Interval
from robustness.grid import Cell
from robustness.report import format_summary
from robustness.summary import summaries, summarize
from support.scores import frame_scores

from .cell_scores import cell_scores, frames, scored

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
            Cell('contrast', 1): with_wins(1),
            Cell('contrast', 3): with_wins(2),
            Cell('jpeg', 1): with_wins(2),
            Cell('jpeg', 3): with_wins(4),
        }
        found = summarize(CLEAN, distorted, LABELS, name='hand')
        assert found.clean.value == 1
        aucs = {key: cell.auc.value for key, cell in found.cells.items()}
        assert aucs == pytest.approx(
            {Cell('contrast', 1): 0.95, Cell('contrast', 3): 0.9, Cell('jpeg', 1): 0.9, Cell('jpeg', 3): 0.8}
        )
        assert found.cells[Cell('jpeg', 3)].drop.value == pytest.approx(0.2)
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
        cells = {Cell('jpeg', n): clean + rng.normal(0, n, 60) for n in (1, 2)}
        found = summarize(clean, cells, labels)
        for key, scores in cells.items():
            assert found.cells[key].auc.value == pytest.approx(roc_auc_score(labels, scores))
            test = delong_covariance([scores, clean], labels).contrast([-1, 1])
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
            cells = {Cell('jpeg', n): clean + rng.normal(0, n, 160) for n in (1, 2)}
            drop = summarize(clean, cells, labels).mean_drop
            hits += drop.low < truth < drop.high
        assert 0.92 <= hits / 300 <= 0.98

    def test_no_difference_has_no_interval(self) -> None:
        found = summarize(CLEAN, {Cell('jpeg', 1): CLEAN}, LABELS)
        assert found.mean_drop.value == 0
        assert np.isnan(found.mean_drop.low)
        assert '(nan' not in format_summary(found)

    def test_bad(self) -> None:
        with pytest.raises(InputError, match='3 cells for 2 distortions at 2 levels'):
            summarize(
                CLEAN, {Cell('jpeg', 1): CLEAN, Cell('jpeg', 2): CLEAN, Cell('contrast', 1): CLEAN}, LABELS
            )
        with pytest.raises(InputError, match='0 cells'):
            summarize(CLEAN, {}, LABELS)
        with pytest.raises(OneClassError):
            summarize(CLEAN, {Cell('jpeg', 1): CLEAN}, np.ones(9, dtype=np.int64))


class TestSummaries:
    @pytest.fixture
    def scores(self) -> dict[Cell, FrameScores]:
        return cell_scores()

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

    def test_equal_names_in_two_datasets_are_two_persons(self) -> None:
        def found(prefix: str) -> Interval:
            cells = {}
            for cell, shift in ((Cell(), 0.0), (Cell('jpeg', 1), 0.55)):
                other = [
                    row._replace(target_id=f'{prefix}{row.target_id}') for row in frames(shift, dataset='b')
                ]
                cells[cell] = frame_scores(frames(shift) + other)
            return summaries(cells, identities=True)[0].mean_drop

        assert found('') == found('x')

    def test_several_datasets(self) -> None:
        both = {
            cell: frame_scores(frames(shift) + frames(shift, dataset='dfd'))
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
