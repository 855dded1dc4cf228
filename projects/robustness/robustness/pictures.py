# SPDX-License-Identifier: Apache-2.0
"""Pictures: AUC against level, and every distortion at every level on one face."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from iid_mm.datasets.functional.distortion import CLEAN, DISTORTIONS, LEVELS, psnr, strength
from iid_mm.datasets.transforms import DistortFace, LoadForgeryPair
from iid_mm.errors import InputError
from iid_mm.utils.typing import ImageArray
from iid_mm.visualization.drawing import BLUE, image_grid, write_picture
from iid_mm.visualization.plots import save_figure
from robustness.datasets import VideoForgeryDataset
from robustness.functional.summary import Summary

# Okabe and Ito's palette without black and yellow; markers tell apart what shares a color.
_COLORS = ('#0072B2', '#E69F00', '#009E73', '#CC79A7', '#56B4E9', '#D55E00')
_MARKERS = ('o', 's', '^', 'D', 'v', 'P', 'X', '*')
_INK, _MUTED = '#22242A', '#8A8F98'


def plot_curves(summary: Summary, path: str | os.PathLike[str], *, title: str = 'Robustness') -> Path:
    """Plot the video AUC against the level, one line a distortion, their mean and chance.

    Args:
        summary: The figures.
        path: The picture; its suffix is the format (.png, .pdf, .svg).
        title: Title above the plot.

    Returns:
        The path.
    """
    figure = Figure(figsize=(8.4, 4.8), dpi=150, layout='constrained', facecolor='white')
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    levels = [CLEAN, *summary.levels]
    order = {kind: number for number, kind in enumerate(DISTORTIONS)}
    lowest = 50.0
    for kind in sorted(summary.kinds, key=lambda kind: summary.kind_drops[kind].value):
        values = [100 * summary.clean.value] + [
            100 * summary.cells[kind, n].auc.value for n in summary.levels
        ]
        lowest = min(lowest, *values)
        number = order[kind]
        axes.plot(
            levels,
            values,
            label=f'{DISTORTIONS[kind].title}  {_points(summary.kind_drops[kind].value)}',
            color=_COLORS[number % len(_COLORS)],
            linestyle='-' if number < len(_COLORS) else '--',
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=4.5,
            linewidth=1.6,
        )
    means = [100 * summary.mean_auc(level) for level in levels]
    label = f'mean  {_points(summary.mean_drop.value)}'
    axes.plot(levels, means, label=label, color=_INK, linewidth=2.6, zorder=4)
    axes.axhline(50, color=_MUTED, linewidth=1, linestyle=(0, (2, 3)))
    axes.text(levels[-1], 50.6, 'chance', color=_MUTED, fontsize=8, ha='right')
    axes.set(ylim=(max(0.0, math.floor(lowest / 5 - 0.4) * 5), 101.5), xticks=levels)
    axes.set_xticklabels(['clean' if level == CLEAN else str(level) for level in levels])
    axes.set_xlabel('level', color=_INK)
    axes.set_ylabel('video AUC (%)', color=_INK)
    axes.set_title(title, color=_INK, fontsize=11, loc='left')
    axes.spines[['top', 'right']].set_visible(False)
    axes.spines[['left', 'bottom']].set_color(_MUTED)
    axes.tick_params(colors=_INK, length=3, labelsize=9)
    axes.grid(True, color='#E6E8EB', linewidth=0.8)
    axes.set_axisbelow(True)
    figure.legend(
        loc='outside right upper', title='mean drop', fontsize=8.5, title_fontsize=8.5, frameon=False
    )
    return save_figure(figure, path)


def _points(value: float) -> str:
    """A difference in percentage points; what rounds to nothing has no minus."""
    return f'{round(100 * value, 1) + 0.0:+.1f}'


def distorted_crops(
    dataset: VideoForgeryDataset, index: int, kinds: Sequence[str], levels: Sequence[int] = LEVELS
) -> tuple[ImageArray, dict[tuple[str, int], ImageArray]]:
    """Apply all distortions to one sample.

    Args:
        dataset: The clean set, without a pipeline.
        index: Number of the sample.
        kinds: Names of distortions.
        levels: Levels of each.

    Returns:
        The stored crop, and its distorted versions by kind and level.
    """
    load = LoadForgeryPair(with_source=False)

    def sample() -> dict[str, Any]:
        return dict(load.transform(dataset.get_data_info(index)))

    found = {
        (kind, level): DistortFace(kind, level).transform(sample())['img']
        for kind in kinds
        for level in levels
    }
    return sample()['img'], found


def distortion_sheet(
    clean: ImageArray, distorted: dict[tuple[str, int], ImageArray], *, cell: int = 200
) -> ImageArray:
    """Lay out the distorted versions of one crop: a row a distortion, a column a level, the clean crop first.

    Args:
        clean: The crop.
        distorted: From :func:`distorted_crops`.
        cell: Edge of a tile, px.

    Returns:
        The picture; below every tile stand the strength and the PSNR against the clean crop.

    Raises:
        InputError: Nothing to show.
    """
    if not distorted:
        raise InputError('nothing to show: give at least one distortion')
    kinds = list(dict.fromkeys(kind for kind, _ in distorted))
    levels = sorted({level for _, level in distorted})
    images, captions = [], []
    for kind in kinds:
        images.append(clean)
        captions.append([DISTORTIONS[kind].title, DISTORTIONS[kind].parameter])
        for level in levels:
            image = distorted[kind, level]
            images.append(image)
            captions.append([f'{level}: {strength(kind, level):g}', f'PSNR {psnr(clean, image):.1f} dB'])
    accents = [BLUE if number % (1 + len(levels)) == 0 else None for number in range(len(images))]
    return image_grid(images, captions, columns=1 + len(levels), cell=cell, accents=accents)


def write_sheet(
    dataset: VideoForgeryDataset, path: Path, kinds: Sequence[str], levels: Sequence[int] = LEVELS
) -> Path:
    """Write the sheet of the first genuine face of a set.

    Args:
        dataset: The clean set, without a pipeline.
        path: The picture.
        kinds: Names of distortions.
        levels: Levels of each.

    Returns:
        The path.
    """
    index = next((i for i in range(len(dataset)) if dataset.get_data_info(i)['gt_label'] == 0), 0)
    sheet = distortion_sheet(*distorted_crops(dataset, index, kinds, levels))
    write_picture(path, sheet)
    return path
