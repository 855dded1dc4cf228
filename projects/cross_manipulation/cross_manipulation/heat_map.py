# SPDX-License-Identifier: Apache-2.0
"""The matrix as a heat map."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cross_manipulation.matrix import TITLES, Matrix, Row, Section, Summary
from iid_mm.visualization.plots import save_figure

INK, SEEN = '#22242A', '#E69F00'
# One hue from light to dark, even in lightness: also right in print without color.
COLORS = ('#F4F7FA', '#CFE0EE', '#9CC3DF', '#5F9FCB', '#2F77B0', '#144F86', '#0A2F57')
CELL_WIDTH, CELL_HEIGHT = 1.12, 0.56
GAP = 0.18
"""Inches a cell, and cells between the manipulations and their mean."""


def plot_matrix(matrix: Matrix, path: str | os.PathLike[str], *, metric: str = 'video_auc') -> Path:
    """Draw a panel for every config: trained on (rows) x tested on (columns), the metric in each cell.

    Cells of manipulations that were trained on are outlined. The mean over unseen ones is set apart.

    Args:
        matrix: The metrics.
        path: The plot; its suffix is the format.
        metric: An AUC, by name.

    Returns:
        The path.
    """
    rows, columns = len(matrix.sections[0].rows), len(matrix.columns)
    across = 1 if len(matrix.sections) == 1 or columns > 6 else 2
    down = -(-len(matrix.sections) // across)
    longest = max(len(row.train_set.label) for row in matrix.sections[0].rows)
    panel = (CELL_WIDTH * (columns + 1 + GAP), CELL_HEIGHT * rows)
    width = 0.9 + across * panel[0] + (across - 1) * 0.25 + 0.085 * longest + 0.9
    height = 1.25 + down * (panel[1] + 0.42) + 0.65
    figure = Figure(figsize=(max(width, 6.0), height), dpi=150, facecolor='white')
    FigureCanvasAgg(figure)
    figure.set_layout_engine('constrained', w_pad=0.1, h_pad=0.08)
    colors = LinearSegmentedColormap.from_list('auc', COLORS)
    norm = Normalize(_lowest(matrix, metric), 100)
    panels = figure.subplots(down, across, squeeze=False)
    for number, axes in enumerate(panels.flat):
        if number >= len(matrix.sections):
            axes.set_visible(False)
            continue
        section = matrix.sections[number]
        _panel(axes, section, matrix, metric, colors, norm)
        axes.set_title(section.name, color=INK, fontsize=11, loc='left', fontweight='bold', pad=8)
        axes.tick_params(labelleft=number % across == 0, labelbottom=number + across >= len(matrix.sections))
    spread = ' ± standard deviation' if len(matrix.seeds) > 1 else ''
    seeds = f'{len(matrix.seeds)} seed' + ('s' if len(matrix.seeds) > 1 else '')
    figure.suptitle(
        f'{TITLES[metric]} in %, mean{spread} over {seeds}; outlined in orange: seen in training',
        x=0.01,
        ha='left',
        color=INK,
        fontsize=10.5,
    )
    figure.supxlabel('tested on', color=INK, fontsize=10)
    figure.supylabel('trained on', color=INK, fontsize=10)
    bar = figure.colorbar(ScalarMappable(norm, colors), ax=panels, aspect=30, pad=0.015, fraction=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=INK, labelsize=8.5, length=2)
    bar.set_label(f'{TITLES[metric]} (%)', color=INK, fontsize=9)
    # In one step: the table is rewritten while somebody looks at it.
    return save_figure(figure, path)


def _lowest(matrix: Matrix, metric: str) -> float:
    """Lower end of the colors: chance, or below it where metrics are lower."""
    means = [
        100 * cell.mean
        for section in matrix.sections
        for row in section.rows
        for cell in row.cells[metric]
        if cell.mean is not None
    ]
    return min(50.0, *(10 * (mean // 10) for mean in means)) if means else 50.0


def _panel(
    axes: Axes, section: Section, matrix: Matrix, metric: str, colors: Colormap, norm: Normalize
) -> None:
    count, last = len(matrix.columns), len(matrix.columns) + GAP
    for y, row in enumerate(section.rows):
        for x, (cell, seen) in enumerate(zip(row.cells[metric], row.seen, strict=True)):
            _cell(axes, x, y, cell, row, colors, norm, outlined=seen)
        if not all(row.seen):
            _cell(axes, last, y, row.unseen[metric], row, colors, norm, bold=True)
    names = [column.name.replace('/', '/\n') for column in matrix.columns]
    axes.set_xticks([*(x + 0.5 for x in range(count)), last + 0.5], [*names, 'mean of\nunseen'])
    axes.set_yticks(
        [y + 0.5 for y in range(len(section.rows))], [row.train_set.label for row in section.rows]
    )
    axes.tick_params(length=0, colors=INK, labelsize=9)
    axes.set(xlim=(-0.03, last + 1.03), ylim=(len(section.rows) + 0.04, -0.04))
    for spine in axes.spines.values():
        spine.set_visible(False)


def _cell(
    axes: Axes,
    x: float,
    y: float,
    summary: Summary,
    row: Row,
    colors: Colormap,
    norm: Normalize,
    *,
    outlined: bool = False,
    bold: bool = False,
) -> None:
    """Draw one cell with its metric, or with the reason why there is none."""
    known = summary.mean is not None
    value = 100 * (summary.mean or 0.0)
    face = colors(norm(value)) if known else (0.96, 0.96, 0.96, 1.0)
    axes.add_patch(Rectangle((x + 0.015, y + 0.03), 0.97, 0.94, facecolor=face, edgecolor='none'))
    if not known:
        axes.add_patch(
            Rectangle((x + 0.015, y + 0.03), 0.97, 0.94, fill=False, edgecolor='#D5D8DC', hatch='////', lw=0)
        )
    if outlined:
        axes.add_patch(Rectangle((x + 0.035, y + 0.07), 0.93, 0.86, fill=False, edgecolor=SEEN, lw=2.2))
    color = 'white' if known and _luminance(face) < 0.3 else INK
    lines = _lines(summary, row.outcomes, value)
    offset = 0.13 if len(lines) > 1 else 0.0
    axes.text(
        *(x + 0.5, y + 0.5 - offset, lines[0]),
        ha='center',
        va='center',
        color=color if known else '#5B606A',
        fontsize=10 if known else 8.5,
        fontweight='bold' if bold else 'normal',
    )
    if len(lines) > 1:
        axes.text(x + 0.5, y + 0.73, lines[1], ha='center', va='center', color=color, fontsize=7.5)


def _luminance(face: tuple[float, ...]) -> float:
    """Luminance of a color, 0 to 1, by which text on it is dark or white."""
    red, green, blue = (((value + 0.055) / 1.055) ** 2.4 for value in face[:3])
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _lines(summary: Summary, outcomes: Sequence[str], value: float) -> list[str]:
    """The metric, and below it its spread and how many runs are missing."""
    if summary.mean is None:
        return ['failed' if 'failed' in outcomes else 'pending']
    below = f'± {100 * summary.std:.1f}' if summary.std is not None else ''
    if len(summary.known) < len(summary.values):
        below += f' ({len(summary.known)} of {len(summary.values)})'
    return [f'{value:.1f}', *([below.strip()] if below else [])]
