# SPDX-License-Identifier: Apache-2.0
"""The rows of a report: metrics of every manipulation of every dataset."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.aggregate import VideoScores, video_scores
from iid_mm.evaluation.functional.inputs import check_both_classes
from iid_mm.evaluation.functional.roc import average_precision, brier, log_loss, roc_curve, tpr_at_fpr
from iid_mm.evaluation.scores import FrameScores
from iid_mm.evaluation.statistics.calibration import reliability_curve
from iid_mm.reporting.intervals import Interval, video_intervals
from iid_mm.reporting.options import ReportOptions

Mask = npt.NDArray[np.bool_]
POOLED = 'all sets'


@dataclass(frozen=True)
class Row:
    """One row of the table; fractions of 1, None where a metric is not defined or not known.

    Attributes:
        test_set: Name of the test set.
        dataset: Dataset, as the index calls it.
        manipulation: The manipulation that genuine videos are compared with; None: all together.
        videos, fake_videos, frames: What was scored.
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
        coverage: Part of the videos with a score, of those with a score or without a face.
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
        """What messages call the row."""
        return f'{self.test_set} / {self.dataset} / {self.manipulation or "overall"}'

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class ScoredVideos:
    """The videos of one test set.

    Attributes:
        test_set: Its name.
        frames: Scores of its frames, F of them.
        videos: Scores of its V videos.
        dataset: (V,) str.
        method: (V,) str.
        identity: (V,) str or None, whose head each video shows.
    """

    test_set: str
    frames: FrameScores
    videos: VideoScores
    dataset: npt.NDArray[np.object_]
    method: npt.NDArray[np.object_]
    identity: npt.NDArray[np.object_]

    @classmethod
    def of(cls, test_set: str, frames: FrameScores, options: ReportOptions) -> ScoredVideos:
        """Aggregate frames to videos.

        Raises:
            InputError: There are no scores, one is NaN, or a video has two labels.
        """
        videos = video_scores(
            *(frames.score, frames.label, frames.coded('video_key')),
            how=options.aggregation,
            k=options.top_k,
            name=f'test set {test_set}',
        )
        columns = (getattr(frames, name)[videos.first] for name in ('dataset', 'method', 'target_id'))
        return cls(test_set, frames, videos, *columns)

    def subsets(self) -> Iterator[tuple[str, str | None]]:
        """Dataset and manipulation of every row, the whole dataset after its manipulations."""
        for dataset in sorted(set(self.dataset.tolist())):
            fakes = (self.videos.labels == 1) & (self.dataset == dataset)
            for method in sorted(set(self.method[fakes].tolist())):
                yield dataset, method
            yield dataset, None

    def select(self, dataset: str, manipulation: str | None) -> Mask:
        """Videos of a row: its fakes and all genuine videos of its dataset, (V,) bool."""
        chosen: Mask = self.dataset == dataset
        if manipulation is not None:
            chosen = chosen & ((self.videos.labels == 0) | (self.method == manipulation))
        return chosen

    def of_frames(self, chosen: Mask) -> Mask:
        """Frames of the chosen videos, (F,) bool."""
        # Both are in ascending order of the keys.
        return chosen[self.frames.coded('video_key').codes]


def report_rows(
    sets: Sequence[ScoredVideos],
    coverage: Mapping[str, Mapping[str, Any]],
    threshold: float,
    options: ReportOptions,
) -> list[Row]:
    """Compute all rows.

    Args:
        sets: The scored sets, in the order of the table.
        coverage: For each set, by name, :func:`~iid_mm.reporting.prepared.coverage_facts`.
        threshold: A video score >= this counts as fake.
        options: How scores become metrics.

    Returns:
        The rows: of every dataset its manipulations by name, then its total. A total over everything comes
        last if the options ask for it and there is more than one dataset.

    Raises:
        OneClassError: A dataset has genuine or fake videos only.
        InputError: See :meth:`ScoredVideos.of`; or abstentions are to be counted and it is not known
            which videos had no face.
    """
    rows = []
    for scored in sets:
        facts = coverage[scored.test_set]
        for dataset, manipulation in scored.subsets():
            chosen = scored.select(dataset, manipulation)
            missing = _missing(facts, dataset, manipulation)
            names = (scored.test_set, dataset, manipulation)
            rows.append(_row(names, [(scored, chosen)], missing, threshold, options))
    totals = [row for row in rows if row.manipulation is None]
    if options.pooled and len(totals) > 1:
        missing = {
            key: None
            if any(_get(row, key) is None for row in totals)
            else sum(_get(row, key) for row in totals)
            for key in ('unscored', 'without_face_genuine', 'without_face_fake')
        }
        parts = [(scored, np.ones(scored.videos.labels.size, dtype=np.bool_)) for scored in sets]
        rows.append(_row((POOLED, POOLED, None), parts, missing, threshold, options))
    return rows


def _get(row: Row, name: str) -> Any:
    return getattr(row, name)


def _missing(facts: Mapping[str, Any], dataset: str, manipulation: str | None) -> dict[str, int | None]:
    """Count the videos of a row that have no score."""

    def of_row(videos: Sequence[Mapping[str, Any]], labels: tuple[int, ...]) -> int:
        return sum(
            video['dataset'] == dataset
            and video['label'] in labels
            and (manipulation is None or video['label'] == 0 or video['method'] == manipulation)
            for video in videos
        )

    faceless = facts['without_face']
    return {
        'unscored': of_row(facts['unscored'], (0, 1)),
        'without_face_genuine': None if faceless is None else of_row(faceless, (0,)),
        'without_face_fake': None if faceless is None else of_row(faceless, (1,)),
    }


def _row(
    names: tuple[str, str, str | None],
    parts: Sequence[tuple[ScoredVideos, Mask]],
    missing: Mapping[str, int | None],
    threshold: float,
    options: ReportOptions,
) -> Row:
    title = ' / '.join(name or 'overall' for name in names)
    scores = np.concatenate([part.videos.scores[chosen] for part, chosen in parts])
    labels = np.concatenate([part.videos.labels[chosen] for part, chosen in parts])
    check_both_classes(labels, name=title, unit='videos')
    identities = np.concatenate([part.identity[chosen] for part, chosen in parts])
    if names[0] == POOLED:
        identities = _apart(identities, parts)
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
        intervals=video_intervals(scores, labels, identities, options, name=title),
        **_decisions(scores, labels, threshold, missing, options.missing_as_abstention, title),
        tpr_at_fpr_1e2=_number(tpr_at_fpr(scores, labels, 0.01, name=title)),
        tpr_at_fpr_1e3=_number(tpr_at_fpr(scores, labels, 0.001, name=title)),
        log_loss=log_loss(scores, labels, name=title),
        brier=brier(scores, labels, name=title),
        calibration_error=reliability_curve(scores, labels, name=title).expected_error,
        **missing,  # type: ignore[arg-type]
    )


def _apart(identities: npt.NDArray[np.object_], parts: Sequence[tuple[ScoredVideos, Mask]]) -> Any:
    """Name persons by test set and dataset too: the same name in two of them is not the same person."""
    places = [f'{part.test_set}/{dataset}' for part, chosen in parts for dataset in part.dataset[chosen]]
    pairs = zip(places, identities, strict=True)
    return np.array([None if name is None else f'{place}/{name}' for place, name in pairs], dtype=object)


def _frame_metrics(parts: Sequence[tuple[ScoredVideos, Mask]], title: str) -> dict[str, Any]:
    masks = [part.of_frames(chosen) for part, chosen in parts]
    scores = np.concatenate([part.frames.score[mask] for (part, _), mask in zip(parts, masks, strict=True)])
    labels = np.concatenate([part.frames.label[mask] for (part, _), mask in zip(parts, masks, strict=True)])
    curve = roc_curve(scores, labels, name=title, unit='frames')
    return {
        'frames': int(labels.size),
        'frame_auc': curve.auc,
        'frame_eer': curve.eer,
        'frame_ap': average_precision(scores, labels, name=title),
        'frame_log_loss': log_loss(scores, labels, name=title),
    }


def _decisions(
    scores: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
    threshold: float,
    missing: Mapping[str, int | None],
    abstentions: bool,
    title: str,
) -> dict[str, Any]:
    called = scores >= threshold
    false_positives = int(np.count_nonzero(called & (labels == 0)))
    false_negatives = int(np.count_nonzero(~called & (labels == 1)))
    right = labels.size - false_positives - false_negatives
    fakes = int(labels.sum())
    genuine_missing, fake_missing = missing['without_face_genuine'], missing['without_face_fake']
    total = None
    if genuine_missing is not None and fake_missing is not None:
        total = labels.size + genuine_missing + fake_missing
    if abstentions and total is None:
        raise InputError(
            f'{title}: the index does not tell which videos of this split had no face, so they cannot count '
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
