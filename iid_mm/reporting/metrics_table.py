# SPDX-License-Identifier: Apache-2.0
"""The rows of a report: metrics of every manipulation of every dataset."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.inputs import check_both_classes
from iid_mm.evaluation.functional.per_method import ScoredSet, Subset
from iid_mm.evaluation.functional.roc import average_precision, brier, log_loss, roc_curve, tpr_at_fpr
from iid_mm.evaluation.scores import FrameScores
from iid_mm.evaluation.statistics.bootstrap import bootstrap_metrics
from iid_mm.evaluation.statistics.calibration import reliability_curve
from iid_mm.reporting.options import ReportOptions

POOLED = 'all sets'
INTERVALS = {'auc': 'video_auc', 'eer': 'video_eer', 'ap': 'video_ap'}
"""Metrics that get an interval: their names in the bootstrap and in the report."""

Interval = dict[str, float | str | None]
Part = tuple['ScoredEvalSet', Subset]
"""A subset of the videos of a test set."""


@dataclass(frozen=True)
class Row:
    """One row of the table; fractions of 1, None where a metric is not defined or not known.

    Attributes:
        test_set: Name of the test set.
        dataset: Dataset, as the index calls it.
        manipulation: The manipulation that genuine videos are compared with; None: all together.
        videos, fake_videos, frames: Numbers of scored videos, fakes among them, and frames.
        frame_auc, frame_eer, frame_ap, frame_log_loss: Metrics of single frames.
        video_auc, video_eer, video_ap: Area under the ROC, equal error rate and average precision of videos.
        intervals: ``low``, ``high`` and ``method`` of the intervals of these three.
        accuracy: Share of right decisions at the threshold; with abstentions, these count as wrong.
        accuracy_of_scored: Share of right decisions among the videos with a score.
        balanced_accuracy: Mean of the shares of right decisions of genuine and of fake scored videos.
        false_positives, false_negatives: Genuine videos called fake and fakes called genuine.
        tpr_at_fpr_1e2, tpr_at_fpr_1e3: Share of fakes found where at most 1 % and 0.1 % of the genuine
            videos are called fake; None with fewer than 100 and 1000 genuine videos.
        log_loss, brier, calibration_error: How well scores of videos serve as probabilities.
        unscored: Videos in the index that have no score.
        without_face_genuine, without_face_fake: Videos in which no face was found.
        coverage: Share of videos with a score among those with a score or without a face.
    """

    test_set: str
    dataset: str
    manipulation: str | None
    videos: int
    fake_videos: int
    frames: int
    frame_auc: float
    frame_eer: float
    frame_ap: float
    frame_log_loss: float
    video_auc: float
    video_eer: float
    video_ap: float
    intervals: dict[str, Interval]
    accuracy: float
    accuracy_of_scored: float
    balanced_accuracy: float
    false_positives: int
    false_negatives: int
    tpr_at_fpr_1e2: float | None
    tpr_at_fpr_1e3: float | None
    log_loss: float
    brier: float
    calibration_error: float
    unscored: int
    without_face_genuine: int | None
    without_face_fake: int | None
    coverage: float | None

    @property
    def title(self) -> str:
        """Name of the row in messages."""
        return f'{self.test_set} / {self.dataset} / {self.manipulation or "overall"}'


@dataclass(frozen=True)
class ScoredEvalSet:
    """The scores of one test set.

    Attributes:
        name: Its name.
        scored: Its frames and its V videos.
        identities: (V,) str or None, whose head each video shows.
        frame_counts: (V,) number of scored frames.
    """

    name: str
    scored: ScoredSet
    identities: npt.NDArray[np.object_]
    frame_counts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, name: str, frames: FrameScores, options: ReportOptions) -> ScoredEvalSet:
        """Aggregate the scores of frames to those of videos.

        Raises:
            InputError: There are no scores, one is NaN, or a video has two labels.
        """
        scored = frames.by_video(options.aggregation, options.top_k, name=f'test set {name}')
        counts = np.bincount(frames.coded('video_key').codes)
        return cls(name, scored, frames.target_id[scored.first], counts)

    @property
    def datasets(self) -> list[str]:
        """Names of its datasets, ascending."""
        names: list[str] = self.scored.videos.coded_datasets.names.tolist()
        return names

    def subsets(self) -> list[Subset]:
        """The manipulations of every dataset, each dataset as a whole after its manipulations."""
        *subsets, whole = self.scored.subsets
        return subsets if len(self.datasets) > 1 else [*subsets, replace(whole, dataset=self.datasets[0])]


def report_rows(
    sets: Sequence[ScoredEvalSet],
    coverage: Mapping[str, Mapping[str, Any]],
    threshold: float,
    options: ReportOptions,
) -> list[Row]:
    """Compute all rows.

    Args:
        sets: The scored sets, in the order of the table.
        coverage: For each set, by name, :func:`~iid_mm.reporting.scoring.coverage_facts`.
        threshold: A video score >= this counts as fake.
        options: How scores become metrics.

    Returns:
        For every dataset its manipulations by name, then its total. A total over everything comes last if the
        options ask for it and there is more than one dataset.

    Raises:
        OneClassError: A dataset has genuine or fake videos only.
        InputError: Abstentions are to be counted, and it is not known which videos had no face.
    """
    rows = []
    for tested in sets:
        for subset in tested.subsets():
            missing = _missing(coverage[tested.name], subset)
            names = (tested.name, str(subset.dataset), subset.method)
            rows.append(_row(names, [(tested, subset)], missing, threshold, options))
    totals = [row for row in rows if row.manipulation is None]
    if options.pooled and len(totals) > 1:
        missing = {}
        for key in ('unscored', 'without_face_genuine', 'without_face_fake'):
            counts = [getattr(row, key) for row in totals]
            missing[key] = None if None in counts else sum(counts)
        parts = [(tested, tested.scored.subsets[-1]) for tested in sets]
        rows.append(_row((POOLED, POOLED, None), parts, missing, threshold, options))
    return rows


def _missing(facts: Mapping[str, Any], subset: Subset) -> dict[str, int | None]:
    """Count the videos of a row that have no score."""

    def count(videos: Sequence[Mapping[str, Any]], labels: tuple[int, ...]) -> int:
        return sum(
            video['dataset'] == subset.dataset
            and video['label'] in labels
            and (subset.method is None or video['label'] == 0 or video['method'] == subset.method)
            for video in videos
        )

    faceless = facts['without_face']
    return {
        'unscored': count(facts['unscored'], (0, 1)),
        'without_face_genuine': None if faceless is None else count(faceless, (0,)),
        'without_face_fake': None if faceless is None else count(faceless, (1,)),
    }


def _row(
    names: tuple[str, str, str | None],
    parts: Sequence[Part],
    missing: Mapping[str, int | None],
    threshold: float,
    options: ReportOptions,
) -> Row:
    title = ' / '.join(name or 'overall' for name in names)
    scores, labels = _joined(parts, 'videos')
    check_both_classes(labels, name=title, unit='videos')
    curve = roc_curve(scores, labels, name=title, unit='videos')
    return Row(
        test_set=names[0],
        dataset=names[1],
        manipulation=names[2],
        videos=int(labels.size),
        fake_videos=int(labels.sum()),
        **_frame_metrics(parts, title),
        video_auc=curve.auc,
        video_eer=curve.eer,
        video_ap=average_precision(scores, labels, name=title),
        intervals=_intervals(parts, options, title),
        **_decisions(scores, labels, threshold, missing, options.missing_as_abstention, title),
        tpr_at_fpr_1e2=_number(tpr_at_fpr(scores, labels, 0.01, name=title)),
        tpr_at_fpr_1e3=_number(tpr_at_fpr(scores, labels, 0.001, name=title)),
        log_loss=log_loss(scores, labels, name=title),
        brier=brier(scores, labels, name=title),
        calibration_error=reliability_curve(scores, labels, name=title).expected_error,
        **missing,  # type: ignore[arg-type]
    )


def _joined(parts: Sequence[Part], level: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Scores and labels of the videos or frames of all parts."""
    found = [getattr(tested.scored, level).select(subset) for tested, subset in parts]
    return np.concatenate([scores for scores, _ in found]), np.concatenate([labels for _, labels in found])


def _frame_metrics(parts: Sequence[Part], title: str) -> dict[str, Any]:
    scores, labels = _joined(parts, 'frames')
    curve = roc_curve(scores, labels, name=title, unit='frames')
    return {
        'frames': int(labels.size),
        'frame_auc': curve.auc,
        'frame_eer': curve.eer,
        'frame_ap': average_precision(scores, labels, name=title),
        'frame_log_loss': log_loss(scores, labels, name=title),
    }


def _intervals(parts: Sequence[Part], options: ReportOptions, title: str) -> dict[str, Interval]:
    """Bootstrap the metrics of videos."""
    groups = None
    if options.bootstrap_over == 'identities':
        groups = np.concatenate(
            [
                persons(tested.scored.videos.datasets, tested.identities, tested.name)[
                    tested.scored.videos.mask(subset)
                ]
                for tested, subset in parts
            ]
        )
    found = bootstrap_metrics(
        *_joined(parts, 'videos'),
        tuple(INTERVALS),
        groups=groups,
        resamples=options.resamples,
        level=options.confidence,
        seed=options.seed,
        name=title,
    )
    return {
        ours: {
            'low': _number(found[theirs].low),
            'high': _number(found[theirs].high),
            'method': found[theirs].method,
        }
        for theirs, ours in INTERVALS.items()
    }


def persons(
    datasets: npt.NDArray[np.object_], identities: npt.NDArray[np.object_], test_set: str = ''
) -> npt.NDArray[np.object_]:
    """Tell persons of different datasets apart, whose names may be equal.

    Args:
        datasets: (V,) dataset of each video.
        identities: (V,) name of the person within the dataset, or None.
        test_set: Name of the test set, where there are several.

    Returns:
        (V,) names that are unique across datasets, or None.
    """
    pairs = zip(datasets, identities, strict=True)
    return np.array(
        [None if name is None else f'{test_set}/{place}/{name}' for place, name in pairs], dtype=object
    )


def _decisions(
    scores: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
    threshold: float,
    missing: Mapping[str, int | None],
    abstentions: bool,
    title: str,
) -> dict[str, Any]:
    is_called = scores >= threshold
    false_positives = int(np.count_nonzero(is_called & (labels == 0)))
    false_negatives = int(np.count_nonzero(~is_called & (labels == 1)))
    right = labels.size - false_positives - false_negatives
    fakes = int(labels.sum())
    genuine_missing, fake_missing = missing['without_face_genuine'], missing['without_face_fake']
    total = None
    if genuine_missing is not None and fake_missing is not None:
        total = labels.size + genuine_missing + fake_missing
    if abstentions and total is None:
        raise InputError(
            f'{title}: the index does not say which videos of this split had no face, so they cannot count '
            'as abstentions; prepare the set again with tools/prepare_data.py (report.json must lie beside '
            'the index and list them under without_face), or leave --missing-as-abstention out'
        )
    return {
        'accuracy': right / (total if abstentions and total else labels.size),
        'accuracy_of_scored': right / labels.size,
        'balanced_accuracy': 1 - (false_positives / (labels.size - fakes) + false_negatives / fakes) / 2,
        'false_positives': false_positives,
        'false_negatives': false_negatives,
        'coverage': None if total is None else labels.size / total,
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
