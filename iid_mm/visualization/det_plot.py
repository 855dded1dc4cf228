# SPDX-License-Identifier: Apache-2.0
"""Detection error trade-off: false alarms against misses on axes that spread small rates out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator
from scipy import special

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.roc import RocCurve
from iid_mm.utils.typing import FloatArray
from iid_mm.visualization.plots import (
    INK,
    MUTED,
    add_figure_legend,
    curve_style,
    new_figure,
    polish,
    save_figure,
)

_TICKS = (0.0001, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9)
_HIGHEST = 0.9
_ROOM = 0.06
"""Least distance of a tick from the labeled edge, part of the axis."""


def plot_det(
    curves: Mapping[str, RocCurve],
    path: str | os.PathLike[str],
    *,
    title: str = 'Detection error trade-off',
    emphasize: str | None = 'overall',
    lowest: float = 0.001,
) -> Path:
    """Plot DET curves: both error rates on normal deviate scales (Martin et al. 1997).

    Args:
        curves: Curves by name, in the order of the legend.
        path: The picture; its suffix is the format.
        title: Title above the plot.
        emphasize: The curve that is drawn thick and in black; None: none.
        lowest: Rate at the axes' lower ends, in (0, 0.1]. Smaller rates, 0 among them, have no place on
            such a scale and are drawn on the edge, which is labeled so.

    Returns:
        The path.

    Raises:
        InputError: There are no curves, or ``lowest`` is out of range.
    """
    if not curves:
        raise InputError('curves is empty: give at least one ROC curve')
    if not 0 < lowest <= 0.1:
        raise InputError(f'lowest={lowest!r}: must lie in (0, 0.1]')
    figure = new_figure(6.4, 6.2)
    axes = figure.subplots()
    others = [name for name in curves if name != emphasize]
    width = max(len(name) for name in curves)
    for name, curve in curves.items():
        style = curve_style(others.index(name) if name in others else None)
        label = f'{name:<{width}}  {100 * curve.eer:6.2f} %'
        # Steps, not slopes: between two thresholds one of the rates stays what it is.
        x, y = _deviates(curve.fpr, lowest), _deviates(1 - curve.tpr, lowest)
        axes.plot(x, y, label=label, drawstyle='steps-post', clip_on=False, **style)
    ends = _deviates(np.array([lowest, _HIGHEST]), lowest)
    axes.plot(ends, ends, color='#D5D8DC', linewidth=1, zorder=1)
    place = float(special.ndtri(0.3))
    note: dict[str, Any] = {'rotation': 45, 'fontsize': 7.5, 'color': MUTED, 'ha': 'center', 'va': 'bottom'}
    axes.text(place, place, 'equal errors', rotation_mode='anchor', **note)
    for axis in (axes.xaxis, axes.yaxis):
        _scale(axis, lowest)
    axes.set(xlim=ends, ylim=ends)
    _label(axes, title)
    add_figure_legend(axes, 'upper right', 'equal error rate')
    return save_figure(figure, path)


def _deviates(rates: FloatArray, lowest: float) -> FloatArray:
    limited = np.clip(rates, lowest, _HIGHEST)
    return np.asarray(special.ndtri(limited), dtype=np.float64)


def _scale(axis: Axis, lowest: float) -> None:
    edge = float(special.ndtri(lowest))
    room = _ROOM * (float(special.ndtri(_HIGHEST)) - edge)
    ticks = [tick for tick in _TICKS if special.ndtri(tick) > edge + room]
    axis.set_major_locator(FixedLocator([edge, *special.ndtri(ticks)]))
    axis.set_major_formatter(
        FixedFormatter([f'≤ {100 * lowest:.2g}', *(f'{100 * tick:g}' for tick in ticks)])
    )
    axis.set_minor_locator(NullLocator())


def _label(axes: Axes, title: str) -> None:
    axes.set_xlabel('genuine called fake (%)', color=INK)
    axes.set_ylabel('fakes called genuine (%)', color=INK)
    axes.set_title(title, color=INK, fontsize=11, loc='left')
    axes.set_box_aspect(1)
    polish(axes)
