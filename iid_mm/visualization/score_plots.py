# SPDX-License-Identifier: Apache-2.0
"""Plots of scores: ROC and DET curves, histograms, reliability diagrams."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedFormatter, FixedLocator, MultipleLocator, NullLocator
from scipy import special

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.per_method import ScoredSet
from iid_mm.evaluation.functional.roc import RocCurve
from iid_mm.evaluation.statistics.calibration import reliability_curve
from iid_mm.evaluation.statistics.intervals import exact_share_interval
from iid_mm.utils.typing import FloatArray, IntArray
from iid_mm.visualization.plots import FAKE, GENUINE, INK, MUTED, PALETTE, new_figure, polish, save_figure

EMPHASIZED = 'overall'
"""The curve that is drawn thick and in black."""
# Curves beyond the sixth differ by line style.
_DASHES: Any = ('-', (0, (5, 2)), (0, (1, 1.5)))
_PALE = '#D5D8DC'
_SCORE_BINS, _RELIABILITY_BINS = 20, 15
_TICKS = (0.0001, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9)
_HIGHEST = 0.9
_ROOM = 0.06
"""Least distance of a tick from the labeled edge, part of the axis."""


def score_plots(scored: ScoredSet, folder: str | os.PathLike[str], *, threshold: float = 0.5) -> list[Path]:
    """Plot ROC curves and histograms of the scores of frames and of videos.

    Args:
        scored: The scores, see :func:`~iid_mm.evaluation.functional.per_method.scored_set`.
        folder: Gets ``roc_video.png``, ``roc_frame.png``, ``scores_video.png`` and
            ``scores_frame.png``.
        threshold: Drawn into the histograms.

    Returns:
        The plots.

    Raises:
        OneClassError: The set, or one of its datasets, has no genuine or no fake videos.
    """
    target = Path(folder)
    plots = []
    # Totals of single datasets would crowd the plot.
    shown = [*scored.manipulations, scored.subsets[-1]]
    for name, level in (('video', scored.videos), ('frame', scored.frames)):
        curves = {subset.name: level.roc(subset) for subset in shown}
        plots.append(plot_roc(curves, target / f'roc_{name}.png', title=f'ROC of {level.unit}'))
        groups = {}
        for subset in scored.manipulations:
            values, labels = level.select(subset)
            groups[subset.name] = (values[labels == 0], values[labels == 1])
        path, title = target / f'scores_{name}.png', f'Scores of {level.unit}'
        plots.append(plot_score_histograms(groups, path, title=title, unit=level.unit, threshold=threshold))
    return plots


def plot_roc(curves: Mapping[str, RocCurve], path: str | os.PathLike[str], *, title: str = 'ROC') -> Path:
    """Plot ROC curves, the part with few false positives enlarged beside the whole.

    Args:
        curves: Curves by name, in the order of the legend; see :data:`EMPHASIZED`.
        path: File of the plot; its suffix is the format (.png, .pdf, .svg).
        title: Title above the plot.

    Returns:
        The path.

    Raises:
        InputError: There are no curves.
    """
    styles = _styles(curves)
    figure = new_figure(9.6, 4.9)
    whole, low = figure.subplots(1, 2)
    for axes in (whole, low):
        for name, label, style in styles:
            curve = curves[name]
            axes.plot(curve.fpr, curve.tpr, label=f'{label}{100 * curve.auc:6.2f} %', **style)
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (2, 3)), zorder=2)
        axes.plot([0, 1], [1, 0], color=_PALE, linewidth=1, zorder=1)
        axes.set_box_aspect(1)
        polish(axes, xlabel='false positive rate (genuine called fake)')
    polish(whole, title=title, ylabel='true positive rate (fakes found)')
    polish(low, title='the same at low false positive rates')
    whole.text(0.42, 0.6, 'equal errors', rotation=-45, fontsize=7.5, color=MUTED, ha='center', va='center')
    whole.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    lowest = min(float(np.interp(0.02, curve.fpr, curve.tpr)) for curve in curves.values())
    bottom = min(np.floor(10 * lowest) / 10, 0.8)
    margin = (1 - bottom) / 100
    low.set(xlim=(-0.002, 0.202), ylim=(bottom - margin, 1 + margin))
    low.xaxis.set_major_locator(MultipleLocator(0.05))
    _add_legend(whole, 'lower right', 'area under the curve')
    return save_figure(figure, path)


def plot_det(
    curves: Mapping[str, RocCurve],
    path: str | os.PathLike[str],
    *,
    title: str = 'Detection error trade-off',
    lowest: float = 0.001,
) -> Path:
    """Plot DET curves: both error rates on normal deviate scales (Martin et al. 1997).

    Args:
        curves: Curves by name, in the order of the legend; see :data:`EMPHASIZED`.
        path: File of the plot; its suffix is the format.
        title: Title above the plot.
        lowest: Rate at the axes' lower ends, in (0, 0.1]. Smaller rates, including 0, do not exist on
            such a scale and are drawn on the edge, which is labeled accordingly.

    Returns:
        The path.

    Raises:
        InputError: There are no curves, or ``lowest`` is out of range.
    """
    styles = _styles(curves)
    if not 0 < lowest <= 0.1:
        raise InputError(f'lowest={lowest!r}: must lie in (0, 0.1]')
    figure = new_figure(6.4, 6.2)
    axes = figure.subplots()
    for name, label, style in styles:
        # Steps, not slopes: between two thresholds one of the rates stays what it is.
        x, y = _deviates(curves[name].fpr, lowest), _deviates(1 - curves[name].tpr, lowest)
        style |= {'drawstyle': 'steps-post', 'clip_on': False}
        axes.plot(x, y, label=f'{label}{100 * curves[name].eer:6.2f} %', **style)
    ends = _deviates(np.array([lowest, _HIGHEST]), lowest)
    axes.plot(ends, ends, color=_PALE, linewidth=1, zorder=1)
    place = float(special.ndtri(0.3))
    note: dict[str, Any] = {'rotation': 45, 'fontsize': 7.5, 'color': MUTED, 'ha': 'center', 'va': 'bottom'}
    axes.text(place, place, 'equal errors', rotation_mode='anchor', **note)
    for axis in (axes.xaxis, axes.yaxis):
        _scale(axis, lowest)
    axes.set(xlim=ends, ylim=ends)
    axes.set_box_aspect(1)
    polish(axes, title=title, xlabel='genuine called fake (%)', ylabel='fakes called genuine (%)')
    _add_legend(axes, 'upper right', 'equal error rate')
    return save_figure(figure, path)


def plot_score_histograms(
    groups: Mapping[str, tuple[FloatArray, FloatArray]],
    path: str | os.PathLike[str],
    *,
    title: str = 'Scores',
    unit: str = 'videos',
    threshold: float = 0.5,
) -> Path:
    """Plot the distributions of the scores of genuine and fake samples, one panel a group.

    Args:
        groups: By name, the scores of the genuine and of the fake samples, probabilities.
            Each is (n,).
        path: File of the plot; its suffix is the format.
        title: Title above the panels.
        unit: The samples: 'videos' or 'frames'.
        threshold: Drawn as a line.

    Returns:
        The path.

    Raises:
        InputError: There are no groups.
    """
    if not groups:
        raise InputError('groups is empty: give the scores of at least one manipulation')
    columns = 2 if len(groups) == 4 else min(len(groups), 3)
    rows = -(-len(groups) // columns)
    figure = new_figure(max(3.4 * columns, 5.5), 0.9 + 2.3 * rows)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes, (name, (genuine, fake)) in zip(panels.flat, groups.items(), strict=False):
        _histogram_panel(axes, genuine, fake, threshold)
        axes.set_title(name, color=INK, fontsize=10, loc='left', pad=16)
    unused = list(panels.flat)[len(groups) :]
    for axes in unused:
        axes.set_visible(False)
    for axes in panels[-2, columns - len(unused) :] if unused else ():
        axes.tick_params(labelbottom=True)
    figure.suptitle(title, color=INK, fontsize=11.5, x=0.01, ha='left')
    figure.supxlabel('probability of fake', color=INK, fontsize=10)
    figure.supylabel(f'share of {unit} (%)', color=INK, fontsize=10)
    handles: list[Artist] = [Patch(facecolor=(color, 0.35), edgecolor=color) for color in (GENUINE, FAKE)]
    handles.append(Line2D([], [], color=INK, linewidth=1, linestyle=(0, (2, 2))))
    names = ['genuine', 'fake', f'threshold {threshold:.4g}']
    figure.legend(handles, names, loc='upper right', ncols=3, fontsize=9, frameon=False)
    return save_figure(figure, path)


def plot_reliability(
    scores: FloatArray,
    labels: IntArray,
    path: str | os.PathLike[str],
    *,
    title: str = 'Reliability',
    confidence: float = 0.95,
) -> Path:
    """Plot the share of fakes against the score, with exact binomial intervals, and the scores' counts.

    Scores are counted in 15 equal parts of [0, 1]; those without any stay empty.

    Args:
        scores: (N,) probabilities of fake, one a video.
        labels: (N,) 0 = genuine, 1 = fake.
        path: File of the plot; its suffix is the format.
        title: Title above the plot.
        confidence: Of the intervals (Clopper and Pearson 1934).

    Returns:
        The path.

    Raises:
        InputError: There are no scores, or some are no probabilities.
    """
    curve = reliability_curve(scores, labels, bins=_RELIABILITY_BINS)
    limits = [
        exact_share_interval(int(fakes), int(count), level=confidence)[1:3]
        for fakes, count in zip(np.rint(curve.observed * curve.counts), curve.counts, strict=True)
    ]
    figure = new_figure(6.0, 6.9)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
    upper.plot([0, 1], [0, 1], color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)), zorder=2)
    note: dict[str, Any] = {'rotation': 41, 'rotation_mode': 'anchor', 'fontsize': 8, 'color': MUTED}
    # Above the bars of the intervals, which may lie anywhere.
    note |= {'zorder': 5, 'bbox': dict(facecolor='white', edgecolor='none', pad=0.6)}
    upper.text(0.12, 0.13, 'calibrated', ha='left', va='bottom', **note)
    upper.vlines(curve.predicted, *np.transpose(limits), color=INK, linewidth=1.2, alpha=0.55, zorder=3)
    area = 18 + 160 * curve.counts / curve.counts.max()
    upper.scatter(curve.predicted, curve.observed, s=area, color=INK, zorder=4, clip_on=False)
    upper.set(xlim=(0, 1), ylim=(-0.02, 1.02))
    polish(upper, title=title, ylabel='share of fakes among the videos')
    error = 100 * curve.expected_error
    upper.set_title(f'calibration error {error:.2f} %', color=INK, fontsize=9, loc='right')
    _stacked_counts(lower, scores, labels)
    label = f'score (mean of the videos in a bin); bars: {100 * confidence:g} % intervals'
    polish(lower, xlabel=label, ylabel='videos')
    figure.align_ylabels()
    return save_figure(figure, path)


def _styles(curves: Mapping[str, RocCurve]) -> list[tuple[str, str, dict[str, Any]]]:
    """Name, padded label and look of each curve."""
    if not curves:
        raise InputError('curves is empty: give at least one ROC curve')
    width = max(map(len, curves))
    styles: list[tuple[str, str, dict[str, Any]]] = []
    number = 0
    for name in curves:
        # Below the others, so that curves on top of each other stay visible.
        style: dict[str, Any] = {'color': INK, 'linewidth': 4.4, 'zorder': 2.5}
        if name != EMPHASIZED:
            style = {
                'color': PALETTE[number % len(PALETTE)],
                'linestyle': _DASHES[number // len(PALETTE) % len(_DASHES)],
                # Later curves are narrower, so that one on top of an earlier one leaves its edges visible.
                'linewidth': max(1.2, 3.2 - 0.55 * number),
                'zorder': 3,
            }
            number += 1
        styles.append((name, f'{name:<{width}}  ', style))
    return styles


def _add_legend(axes: Any, place: str, title: str) -> None:
    """Add the legend of curves whose labels end in numbers, which stand below each other."""
    font = {'family': 'DejaVu Sans Mono', 'size': 8}
    look = {'facecolor': 'white', 'edgecolor': 'none', 'framealpha': 0.9}
    axes.legend(loc=place, title=title, prop=font, title_fontsize=8.5, frameon=True, **look)


def _deviates(rates: FloatArray, lowest: float) -> FloatArray:
    return np.asarray(special.ndtri(np.clip(rates, lowest, _HIGHEST)), dtype=np.float64)


def _scale(axis: Axis, lowest: float) -> None:
    """Label a normal deviate axis."""
    edge = float(special.ndtri(lowest))
    room = _ROOM * (float(special.ndtri(_HIGHEST)) - edge)
    ticks = [tick for tick in _TICKS if special.ndtri(tick) > edge + room]
    axis.set_major_locator(FixedLocator([edge, *special.ndtri(ticks)]))
    axis.set_major_formatter(
        FixedFormatter([f'≤ {100 * lowest:.2g}', *(f'{100 * tick:g}' for tick in ticks)])
    )
    axis.set_minor_locator(NullLocator())


def _histogram_panel(axes: Axes, genuine: FloatArray, fake: FloatArray, threshold: float) -> None:
    edges = np.linspace(0, 1, _SCORE_BINS + 1)
    for scores, color in ((genuine, GENUINE), (fake, FAKE)):
        share = np.histogram(np.clip(scores, 0, 1), edges)[0] * (100 / max(scores.size, 1))
        axes.stairs(share, edges, fill=True, color=color, alpha=0.35)
        axes.stairs(share, edges, color=color, linewidth=1.4)
    axes.axvline(threshold, color=INK, linewidth=1, linestyle=(0, (2, 2)))
    counts = f'{genuine.size} genuine, {fake.size} fake'
    # Below the name, which may be long.
    axes.text(0, 1.02, counts, color=MUTED, fontsize=8, va='bottom', transform=axes.transAxes)
    axes.set_xlim(0, 1)
    polish(axes)


def _stacked_counts(axes: Axes, scores: FloatArray, labels: IntArray) -> None:
    edges = np.linspace(0, 1, _RELIABILITY_BINS + 1)
    bottom = np.zeros(edges.size - 1)
    for label, name, color in ((0, 'genuine', GENUINE), (1, 'fake', FAKE)):
        counts = np.histogram(scores[labels == label], edges)[0]
        axes.bar(edges[:-1], counts, edges[1], bottom, align='edge', color=color, alpha=0.6, label=name)
        bottom = bottom + counts
    # Room for the legend above the bars.
    axes.set_ylim(0, 1.4 * max(float(bottom.max()), 1.0))
    axes.legend(loc='upper center', ncols=2, fontsize=8.5, frameon=False)
