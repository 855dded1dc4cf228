# SPDX-License-Identifier: Apache-2.0
"""Plots of scores: ROC curves and histograms; made without a display and without global state."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text
from matplotlib.ticker import MultipleLocator

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.roc import RocCurve
from iid_mm.utils.files import write_bytes
from iid_mm.utils.typing import FloatArray

# Okabe and Ito's palette without black and yellow: told apart with any common color vision.
PALETTE = ('#0072B2', '#E69F00', '#009E73', '#CC79A7', '#56B4E9', '#D55E00')
# Beyond six curves the line style tells them apart.
DASHES: Sequence[str | tuple[int, tuple[int, ...]]] = ('-', (0, (5, 2)), (0, (1, 1.5)))  # type: ignore[assignment]
_TICK = re.compile(r'\$\\mathdefault\{[-+0-9.^{}]*(?:\\times[-+0-9.^{}]*)?\}\$')
INK = '#22242A'
MUTED = '#8A8F98'
GENUINE = '#0072B2'
FAKE = '#D55E00'


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure of a size in inches, which no display and no other figure knows of."""
    figure = Figure(figsize=(width, height), dpi=150, layout='constrained', facecolor='white')
    FigureCanvasAgg(figure)
    return figure


def polish(axes: Axes) -> None:
    """Give axes the look that all plots share."""
    axes.spines[['top', 'right']].set_visible(False)
    axes.spines[['left', 'bottom']].set_color(MUTED)
    axes.tick_params(colors=INK, length=3, labelsize=9)
    axes.grid(True, color='#E6E8EB', linewidth=0.8)
    axes.set_axisbelow(True)


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure, whole or not at all; its folder is made, its suffix is the format (PNG without one)."""
    target = Path(path)
    for text in figure.findobj(Text):
        # Names may hold dollars; only the labels of logarithmic axes are formulas.
        if '$' in text.get_text() and not _TICK.fullmatch(text.get_text()):
            text.set_parse_math(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=target.suffix[1:] or None)
    write_bytes(target, buffer.getvalue())
    return target


def curve_style(number: int | None) -> dict[str, Any]:
    """Look of the n-th curve of a plot; None: of the one that stands out."""
    if number is None:
        # Under the others, so that curves on top of each other stay visible.
        return {'color': INK, 'linewidth': 4.4, 'zorder': 2.5}
    return {
        'color': PALETTE[number % len(PALETTE)],
        'linestyle': DASHES[number // len(PALETTE) % len(DASHES)],
        # Later curves are narrower, so that one that lies on an earlier one leaves its edges visible.
        'linewidth': max(1.2, 3.2 - 0.55 * number),
        'zorder': 3,
    }


def plot_roc(
    curves: Mapping[str, RocCurve],
    path: str | os.PathLike[str],
    *,
    title: str = 'ROC',
    emphasize: str | None = 'overall',
) -> Path:
    """Plot ROC curves, the part with few false positives enlarged beside the whole.

    Args:
        curves: Curves by name, in the order of the legend.
        path: The picture; its suffix is the format (.png, .pdf, .svg).
        title: Title above the plot.
        emphasize: The curve that is drawn thick and in black; None: none.

    Returns:
        The path.

    Raises:
        InputError: There are no curves.
    """
    if not curves:
        raise InputError('curves is empty: give at least one ROC curve')
    figure = new_figure(9.6, 4.9)
    whole, low = figure.subplots(1, 2)
    others = [name for name in curves if name != emphasize]
    width = max(len(name) for name in curves)
    for name, curve in curves.items():
        style = curve_style(others.index(name) if name in others else None)
        label = f'{name:<{width}}  {100 * curve.auc:6.2f} %'
        for axes in (whole, low):
            axes.plot(curve.fpr, curve.tpr, label=label, **style)
    for axes in (whole, low):
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (2, 3)), zorder=2)
        axes.plot([0, 1], [1, 0], color='#D5D8DC', linewidth=1, zorder=1)
        axes.set_xlabel('false positive rate (genuine called fake)', color=INK)
        axes.set_box_aspect(1)
        polish(axes)
    whole.text(
        *(0.42, 0.6, 'equal errors'),
        rotation=-45,
        fontsize=7.5,
        color=MUTED,
        ha='center',
        va='center',
    )
    whole.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    whole.set_ylabel('true positive rate (fakes found)', color=INK)
    whole.set_title(title, color=INK, fontsize=11, loc='left')
    lowest = min(float(np.interp(0.02, curve.fpr, curve.tpr)) for curve in curves.values())
    bottom = min(np.floor(10 * lowest) / 10, 0.8)
    margin = (1 - bottom) / 100
    low.set(xlim=(-0.002, 0.202), ylim=(bottom - margin, 1 + margin))
    low.xaxis.set_major_locator(MultipleLocator(0.05))
    low.set_title('the same at low false positive rates', color=INK, fontsize=11, loc='left')
    add_figure_legend(whole, 'lower right', 'area under the curve')
    return save_figure(figure, path)


def add_figure_legend(axes: Any, place: str, title: str) -> None:
    """Add the legend of curves whose labels end in figures, which stand below each other.

    Args:
        axes: Matplotlib axes.
        place: Matplotlib's ``loc``.
        title: Heading, which says what the figures are.
    """
    axes.legend(
        loc=place,
        title=title,
        prop={'family': 'DejaVu Sans Mono', 'size': 8},
        title_fontsize=8.5,
        frameon=True,
        facecolor='white',
        edgecolor='none',
        framealpha=0.9,
    )


def plot_score_histograms(
    groups: Mapping[str, tuple[FloatArray, FloatArray]],
    path: str | os.PathLike[str],
    *,
    title: str = 'Scores',
    unit: str = 'videos',
    threshold: float = 0.5,
    bins: int = 20,
) -> Path:
    """Plot how the scores of genuine and fake members lie, a panel for every group.

    Args:
        groups: By name, the scores of the genuine and of the fake members, probabilities.
            Each is (n,).
        path: The picture; its suffix is the format.
        title: Title above the panels.
        unit: What is counted: 'videos' or 'frames'.
        threshold: Drawn as a line.
        bins: Bars from 0 to 1.

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
        _histogram_panel(axes, genuine, fake, np.linspace(0, 1, bins + 1), threshold)
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


def _histogram_panel(
    axes: Axes, genuine: FloatArray, fake: FloatArray, edges: FloatArray, threshold: float
) -> None:
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
