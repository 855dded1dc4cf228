# SPDX-License-Identifier: Apache-2.0
"""Table, JSON and plot of identity probes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from iid_mm.identity.features import PIXELS
from iid_mm.identity.probe_runs import (
    BACKGROUND,
    MEANINGS,
    SHUFFLED,
    TRAINED,
    UNTRAINED,
    ProbeReport,
)
from iid_mm.identity.recognizer import RECOGNIZER
from iid_mm.identity.shift_report import written
from iid_mm.utils.files import write_json, write_text
from iid_mm.utils.tables import markdown_table
from iid_mm.visualization.plots import INK, MUTED, PALETTE, new_figure, polish, save_figure

_COLORS = dict(
    zip((TRAINED, UNTRAINED, PIXELS, BACKGROUND, RECOGNIZER, SHUFFLED), (*PALETTE[:5], MUTED), strict=True)
)


def probe_table(report: ProbeReport) -> str:
    """Markdown table of the accuracies, with notes below it."""
    accuracies = ('top-1', 'top-5', 'clip top-1', 'over splits', 'selectivity')
    table = [['source', 'feature', *accuracies, 'variance', 'rank']]
    shuffled = {row.feature: row.result.top1.value for row in report.rows if row.source == SHUFFLED}
    for row in report.rows:
        found = row.result
        has_control = row.source == TRAINED and row.feature in shuffled
        metrics = [
            written(found.top1),
            f'{found.top5.value:.3f}',
            f'{found.clip_top1.value:.3f}',
            f'{found.seed_low:.3f}-{found.seed_high:.3f}',
            f'{found.top1.value - shuffled[row.feature]:.3f}' if has_control else '',
            f'{found.variance_share:.3f}',
            f'{found.rank:.1f}',
        ]
        table.append([row.source, row.feature, *metrics])
    first = report.rows[0].result
    lines = [
        *markdown_table(table),
        '',
        f'{first.identities} identities, {first.clips} clips, {first.faces} faces; chance: top-1 '
        f'{first.chance:.3f}, top-5 {first.chance5:.3f}. Accuracies on frames of clips that the probe was '
        'not fitted on, mean over identities; in brackets the bootstrap interval over identities; "over '
        'splits": lowest and highest split. Selectivity: top-1 minus that of shuffled identities. '
        'Variance: share of the variance of clip means that lies between identities. Rank: effective number '
        'of dimensions; a low accuracy of a collapsed feature is no merit.',
        '',
    ]
    used = {row.source for row in report.rows}
    lines += [f'* {source}: {meaning}.' for source, meaning in MEANINGS.items() if source in used]
    lines += [f'* {source}: left out ({reason}).' for source, reason in report.skipped.items()]
    lines += [f'* Note: {note}' for note in report.notes]
    return '\n'.join(lines) + '\n'


def write_report(report: ProbeReport, folder: str | os.PathLike[str], facts: dict[str, Any]) -> list[Path]:
    """Write ``identity_probe.{json,md,png}``.

    Args:
        report: The accuracies.
        folder: The folder; it is made.
        facts: Settings, for the JSON.

    Returns:
        The files.
    """
    folder = Path(folder)
    rows = [{'source': row.source, 'feature': row.feature, **row.result.as_dict()} for row in report.rows]
    content = {**facts, 'notes': report.notes, 'skipped': report.skipped, 'rows': rows}
    json_file, table = folder / 'identity_probe.json', folder / 'identity_probe.md'
    write_json(json_file, content)
    write_text(table, probe_table(report))
    return [json_file, table, plot_probe(report, folder / 'identity_probe.png')]


def plot_probe(report: ProbeReport, path: str | os.PathLike[str]) -> Path:
    """Bars of top-1 accuracy by feature, one color a source, with intervals and the chance line.

    Args:
        report: The accuracies.
        path: File of the plot.

    Returns:
        The path.
    """
    features = list(dict.fromkeys(row.feature for row in report.rows))
    groups = {name: [row for row in report.rows if row.feature == name] for name in features}
    figure = new_figure(max(7.0, 0.2 * len(report.rows) + 2.5), 4.4)
    axes = figure.add_subplot()
    place, middles, seen = 0.0, [], set()
    for name in features:
        begin = place
        for row in groups[name]:
            top1 = row.result.top1
            label = None if row.source in seen else row.source
            seen.add(row.source)
            axes.bar(place, top1.value, 0.9, color=_COLORS[row.source], label=label)
            error = np.maximum([[top1.value - top1.low], [top1.high - top1.value]], 0)
            axes.errorbar(place, top1.value, error, color=INK, linewidth=1, capsize=2)
            place += 1
        middles.append((begin + place - 1) / 2)
        place += 0.9
    chance = report.rows[0].result.chance
    axes.axhline(chance, color=INK, linestyle=(0, (4, 2)), linewidth=1.2, label=f'chance {chance:.3f}')
    axes.set_xlim(-1, place - 0.9)
    polish(axes)
    axes.grid(False, axis='x')
    many = len(features) > 6
    axes.set_xticks(middles, features, rotation=30 if many else 0, ha='right' if many else 'center')
    axes.set_ylim(0, 1.02)
    axes.set_ylabel('identities recognized (top-1)', color=INK)
    first = report.rows[0].result
    axes.set_title(
        f'Identity in features: {first.identities} people, clips not seen by the probe',
        color=INK,
        fontsize=11,
    )
    figure.legend(loc='outside lower center', ncols=7, frameon=False, fontsize=9)
    return save_figure(figure, path)
