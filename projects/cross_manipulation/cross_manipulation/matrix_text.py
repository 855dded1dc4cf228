# SPDX-License-Identifier: Apache-2.0
"""The matrix as Markdown, JSON and CSV, with the protocol that made it."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from cross_manipulation.data_facts import LOADERS, dataset_path, dig
from cross_manipulation.matrix import METRICS, TITLES, Matrix, Row, Section, Summary
from cross_manipulation.plan import Plan, Run
from cross_manipulation.run_state import FAILED, SCORES
from iid_mm.utils.finished import read_record
from iid_mm.utils.tables import UNDEFINED, markdown_table


def cell_text(summary: Summary, outcomes: Sequence[str], *, seen: bool = False) -> str:
    """Write a metric in percent.

    Args:
        summary: The metric over seeds.
        outcomes: State of the runs, one a seed.
        seen: Write it as that of a manipulation that was trained on (in italics).

    Returns:
        Such as ``81.25 ± 0.40``, ``_99.10_``, ``81.25 (1/3, 1 failed)``, ``failed`` or ``pending``.
    """
    counts = Counter(outcomes)
    if summary.mean is None:
        if counts['failed']:
            return 'failed'
        return 'pending' if counts['pending'] else UNDEFINED
    text = f'{100 * summary.mean:.2f}'
    if summary.std is not None:
        text += f' ± {100 * summary.std:.2f}'
    if seen:
        text = f'_{text}_'
    if len(summary.known) < len(summary.values):
        failed = f', {counts["failed"]} failed' if counts['failed'] else ''
        text += f' ({len(summary.known)}/{len(summary.values)}{failed})'
    return text


def section_table(section: Section, matrix: Matrix, metric: str) -> str:
    """One config's matrix of one metric."""
    header = ['trained on \\ tested on', *(column.name for column in matrix.columns), 'mean of unseen']
    rows = []
    for row in section.rows:
        cells = [
            cell_text(cell, row.outcomes, seen=seen)
            for cell, seen in zip(row.cells[metric], row.seen, strict=True)
        ]
        rows.append([row.train_set.label, *cells, _unseen_text(row, metric)])
    if len(section.rows) > 1:
        states = [outcome for row in section.rows for outcome in row.outcomes]
        average = cell_text(section.average[metric], states) if _has_unseen(section) else UNDEFINED
        rows.append(['mean of rows', *[''] * len(matrix.columns), average])
    return '\n'.join(markdown_table([header, *rows], texts=1))


def comparison_table(matrix: Matrix, metric: str) -> str:
    """The means over unseen manipulations of all configs side by side."""
    first = matrix.sections[0]
    labels = [row.train_set.label for row in first.rows]
    header = ['config \\ trained on', *labels, 'mean', f'difference to {first.name}']
    rows = []
    for section in matrix.sections:
        states = [outcome for row in section.rows for outcome in row.outcomes]
        difference = UNDEFINED
        if section is not first:
            # Seed by seed: both have the same data order and augmentation of a seed.
            pairs = zip(section.average[metric].values, first.average[metric].values, strict=True)
            gains = Summary(tuple(None if a is None or b is None else a - b for a, b in pairs))
            difference = cell_text(gains, states)
            if gains.mean is not None and gains.mean >= 0:
                difference = f'+{difference}'
        average = cell_text(section.average[metric], states) if _has_unseen(section) else UNDEFINED
        cells = [_unseen_text(row, metric) for row in section.rows]
        rows.append([section.name, *cells, average, difference])
    return '\n'.join(markdown_table([header, *rows], texts=1))


def _has_unseen(section: Section) -> bool:
    return all(not all(row.seen) for row in section.rows)


def _unseen_text(row: Row, metric: str) -> str:
    return UNDEFINED if all(row.seen) else cell_text(row.unseen[metric], row.outcomes)


def matrix_markdown(matrix: Matrix, plan: Plan, *, short: bool = False) -> str:
    """Write the report.

    Args:
        matrix: The metrics.
        plan: The plan that produced them.
        short: Only the video AUC, for a terminal.

    Returns:
        Markdown.
    """
    parts = [] if short else [f'# Cross-manipulation: {_KINDS[plan.options.kind]}', _summary(matrix, plan)]
    if len(matrix.sections) > 1:
        parts += [
            '## Comparison: video AUC on unseen manipulations (%)',
            comparison_table(matrix, 'video_auc'),
        ]
    for section in matrix.sections:
        for metric in METRICS[:1] if short else METRICS:
            parts += [f'## {section.name}: {TITLES[metric]} (%)', section_table(section, matrix, metric)]
    if not short:
        parts += ['## Protocol', '\n'.join(f'* {line}' for line in protocol_lines(plan))]
        parts += ['### Data', _data_table(plan), '### Runs', _run_table(plan)]
    return '\n\n'.join(parts) + '\n'


_KINDS = {
    'leave-one-out': 'leave one manipulation out',
    'one-vs-rest': 'train on one, test on all',
    'num-seen': 'train on some, test on all',
    'train-sets': 'chosen training sets',
}


def _summary(matrix: Matrix, plan: Plan) -> str:
    states = Counter(
        outcome for section in matrix.sections for row in section.rows for outcome in row.outcomes
    )
    counted = ', '.join(
        f'{states[name]} {name}' for name in ('finished', 'failed', 'pending') if states[name]
    )
    seeds = len(matrix.seeds)
    over = f'Mean ± standard deviation over {seeds} seeds' if seeds > 1 else 'One seed'
    return (
        f'{over}, in percent. _Italics_: the manipulation was trained '
        f'on. Runs: {counted}.\n\n![Heat map](matrix.png)'
    )


def protocol_lines(plan: Plan) -> list[str]:
    """The protocol in sentences, above all how checkpoints were chosen."""
    options = plan.options
    metric = plan.arms[0].cfg.default_hooks.checkpoint.get('save_best')
    chosen = (
        f'the validation with the highest `{metric}`, the first of equal ones; the validation split is '
        'restricted to the manipulations the run is trained on, and to the genuine videos, so no fake of an '
        'unseen manipulation and no test video takes part; every validation is in `selection.json` of the run'
        if options.select == 'best'
        else 'the last one; nothing is chosen by a metric'
    )
    extra = [f'Config options: `{key}={value}`' for key, value in options.cfg_options.items()]
    extra += [f'Options of training: {" ".join(options.flags)}'] if options.flags else []
    extra += [f'Processes a run: {options.processes}'] if options.processes > 1 else []
    spread = 'standard deviation with divisor n - 1' if len(options.seeds) > 1 else 'no spread from one seed'
    return [
        'Training: split `train`, the manipulations of the row and all genuine videos.',
        f'Checkpoint: {chosen}.',
        'Test: split `test`, each manipulation against all genuine test videos of its dataset. The same '
        'genuine videos are in every cell.',
        f'Video score: {options.how} of the probabilities of its frames; EER where the ROC polyline has '
        'equal errors.',
        f'Seeds: {", ".join(map(str, options.seeds))} (weights, order of samples, augmentation); {spread}; '
        'the mean over manipulations is taken for each seed first.',
        'People: the index says who is in which split; tools/check_data.py looks for people in two.',
        *extra,
    ]


def _data_table(plan: Plan) -> str:
    """How much each row is trained, validated and tested on."""
    facts, rows = plan.arms[0].facts, []
    train, val, test = (facts[loader] for loader in LOADERS)
    for train_set in plan.train_sets:
        fakes = [part.count(train_set.methods) for part in (train, val)]
        pairs = zip((train, val), fakes, strict=True)
        cells = [f'{part.genuine.videos} / {fake.videos}' for part, fake in pairs]
        frames = f'{train.genuine.frames} / {fakes[0].frames}'
        tested = test.count([column.method for column in plan.columns])
        rows.append([train_set.label, cells[0], frames, cells[1], f'{test.genuine.videos} / {tested.videos}'])
    header = ['genuine / fake of', 'training videos', 'training frames', 'validation videos', 'test videos']
    notes = []
    for arm in plan.arms:
        most = [dig(arm.cfg, dataset_path(arm.cfg, loader)).get('frames_per_video') for loader in LOADERS]
        words = [f'at most {m} a video' if m else 'all of the index' for m in most]
        text = ', '.join(words if len(set(words)) > 1 else words[:1])
        digests = dict.fromkeys(arm.facts[loader].digest[:16] for loader in LOADERS)
        notes.append(f'* {arm.name}: frames of train, val, test: {text}; index SHA-256 {", ".join(digests)}')
    return '\n'.join(markdown_table([header, *rows], texts=1)) + '\n\n' + '\n'.join(notes)


def _run_table(plan: Plan) -> str:
    rows = []
    for run in plan.runs:
        facts = run_facts(run, plan)
        epoch = UNDEFINED if facts['epoch'] is None else str(facts['epoch'])
        score = UNDEFINED if facts['validation_score'] is None else f'{100 * facts["validation_score"]:.2f}'
        checkpoint = (facts['checkpoint_sha256'] or UNDEFINED)[:16]
        state = facts['state'] + (f': {facts["error"]}' if facts['error'] else '')
        settings = facts['settings_hash'][:16]
        rows.append(
            [
                *(run.arm.name, run.train_set.label, str(run.seed), checkpoint, settings, state),
                *(epoch, score),
            ]
        )
    header = [
        *('config', 'trained on', 'seed', 'checkpoint SHA-256', 'settings SHA-256', 'state'),
        *('epoch', 'validation (%)'),
    ]
    return '\n'.join(markdown_table([header, *rows], texts=6))


def run_facts(run: Run, plan: Plan) -> dict[str, Any]:
    """What is known of a run, for the report."""
    marker = run.state.finished
    error = read_record(run.state.directory / FAILED).get('error') if not marker else None
    return {
        'config': run.arm.name,
        'trained_on': list(run.train_set.methods),
        'seed': run.seed,
        'state': 'finished' if marker else 'failed' if error else 'pending',
        'error': error,
        'checkpoint': marker.get('checkpoint'),
        'checkpoint_sha256': marker.get('checkpoint_sha256'),
        'epoch': marker.get('epoch'),
        'validation_score': marker.get('score'),
        'train_seconds': marker.get('seconds'),
        'test_seconds': marker.get('test_seconds'),
        'scores_sha256': marker.get('files', {}).get(SCORES),
        'settings_hash': run.state.train_hash,
        'folder': str(run.state.directory.relative_to(plan.work_dir)),
        'run_config': str(run.config.relative_to(plan.work_dir)),
        'versions': marker.get('versions'),
    }


def matrix_json(matrix: Matrix, plan: Plan) -> dict[str, Any]:
    """Everything that the tables show and more, for programs; fractions of 1."""

    def metrics(summary: Summary) -> dict[str, Any]:
        return {'mean': summary.mean, 'std': summary.std, 'values': list(summary.values)}

    sections = []
    for section in matrix.sections:
        rows = []
        for row in section.rows:
            cells = {
                column.name: {
                    'seen': row.seen[number],
                    **{metric: metrics(row.cells[metric][number]) for metric in METRICS},
                }
                for number, column in enumerate(matrix.columns)
            }
            rows.append(
                {
                    'label': row.train_set.label,
                    'trained_on': list(row.train_set.methods),
                    'cells': cells,
                    'mean_of_unseen': {metric: metrics(row.unseen[metric]) for metric in METRICS},
                    'mean_of_seen': {metric: metrics(row.trained[metric]) for metric in METRICS},
                }
            )
        average = {metric: metrics(section.average[metric]) for metric in METRICS}
        sections.append({'config': section.name, 'rows': rows, 'mean_of_rows_unseen': average})
    options = asdict(plan.options)
    options.pop('overwrite')
    return {
        'protocol': {
            **plan.decisive,
            'statement': protocol_lines(plan),
            'options': json.loads(json.dumps(options, default=str)),
            'index_sha256': {
                arm.name: {loader: arm.facts[loader].digest for loader in LOADERS} for arm in plan.arms
            },
        },
        'seeds': list(matrix.seeds),
        'columns': [column.name for column in matrix.columns],
        'sections': sections,
        'runs': [run_facts(run, plan) for run in plan.runs],
    }


def matrix_csv(matrix: Matrix) -> str:
    """One line a cell and seed, fractions of 1; metrics of runs that are not finished are empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator='\n')
    writer.writerow(['config', 'trained_on', 'tested_on', 'seen', 'seed', 'state', *METRICS])
    for section in matrix.sections:
        for row in section.rows:
            for number, column in enumerate(matrix.columns):
                for index, seed in enumerate(matrix.seeds):
                    values = [row.cells[metric][number].values[index] for metric in METRICS]
                    known = ['' if value is None else repr(value) for value in values]
                    writer.writerow(
                        [
                            *(section.name, '+'.join(row.train_set.methods), column.name),
                            *(int(row.seen[number]), seed, row.outcomes[index], *known),
                        ]
                    )
    return stream.getvalue()
