# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from sklearn import metrics as sk_metrics

from iid_mm.errors import InputError
from iid_mm.evaluation import OneClassError
from iid_mm.evaluation.scores import FrameScores
from iid_mm.reporting.metrics_table import Row, ScoredEvalSet, report_rows
from iid_mm.reporting.options import ReportOptions

from .report_scores import FAST, METHODS, facts, rescored, rows_of, scores


class TestMetrics:
    def test_four_methods_with_equal_names_are_four_videos_each(self) -> None:
        rows = rows_of(scores())
        assert list(rows) == [*METHODS, None]
        assert [(row.videos, row.fake_videos) for row in rows.values()] == [*[(8, 4)] * 4, (20, 16)]

    @pytest.mark.parametrize('manipulation', [*METHODS, None])
    def test_against_an_independent_library(self, manipulation: str | None) -> None:
        frames = scores(videos=9, seed=3)
        row = rows_of(frames)[manipulation]
        inside = np.isin(frames.method, ['youtube', manipulation]) | (manipulation is None)
        keys = np.unique(frames.video_key[inside].astype(str))
        videos = np.array([frames.score[frames.video_key == key].mean() for key in keys])
        labels = np.array([int('youtube' not in key) for key in keys])
        assert row.video_auc == pytest.approx(sk_metrics.roc_auc_score(labels, videos), abs=1e-12)
        assert row.video_ap == pytest.approx(sk_metrics.average_precision_score(labels, videos), abs=1e-12)
        assert row.log_loss == pytest.approx(sk_metrics.log_loss(labels, videos), abs=1e-12)
        assert row.brier == pytest.approx(sk_metrics.brier_score_loss(labels, videos), abs=1e-12)
        called = (videos >= 0.5).astype(int)
        assert row.accuracy == pytest.approx(sk_metrics.accuracy_score(labels, called), abs=1e-12)
        expected = sk_metrics.balanced_accuracy_score(labels, called)
        assert row.balanced_accuracy == pytest.approx(expected, abs=1e-12)
        ((_, false), (missed, _)) = sk_metrics.confusion_matrix(labels, called)
        assert (row.false_positives, row.false_negatives) == (false, missed)
        one = frames.select(inside)
        assert row.frame_auc == pytest.approx(sk_metrics.roc_auc_score(one.label, one.score), abs=1e-12)
        assert row.frame_ap == pytest.approx(
            sk_metrics.average_precision_score(one.label, one.score), abs=1e-12
        )
        assert row.frame_log_loss == pytest.approx(sk_metrics.log_loss(one.label, one.score), abs=1e-12)
        limits = row.intervals['video_auc']
        assert limits['low'] < row.video_auc < limits['high']
        # 9 genuine videos measure no false alarm rate of 1 %.
        assert row.tpr_at_fpr_1e2 is None

    def test_a_false_alarm_rate_that_can_be_measured(self) -> None:
        rows = rows_of(scores(videos=100, frames=1))
        assert rows[None].tpr_at_fpr_1e2 is not None
        assert rows[None].tpr_at_fpr_1e3 is None

    def test_sets_with_equal_video_names_stay_apart(self) -> None:
        sets = [ScoredEvalSet.of(name, scores(seed=seed), FAST) for name, seed in (('a', 1), ('b', 2))]
        coverage = {'a': facts(), 'b': facts()}
        rows = report_rows(sets, coverage, 0.5, FAST)
        alone = [report_rows([s], coverage, 0.5, FAST) for s in sets]
        assert rows == [*alone[0], *alone[1]]
        assert [row.videos for row in rows if row.manipulation is None] == [20, 20]

    def test_equal_names_of_persons_in_two_datasets_are_two_persons(self) -> None:
        pooled = ReportOptions(resamples=100, threshold=0.5, pooled=True, bootstrap_over='identities')
        one, two = (scores(seed=seed, dataset=name) for seed, name in ((1, 'a'), (2, 'b')))

        def total(*parts: FrameScores) -> Row:
            names = one.table.column_names
            columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
            scored = ScoredEvalSet.of('both', FrameScores.from_columns(columns), pooled)
            return report_rows([scored], {'both': facts()}, 0.5, pooled)[-1]

        renamed = np.array([f'x{name}' for name in two.target_id], dtype=object)
        columns = {name: getattr(two, name) for name in two.table.column_names}
        other = FrameScores.from_columns({**columns, 'target_id': renamed})
        assert total(one, two) == total(one, other)

    def test_no_total_over_datasets_unless_asked(self) -> None:
        several = FrameScores.from_columns(
            {
                name: np.concatenate([getattr(scores(), name), getattr(scores(dataset='dfd'), name)])
                for name in scores().table.column_names
            }
        )
        scored = ScoredEvalSet.of('both', several, FAST)
        rows = report_rows([scored], {'both': facts()}, 0.5, FAST)
        totals = [(row.dataset, row.videos) for row in rows if row.manipulation is None]
        assert totals == [('dfd', 20), ('ffpp', 20)]
        pooled = ReportOptions(resamples=100, threshold=0.5, pooled=True, bootstrap_over='identities')
        rows = report_rows([scored], {'both': facts()}, 0.5, pooled)
        assert (rows[-1].test_set, rows[-1].videos, rows[-1].frames) == ('all sets', 40, 120)

    def test_abstentions_by_hand(self) -> None:
        """18 of 20 right; two genuine and one FaceSwap video without a face."""
        frames = scores()
        labels = frames.label.astype(float)
        wrong = np.isin(frames.video_key, ['ffpp/youtube/c23/000', 'ffpp/Deepfakes/c23/000_003'])
        frames = rescored(frames, np.where(wrong, 1 - labels, labels))
        faceless = [
            dict(video_key=f'ffpp/{m}/c23/9', dataset='ffpp', method=m, label=int(m != 'youtube'))
            for m in ('youtube', 'youtube', 'FaceSwap')
        ]
        rows = rows_of(frames, without_face=faceless)
        assert (rows[None].without_face_genuine, rows[None].without_face_fake) == (2, 1)
        assert rows[None].accuracy == rows[None].accuracy_of_scored == 18 / 20
        assert rows[None].coverage == 20 / 23
        options = ReportOptions(resamples=100, threshold=0.5, missing_as_abstention=True)
        counted = rows_of(frames, options, without_face=faceless)
        assert counted[None].accuracy == 18 / 23
        assert counted[None].accuracy_of_scored == 18 / 20
        # Genuine videos belong to every row, fakes to theirs.
        assert counted['FaceSwap'].accuracy == 7 / 11
        assert counted['Deepfakes'].accuracy == 6 / 10
        for name in ('video_auc', 'video_eer', 'log_loss', 'tpr_at_fpr_1e2'):
            assert getattr(counted[None], name) == getattr(rows[None], name)
        with pytest.raises(InputError, match='they cannot count as abstentions; prepare the set again'):
            rows_of(frames, options, without_face=None)
        assert rows_of(frames, without_face=None)[None].coverage is None

    def test_bad_scores(self) -> None:
        frames = scores()
        values = frames.score.copy()
        values[7] = np.nan
        with pytest.raises(InputError, match='test set ffpp: 1 of 60 scores are NaN'):
            rows_of(rescored(frames, values))
        with pytest.raises(InputError, match='test set ffpp is empty'):
            rows_of(frames.select(np.zeros(60, dtype=bool)))
        with pytest.raises(OneClassError, match='ffpp / ffpp / Deepfakes: all 4 videos are fake'):
            rows_of(frames.select(frames.method == 'Deepfakes'))

    def test_options(self) -> None:
        assert ReportOptions.from_dict(asdict(FAST)) == FAST
        for wrong in (dict(aggregation='best'), dict(top_k=0), dict(threshold=2), dict(resamples=5)):
            with pytest.raises(InputError, match=next(iter(wrong))):
                ReportOptions(**wrong)  # type: ignore[arg-type]
        with pytest.raises(InputError, match='options of the report'):
            ReportOptions.from_dict({'magic': 1})

    @pytest.mark.parametrize('how', ['mean', 'median', 'max', 'topk', 'logit_mean'])
    def test_aggregations(self, how: str) -> None:
        frames = scores(frames=5)
        options = ReportOptions(aggregation=how, top_k=2, resamples=100, threshold=0.5)
        scored = ScoredEvalSet.of('ffpp', frames, options).scored
        values = frames.score[frames.video_key == scored.keys[0]]
        logits = np.log(values / (1 - values))
        expected = {
            'mean': values.mean(),
            'median': np.median(values),
            'max': values.max(),
            'topk': np.sort(values)[-2:].mean(),
            'logit_mean': 1 / (1 + np.exp(-logits.mean())),
        }
        assert scored.videos.scores[0] == pytest.approx(expected[how], abs=1e-12)
