# SPDX-License-Identifier: Apache-2.0
"""The plots of a report."""

from __future__ import annotations

from pathlib import Path

from iid_mm.evaluation.functional.roc import roc_curve
from iid_mm.reporting.metrics_table import ScoredEvalSet
from iid_mm.utils.files import safe_name
from iid_mm.visualization.score_plots import plot_det, plot_reliability, plot_roc, plot_score_histograms

OVERALL = 'overall'


def report_plots(tested: ScoredEvalSet, folder: Path, *, threshold: float, confidence: float) -> list[Path]:
    """Draw ROC and DET curves, score histograms and a reliability diagram of the videos of a test set.

    Args:
        tested: The scored set.
        folder: Gets ``<test set>_roc.png``, ``_det.png``, ``_scores.png`` and ``_reliability.png``; of a test
            set of several datasets, ``<test set>_<dataset>_...`` for each.
        threshold: Drawn into the histograms.
        confidence: Of the intervals of the reliability diagram.

    Returns:
        The paths of the plots.
    """
    plots: list[Path] = []
    videos = tested.scored.videos
    for dataset in tested.datasets:
        title = tested.name if len(tested.datasets) == 1 else f'{tested.name}: {dataset}'
        stem = safe_name(title.replace(': ', '_'))
        curves, groups = {}, {}
        for subset in tested.subsets():
            if subset.dataset != dataset:
                continue
            # The whole dataset comes last; what follows the loop is about it.
            scores, labels = videos.select(subset)
            curves[subset.method or OVERALL] = roc_curve(scores, labels, name=title, unit='videos')
            if subset.method is not None:
                groups[subset.method] = (scores[labels == 0], scores[labels == 1])
        if len(groups) == 1:
            # One manipulation is the whole dataset.
            del curves[OVERALL]
        genuine = int((labels == 0).sum())
        plots += [
            plot_roc(curves, folder / f'{stem}_roc.png', title=f'{title}: ROC of videos'),
            plot_det(
                curves,
                folder / f'{stem}_det.png',
                title=f'{title}: error trade-off of videos',
                # Rates below one video cannot be told apart.
                lowest=min(0.05, max(0.0001, 0.5 / genuine)),
            ),
            plot_score_histograms(
                groups,
                folder / f'{stem}_scores.png',
                title=f'{title}: scores of videos',
                threshold=threshold,
            ),
            plot_reliability(
                scores,
                labels,
                folder / f'{stem}_reliability.png',
                title=f'{title}: reliability',
                confidence=confidence,
            ),
        ]
    return plots
