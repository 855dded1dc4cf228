# SPDX-License-Identifier: Apache-2.0
"""The pictures of one evaluated set."""

from __future__ import annotations

import os
from pathlib import Path

from iid_mm.evaluation.functional.per_method import ScoredSet, Subset
from iid_mm.visualization.plots import plot_roc, plot_score_histograms


def score_pictures(
    scored: ScoredSet, folder: str | os.PathLike[str], *, threshold: float = 0.5
) -> list[Path]:
    """Plot ROC curves and histograms of the scores of frames and of videos.

    Args:
        scored: The scores, see :func:`~iid_mm.evaluation.functional.scored_set`.
        folder: Gets ``roc_video.png``, ``roc_frame.png``, ``scores_video.png`` and
            ``scores_frame.png``.
        threshold: Drawn into the histograms.

    Returns:
        The pictures.

    Raises:
        OneClassError: The set, or one of its datasets, has no genuine or no fake videos.
    """
    target = Path(folder)
    pictures = []
    for name, level in (('video', scored.videos), ('frame', scored.frames)):
        curves = {subset.name: level.roc(subset) for subset in _shown(scored)}
        pictures.append(plot_roc(curves, target / f'roc_{name}.png', title=f'ROC of {level.unit}'))
        groups = {}
        for subset in scored.manipulations:
            values, labels = level.select(subset)
            groups[subset.name] = (values[labels == 0], values[labels == 1])
        pictures.append(
            plot_score_histograms(
                groups,
                target / f'scores_{name}.png',
                title=f'Scores of {level.unit}',
                unit=level.unit,
                threshold=threshold,
            )
        )
    return pictures


def _shown(scored: ScoredSet) -> list[Subset]:
    """All manipulations and the whole set; totals of single datasets would crowd the plot."""
    return [*scored.manipulations, scored.subsets[-1]]
