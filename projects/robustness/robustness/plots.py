# SPDX-License-Identifier: Apache-2.0
"""Plot of AUC against level, and an image of every distortion at every level on one face."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from iid_mm.datasets.functional.distortion import CLEAN, DISTORTIONS, psnr, strength
from iid_mm.datasets.transforms import DistortFace, LoadForgeryPair
from iid_mm.utils.typing import ImageArray
from iid_mm.visualization.drawing import BLUE, Color
from iid_mm.visualization.image_grid import image_grid
from iid_mm.visualization.plots import INK, MUTED, PALETTE, new_figure, polish, save_figure
from robustness.grid import Cell
from robustness.summary import Summary
from robustness.video_forgery_dataset import VideoForgeryDataset

_MARKERS = ('o', 's', '^', 'D', 'v', 'P', 'X', '*')


def plot_curves(summary: Summary, path: str | os.PathLike[str], *, title: str = 'Robustness') -> Path:
    """Plot the video AUC against the level, one line a distortion, their mean and chance.

    Args:
        summary: The metrics.
        path: The plot; its suffix is the format (.png, .pdf, .svg).
        title: Title above the plot.

    Returns:
        The path.
    """
    figure = new_figure(8.4, 4.8)
    axes = figure.subplots()
    levels = [CLEAN, *summary.levels]
    order = {kind: number for number, kind in enumerate(DISTORTIONS)}
    lowest = 50.0
    for kind in sorted(summary.kinds, key=lambda kind: summary.kind_drops[kind].value):
        aucs = [summary.clean, *(summary.cells[Cell(kind, level)].auc for level in summary.levels)]
        values = [100 * auc.value for auc in aucs]
        lowest = min(lowest, *values)
        number = order[kind]
        axes.plot(
            levels,
            values,
            label=f'{DISTORTIONS[kind].title}  {_points(summary.kind_drops[kind].value)}',
            color=PALETTE[number % len(PALETTE)],
            linestyle='-' if number < len(PALETTE) else '--',
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=4.5,
            linewidth=1.6,
        )
    means = [100 * summary.mean_auc(level) for level in levels]
    label = f'mean  {_points(summary.mean_drop.value)}'
    axes.plot(levels, means, label=label, color=INK, linewidth=2.6, zorder=4)
    axes.axhline(50, color=MUTED, linewidth=1, linestyle=(0, (2, 3)))
    axes.text(levels[-1], 50.6, 'chance', color=MUTED, fontsize=8, ha='right')
    axes.set(ylim=(max(0.0, math.floor(lowest / 5 - 0.4) * 5), 101.5), xticks=levels)
    axes.set_xticklabels(['clean' if level == CLEAN else str(level) for level in levels])
    polish(axes, title=title, xlabel='level', ylabel='video AUC (%)')
    figure.legend(
        loc='outside right upper', title='mean drop', fontsize=8.5, title_fontsize=8.5, frameon=False
    )
    return save_figure(figure, path)


def _points(value: float) -> str:
    """A difference in percentage points, without a minus if it rounds to 0."""
    return f'{round(100 * value, 1) + 0.0:+.1f}'


def distortion_sheet(dataset: VideoForgeryDataset, cells: Sequence[Cell], *, size: int = 200) -> ImageArray:
    """Show all distortions of the first genuine face of a set.

    Args:
        dataset: The clean set, without a pipeline.
        cells: The distortions, ordered by kind and level; each kind at the same levels.
        size: Edge of a tile, px.

    Returns:
        A row for each kind, the clean crop first; below every tile its strength and PSNR.
    """
    index = next((i for i in range(len(dataset)) if dataset.get_data_info(i)['gt_label'] == 0), 0)
    load = LoadForgeryPair(with_source=False)
    clean = load.transform(dataset.get_data_info(index))['img']
    images: list[ImageArray] = []
    captions: list[list[str]] = []
    accents: list[Color | None] = []
    for number, cell in enumerate(cells):
        if number == 0 or cell.kind != cells[number - 1].kind:
            images.append(clean)
            captions.append([DISTORTIONS[cell.kind].title, DISTORTIONS[cell.kind].parameter])
            accents.append(BLUE)
        sample = load.transform(dataset.get_data_info(index))
        image = DistortFace(cell.kind, cell.level).transform(sample)['img']
        images.append(image)
        value = strength(cell.kind, cell.level)
        captions.append([f'{cell.level}: {value:g}', f'PSNR {psnr(clean, image):.1f} dB'])
        accents.append(None)
    columns = 1 + len({cell.level for cell in cells})
    return image_grid(images, captions, columns=columns, cell=size, accents=accents)
