# SPDX-License-Identifier: Apache-2.0
"""Table, JSON and plot of the controlled study, from the metrics of its runs.

AUC metrics are computed from concordant pairs by person (K people): with C[i, j] the concordant pairs of
fakes of i and genuine videos of j, P[i, j] all of them, and weights f, g of the people's fakes and genuine
videos, AUC = f C g / f P g. Intervals: bootstrap over seeds and, within a seed, over people; percentile
method.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from identity_leakage.confounding import confound_weights
from iid_mm.errors import InputError
from iid_mm.identity.shift import concordance, intraclass_correlation
from iid_mm.utils.files import read_json, write_json, write_text
from iid_mm.utils.parquet import read_parquet
from iid_mm.utils.tables import UNDEFINED, markdown_table
from iid_mm.visualization.plots import INK, PALETTE, new_figure, polish, save_figure

Array = npt.NDArray[np.float64]
Sample = tuple[Array, Array]
"""Of R resamples: numerators and denominators of an AUC."""

VIDEOS, METRICS = 'videos.parquet', 'metrics.json'
"""Results of a run; the metrics are written last."""

UNSEEN = 'Face2Face'
TITLES = {
    'baseline': 'baseline',
    'mfs': '+ MFS',
    'adm': '+ ADM',
    'iid': 'IID (both)',
    'iid_local': 'IID, local level',
    'baseline_paired': 'baseline, paired',
    'iid_paired': 'IID, local level, paired',
}
ORDER = tuple(TITLES)
RESAMPLES = 1000

AUCS = {
    'in_distribution': 'in distribution',
    'broken': 'confound broken',
    'reversed': 'confound reversed',
    'unseen_method': 'broken, unseen manipulation',
    'new_people': 'new people',
    'group': 'F or G, genuine videos',
}
OTHERS = {
    'icc': 'ICC of genuine scores',
    'probe': 'probe, training people',
    'probe_new': 'probe, new people',
    'localization': 'gain in energy inside the mask',
}


class Run:
    """Results of a finished run."""

    def __init__(self, folder: Path) -> None:
        self.arm, confound, seed = folder.parts[-3:]
        self.confound = float(confound.removeprefix('confound_'))
        self.seed = int(seed.removeprefix('seed_'))
        columns = read_parquet(folder / VIDEOS).to_pydict()
        self.videos = {name: np.array(values) for name, values in columns.items()}
        self.metrics: dict[str, Any] = read_json(folder / METRICS)

    def rows(self, name: str) -> npt.NDArray[np.bool_]:
        """(V,) mask of the videos of one of :data:`AUCS`."""
        videos = self.videos
        unseen, genuine = videos['method'] == UNSEEN, videos['label'] == 0
        wanted = genuine | (unseen if name == 'unseen_method' else ~unseen)
        if name == 'group':
            wanted = genuine
        return np.asarray(wanted & (videos['people'] == ('new' if name == 'new_people' else 'seen')))

    def num_people(self, name: str) -> int:
        """K: number of people of one of :data:`AUCS`."""
        return int(np.unique(self.videos['target_id'][self.rows(name)]).size)

    def auc(self, name: str, weights: Array | None = None) -> Array:
        """One of :data:`AUCS` for R weights (R, K) of the people; None: all ones, R = 1."""
        chosen = self.rows(name)
        videos = {key: values[chosen] for key, values in self.videos.items()}
        labels = videos['in_fake_group' if name == 'group' else 'label'].astype(np.int64)
        people, codes = np.unique(videos['target_id'], return_inverse=True)
        concordant, pairs = concordance(videos['logit'], labels, codes)
        in_group = np.zeros(people.size, bool)
        in_group[codes] = videos['in_fake_group']
        confound = {'in_distribution': self.confound, 'reversed': -self.confound}.get(name, 0.0)
        fakes = confound_weights(np.ones(people.size, np.int64), in_group, confound)
        if weights is None:
            weights = np.ones((1, people.size))
        left, right = weights * fakes, weights * (1 - fakes)
        with np.errstate(invalid='ignore'):
            above = np.einsum('rk,kl,rl->r', left, concordant, right, optimize=True)
            return np.asarray(above / np.einsum('rk,kl,rl->r', left, pairs, right, optimize=True))

    def other(self, name: str) -> float:
        """One of :data:`OTHERS`; NaN where the arm has none."""
        if name == 'icc':
            rows = self.rows('group')
            found = intraclass_correlation(self.videos['logit'][rows], self.videos['target_id'][rows])
            return found.icc.value
        if name.startswith('probe'):
            probed = self.metrics['probe_new' if name == 'probe_new' else 'probe_seen']
            return float(probed.get('fused', probed['backbone'])['top1']['value'])
        metrics = self.metrics['localization']
        return float(metrics['overall']['gain_energy']) if metrics else float('nan')


def read_runs(root: Path) -> list[Run]:
    """All finished runs of a study."""
    found = sorted((root / 'runs').glob(f'*/confound_*/seed_*/{METRICS}'))
    if not found:
        raise InputError(f'{root} has no finished run yet; run projects/identity_leakage/run_study.py {root}')
    return [Run(path.parent) for path in found]


def resampled(runs: list[Run], name: str, value: Callable[[Run, Array | None], Array]) -> Array:
    """(R,) means over seeds and people drawn with replacement."""
    generator = np.random.Generator(np.random.PCG64(0))
    parts = []
    for run in runs:
        people = run.num_people(name)
        draws = generator.multinomial(people, np.full(people, 1 / people), RESAMPLES)
        parts.append(value(run, draws.astype(float)))
    chosen = generator.multinomial(len(runs), np.full(len(runs), 1 / len(runs)), RESAMPLES)
    return np.asarray((np.stack(parts, axis=1) * chosen).sum(axis=1) / len(runs))


def _with_limits(values: list[float], low: float, high: float) -> dict[str, Any]:
    return {'mean': float(np.mean(values)), 'low': low, 'high': high, 'seeds': values}


def _with_interval(runs: list[Run], name: str, value: Callable[[Run, Array | None], Array]) -> dict[str, Any]:
    """A metric of some runs with its 95 % percentile interval."""
    low, high = np.nanquantile(resampled(runs, name, value), [0.025, 0.975])
    return _with_limits([float(value(run, None)[0]) for run in runs], float(low), float(high))


def summarize(runs: list[Run]) -> dict[str, Any]:
    """Metrics of all arms and confounds."""
    cells: dict[tuple[float, str], list[Run]] = defaultdict(list)
    for run in runs:
        cells[run.confound, run.arm].append(run)
    order = sorted(cells, key=lambda cell: (-cell[0], ORDER.index(cell[1])))
    rows = [_row(cells[cell], cells.get((cell[0], 'baseline'), [])) for cell in order]
    return {'rows': rows, 'resamples': RESAMPLES}


def _row(own: list[Run], baselines: list[Run]) -> dict[str, Any]:
    """Metrics of the runs of one arm at one confound."""
    first = own[0]
    row: dict[str, Any] = {'confound': first.confound, 'arm': first.arm, 'seeds': [run.seed for run in own]}

    def auc(name: str, run: Run, weights: Array | None) -> Array:
        return run.auc(name, weights)

    base = {run.seed: run for run in baselines}

    def gain(name: str, run: Run, weights: Array | None) -> Array:
        return run.auc(name, weights) - base[run.seed].auc(name, weights)

    for name in AUCS:
        row[name] = _with_interval(own, name, partial(auc, name))
    for name in OTHERS:
        values = [run.other(name) for run in own]
        row[name] = _with_limits(values, min(values), max(values))
    paired = [run for run in own if run.seed in base]
    if first.arm != 'baseline' and paired:
        for name in ('broken', 'reversed', 'group'):
            row[f'{name}_gain'] = _with_interval(paired, name, partial(gain, name))
    return row


def _cell(found: dict[str, Any], signed: bool = False) -> str:
    if not np.isfinite(found['mean']):
        return UNDEFINED
    form = '{:+.1f}' if signed else '{:.1f}'
    low, high = (form.format(100 * found[key]) for key in ('low', 'high'))
    return f'{form.format(100 * found["mean"])} ({low} to {high})'


def table(summary: dict[str, Any], names: dict[str, str], signed: bool = False) -> str:
    """Markdown table, percent."""
    names = {name: title for name, title in names.items() if any(name in row for row in summary['rows'])}
    cells = [['confound', 'arm', *names.values(), 'seeds']]
    for row in summary['rows']:
        if any(name in row for name in names):
            metrics = [_cell(row[name], signed) if name in row else '' for name in names]
            cells.append([f'{row["confound"]:g}', TITLES[row['arm']], *metrics, str(len(row['seeds']))])
    return '\n'.join(markdown_table(cells))


def draw(summary: dict[str, Any], path: Path) -> None:
    """Plot AUC against the confound: in distribution, broken, reversed, and of the score for group F."""
    names = ('in_distribution', 'broken', 'reversed', 'group')
    figure = new_figure(12, 3.8)
    axes = figure.subplots(1, len(names))
    for axis, name in zip(axes, names, strict=True):
        for number, arm in enumerate(ORDER):
            rows = sorted(
                (row for row in summary['rows'] if row['arm'] == arm), key=lambda row: row['confound']
            )
            if not rows:
                continue
            x = np.array([row['confound'] for row in rows]) + (number - 3) * 0.012
            mean, low, high = (
                np.array([100 * row[name][key] for row in rows]) for key in ('mean', 'low', 'high')
            )
            errors = [np.maximum(mean - low, 0), np.maximum(high - mean, 0)]
            axis.errorbar(
                x,
                mean,
                errors,
                color=(*PALETTE, INK)[number],
                label=TITLES[arm],
                marker='osD^vPX'[number],
                markersize=5,
                capsize=2,
            )
        polish(axis)
        axis.set_title(AUCS[name], fontsize=10)
        axis.set_xlabel('confound of identity and label')
        axis.set_xticks(sorted({row['confound'] for row in summary['rows']}))
        if name == 'group':
            axis.axhline(50, color='0.6', linewidth=0.8, zorder=0)
    axes[0].set_ylabel('video AUC, %')
    figure.legend(*axes[0].get_legend_handles_labels(), loc='outside lower center', ncols=7, frameon=False)
    save_figure(figure, path)


def write_report(root: Path) -> Path:
    """Write report.md, report.json and report.png of a study."""
    summary = summarize(read_runs(root))
    write_json(root / 'report.json', summary)
    gains = {
        'broken_gain': 'confound broken',
        'reversed_gain': 'confound reversed',
        'group_gain': 'F or G, genuine videos',
    }
    text = '\n\n'.join(
        [
            '# Controlled study of identity leakage',
            'Video AUC, percent; in brackets 95 % bootstrap intervals over seeds and people.',
            table(summary, AUCS),
            'Difference to the baseline with the same seed, points.',
            table(summary, gains, signed=True),
            'Mean over seeds, percent; in brackets lowest and highest seed.',
            table(summary, OTHERS),
        ]
    )
    path = root / 'report.md'
    write_text(path, text + '\n')
    draw(summary, root / 'report.png')
    return path
