# SPDX-License-Identifier: Apache-2.0
"""Table, JSON and picture of the controlled study, from the metrics of its runs.

AUC metrics are computed from concordant pairs by person (K people): with C[i, j] the concordant pairs of
fakes of i and genuine videos of j, P[i, j] all of them, and weights f, g of the people's fakes and genuine
videos, AUC = f C g / f P g. Intervals: bootstrap over seeds and, within a seed, over people; percentile
method.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from identity_leakage.confounding import confound_weights
from iid_mm.errors import InputError
from iid_mm.identity.shift import concordance, intraclass_correlation
from iid_mm.visualization.plots import INK, PALETTE, new_figure, polish, save_figure

Array = npt.NDArray[np.float64]
Sample = tuple[Array, Array]
"""Of R resamples: numerators and denominators of an AUC."""

VIDEOS, METRICS = 'videos.parquet', 'metrics.json'
"""What a run leaves; the metrics are written last."""

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
    """What a finished run has left."""

    def __init__(self, folder: Path) -> None:
        self.arm, confound, seed = folder.parts[-3:]
        self.confound = float(confound.removeprefix('confound_'))
        self.seed = int(seed.removeprefix('seed_'))
        columns = pq.read_table(folder / VIDEOS, partitioning=None).to_pydict()
        self.videos = {name: np.array(values) for name, values in columns.items()}
        self.metrics: dict[str, Any] = json.loads((folder / METRICS).read_text())

    def rows(self, name: str) -> npt.NDArray[np.bool_]:
        """(V,) the videos that one of :data:`AUCS` is about."""
        videos = self.videos
        unseen, genuine = videos['method'] == UNSEEN, videos['label'] == 0
        wanted = genuine | (unseen if name == 'unseen_method' else ~unseen)
        if name == 'group':
            wanted = genuine
        return np.asarray(wanted & (videos['people'] == ('new' if name == 'new_people' else 'seen')))

    def num_people(self, name: str) -> int:
        """K: people that one of :data:`AUCS` is about."""
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


def resampled(runs: list[Run], name: str, value: Callable[[Run, Array], Array], seed: int = 0) -> Array:
    """(R,) means over seeds and people drawn with replacement."""
    generator = np.random.Generator(np.random.PCG64(seed))
    parts = []
    for run in runs:
        people = run.num_people(name)
        draws = generator.multinomial(people, np.full(people, 1 / people), RESAMPLES)
        parts.append(value(run, draws.astype(float)))
    chosen = generator.multinomial(len(runs), np.full(len(runs), 1 / len(runs)), RESAMPLES)
    return np.asarray((np.stack(parts, axis=1) * chosen).sum(axis=1) / len(runs))


def interval(values: Array) -> tuple[float, float]:
    """95 % percentile interval."""
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)


def _metric(values: list[float], low: float, high: float) -> dict[str, Any]:
    return {'mean': float(np.mean(values)), 'low': low, 'high': high, 'seeds': values}


def summarize(runs: list[Run]) -> dict[str, Any]:
    """Metrics of all arms and confounds."""
    cells: dict[tuple[float, str], list[Run]] = defaultdict(list)
    for run in runs:
        cells[run.confound, run.arm].append(run)
    rows: list[dict[str, Any]] = []
    for (confound, arm), own in sorted(
        cells.items(), key=lambda item: (-item[0][0], ORDER.index(item[0][1]))
    ):
        row: dict[str, Any] = {'confound': confound, 'arm': arm, 'seeds': [run.seed for run in own]}
        for name in AUCS:
            values = [float(run.auc(name)[0]) for run in own]
            low, high = interval(resampled(own, name, lambda run, w, name=name: run.auc(name, w)))
            row[name] = _metric(values, low, high)
        for name in OTHERS:
            values = [run.other(name) for run in own]
            row[name] = _metric(values, min(values), max(values))
        base = {run.seed: run for run in cells.get((confound, 'baseline'), [])}
        pairs = [run for run in own if run.seed in base]
        if arm != 'baseline' and pairs:
            for name in ('broken', 'reversed', 'group'):

                def gain(run: Run, weights: Array | None = None, name: str = name, base: Any = base) -> Array:
                    return run.auc(name, weights) - base[run.seed].auc(name, weights)

                values = [float(gain(run)[0]) for run in pairs]
                low, high = interval(resampled(pairs, name, gain))
                row[f'{name}_gain'] = _metric(values, low, high)
        rows.append(row)
    return {'rows': rows, 'resamples': RESAMPLES}


def _cell(found: dict[str, Any], signed: bool = False) -> str:
    if not np.isfinite(found['mean']):
        return '–'
    form = '{:+.1f}' if signed else '{:.1f}'
    low, high = (form.format(100 * found[key]) for key in ('low', 'high'))
    return f'{form.format(100 * found["mean"])} ({low} to {high})'


def table(summary: dict[str, Any], names: dict[str, str], signed: bool = False) -> str:
    """Markdown table, percent."""
    names = {name: title for name, title in names.items() if any(name in row for row in summary['rows'])}
    lines = [f'| confound | arm | {" | ".join(names.values())} | seeds |', '|' + '---|' * (len(names) + 3)]
    for row in summary['rows']:
        if not any(name in row for name in names):
            continue
        cells = ' | '.join(_cell(row[name], signed) if name in row else '' for name in names)
        lines.append(f'| {row["confound"]:g} | {TITLES[row["arm"]]} | {cells} | {len(row["seeds"])} |')
    return '\n'.join(lines)


def draw(summary: dict[str, Any], path: Path) -> None:
    """AUC against the confound: in distribution, broken, reversed, and how well the score tells F from G."""
    names = ('in_distribution', 'broken', 'reversed', 'group')
    metric = new_figure(12, 3.8)
    axes = metric.subplots(1, len(names))
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
    metric.legend(*axes[0].get_legend_handles_labels(), loc='outside lower center', ncols=7, frameon=False)
    save_figure(metric, path)


def write_report(root: Path) -> Path:
    """Write report.md, report.json and report.png of a study."""
    summary = summarize(read_runs(root))
    (root / 'report.json').write_text(json.dumps(summary, indent=1) + '\n')
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
    path.write_text(text + '\n')
    draw(summary, root / 'report.png')
    return path
