# SPDX-License-Identifier: Apache-2.0
"""Reliability diagram: how often videos of a score are fake."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from iid_mm.evaluation.statistics.calibration import reliability_curve
from iid_mm.utils.typing import FloatArray, IntArray
from iid_mm.visualization.plots import FAKE, GENUINE, INK, MUTED, new_figure, polish, save_figure


def plot_reliability(
    scores: FloatArray,
    labels: IntArray,
    path: str | os.PathLike[str],
    *,
    title: str = 'Reliability',
    unit: str = 'videos',
    bins: int = 15,
    confidence: float = 0.95,
) -> Path:
    """Plot the share of fakes against the score, with exact binomial intervals, and the scores' counts.

    Args:
        scores: (N,) probabilities of fake.
        labels: (N,) 0 = genuine, 1 = fake.
        path: The picture; its suffix is the format.
        title: Title above the plot.
        unit: What is counted.
        bins: Equal parts of [0, 1]; those without members stay empty.
        confidence: Of the intervals (Clopper and Pearson 1934).

    Returns:
        The path.

    Raises:
        InputError: There are no scores, or some are no probabilities.
    """
    curve = reliability_curve(scores, labels, bins=bins)
    fakes = np.rint(curve.observed * curve.counts)
    low, high = _exact_limits(fakes, curve.counts, confidence)
    metric = new_figure(6.0, 6.9)
    upper, lower = metric.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
    upper.plot([0, 1], [0, 1], color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)), zorder=2)
    note: dict[str, Any] = {'rotation': 41, 'rotation_mode': 'anchor', 'fontsize': 8, 'color': MUTED}
    # Above the bars of the intervals, which may lie anywhere.
    note |= {'zorder': 5, 'bbox': dict(facecolor='white', edgecolor='none', pad=0.6)}
    upper.text(0.12, 0.13, 'calibrated', ha='left', va='bottom', **note)
    upper.vlines(curve.predicted, low, high, color=INK, linewidth=1.2, alpha=0.55, zorder=3)
    area = 18 + 160 * curve.counts / curve.counts.max()
    upper.scatter(curve.predicted, curve.observed, s=area, color=INK, zorder=4, clip_on=False)
    upper.set(xlim=(0, 1), ylim=(-0.02, 1.02))
    upper.set_ylabel(f'share of fakes among the {unit}', color=INK)
    upper.set_title(title, color=INK, fontsize=11, loc='left')
    error = 100 * curve.expected_error
    upper.set_title(f'calibration error {error:.2f} %', color=INK, fontsize=9, loc='right')
    edges = np.linspace(0, 1, bins + 1)
    bottom = np.zeros(bins)
    for label, name, color in ((0, 'genuine', GENUINE), (1, 'fake', FAKE)):
        counts = np.histogram(scores[labels == label], edges)[0]
        lower.bar(edges[:-1], counts, 1 / bins, bottom, align='edge', color=color, alpha=0.6, label=name)
        bottom = bottom + counts
    # Room for the legend above the bars.
    lower.set_ylim(0, 1.4 * max(float(bottom.max()), 1.0))
    lower.set_xlabel(
        f'score (mean of the {unit} in a bin); bars: {100 * confidence:g} % intervals', color=INK
    )
    lower.set_ylabel(unit, color=INK)
    lower.legend(loc='upper center', ncols=2, fontsize=8.5, frameon=False)
    for axes in (upper, lower):
        polish(axes)
    metric.align_ylabels()
    return save_figure(metric, path)


def _exact_limits(hits: FloatArray, trials: IntArray, confidence: float) -> tuple[FloatArray, FloatArray]:
    tail = (1 - confidence) / 2
    with np.errstate(invalid='ignore'):
        low = stats.beta.ppf(tail, hits, trials - hits + 1)
        high = stats.beta.ppf(1 - tail, hits + 1, trials - hits)
    return np.where(hits == 0, 0.0, low), np.where(hits == trials, 1.0, high)
