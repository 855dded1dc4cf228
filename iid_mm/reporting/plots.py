# SPDX-License-Identifier: Apache-2.0
"""The pictures of a report."""

from __future__ import annotations

from pathlib import Path

from iid_mm.evaluation.functional.roc import roc_curve
from iid_mm.reporting.metrics_table import ScoredVideos
from iid_mm.utils.files import safe_name
from iid_mm.visualization.score_plots import plot_det, plot_reliability, plot_roc, plot_score_histograms

OVERALL = 'overall'


def report_pictures(scored: ScoredVideos, folder: Path, *, threshold: float, confidence: float) -> list[Path]:
    """Draw ROC and DET curves, score histograms and a reliability diagram of the videos of a test set.

    Args:
        scored: The videos.
        folder: Takes ``<test set>_roc.png``, ``_det.png``, ``_scores.png`` and ``_reliability.png``; of a
            test set of several datasets, ``<test set>_<dataset>_...`` for each.
        threshold: Drawn into the histograms.
        confidence: Of the intervals of the reliability diagram.

    Returns:
        The pictures.
    """
    datasets = sorted(set(scored.dataset.tolist()))
    pictures: list[Path] = []
    for dataset in datasets:
        title = scored.test_set if len(datasets) == 1 else f'{scored.test_set}: {dataset}'
        stem = folder / safe_name(title.replace(': ', '_'))
        curves, groups = {}, {}
        for name, manipulation in scored.subsets():
            if name != dataset:
                continue
            chosen = scored.select(dataset, manipulation)
            scores, labels = scored.videos.scores[chosen], scored.videos.labels[chosen]
            curves[manipulation or OVERALL] = roc_curve(scores, labels, name=title, unit='videos')
            if manipulation is not None:
                groups[manipulation] = (scores[labels == 0], scores[labels == 1])
        if len(curves) == 2:
            # One manipulation is the whole dataset.
            del curves[OVERALL]
        genuine = int((labels == 0).sum())
        pictures += [
            plot_roc(curves, stem.with_name(f'{stem.name}_roc.png'), title=f'{title}: ROC of videos'),
            plot_det(
                curves,
                stem.with_name(f'{stem.name}_det.png'),
                title=f'{title}: error trade-off of videos',
                # Rates below one video cannot be told apart.
                lowest=min(0.05, max(0.0001, 0.5 / genuine)),
            ),
            plot_score_histograms(
                groups,
                stem.with_name(f'{stem.name}_scores.png'),
                title=f'{title}: scores of videos',
                threshold=threshold,
            ),
            plot_reliability(
                scores,
                labels,
                stem.with_name(f'{stem.name}_reliability.png'),
                title=f'{title}: reliability',
                confidence=confidence,
            ),
        ]
    return pictures
