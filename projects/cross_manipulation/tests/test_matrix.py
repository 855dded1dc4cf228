# SPDX-License-Identifier: Apache-2.0
"""Metrics worked by hand."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from cross_manipulation.heat_map import plot_matrix
from cross_manipulation.matrix import METRICS, Column, Matrix, Result, Summary, build_matrix, run_metrics
from cross_manipulation.matrix_text import (
    cell_text,
    comparison_table,
    matrix_csv,
    section_table,
)
from cross_manipulation.train_sets import TrainSet, leave_one_out
from iid_mm.errors import InputError
from iid_mm.evaluation.scores import write_scores
from support.scores import FrameScore, frame_scores

METHODS = ('A', 'B', 'C')
COLUMNS = tuple(Column(name, name) for name in METHODS)


def write(path: Path, rows: list[tuple[str, str, int, list[float]]]) -> Path:
    """Write scores of videos: dataset, method, label, score of each frame."""
    records = []
    for number, (dataset, method, label, scores) in enumerate(rows):
        key = f'{dataset}/{method}/c23/{number:03d}'
        records += [
            FrameScore(key, frame, f'{key}/{frame}', dataset, method, label, score)
            for frame, score in enumerate(scores)
        ]
    return write_scores(frame_scores(records), path)


def test_metrics_of_a_scores_file(tmp_path: Path) -> None:
    path = write(
        tmp_path / 'scores.parquet',
        [
            ('ffpp', 'youtube', 0, [0.1, 0.3]),  # mean 0.2
            ('ffpp', 'youtube', 0, [0.6, 0.6]),  # mean 0.6
            ('ffpp', 'A', 1, [0.9, 0.7]),  # mean 0.8: above both
            ('ffpp', 'A', 1, [0.2, 0.6]),  # mean 0.4: above one
            ('ffpp', 'B', 1, [0.6, 0.6]),  # above one, equal to one
        ],
    )
    metrics = run_metrics(path, [Column('A', 'A'), Column('B', 'B')])
    assert metrics['video_auc'] == {'A': 3 / 4, 'B': 3 / 4}
    # Frames of A (0.9 0.7 0.6 0.2) against 0.1 0.3 0.6 0.6: 4 + 4 + (2 + 2 / 2) + 1 of 16 pairs.
    assert metrics['frame_auc']['A'] == pytest.approx(12 / 16)
    # Frames of B (0.6 0.6): 2 x (2 + 2 / 2) of 8 pairs.
    assert metrics['frame_auc']['B'] == pytest.approx(6 / 8)
    # At 0.6 one of two genuine and one of two fakes of A are wrong.
    assert metrics['video_eer']['A'] == pytest.approx(0.5)
    # B: the polyline runs (0, 0), (1/2, 1), (1, 1); FPR = 1 - TPR at 1/3.
    assert metrics['video_eer']['B'] == pytest.approx(1 / 3)
    # The maximum makes 0.3 and 0.6 of the genuine videos, 0.9 and 0.6 of A: 2 + 1.5 of 4 pairs.
    assert run_metrics(path, [Column('A', 'A')], 'max')['video_auc']['A'] == pytest.approx(3.5 / 4)


def test_several_data_sets_are_several_columns(tmp_path: Path) -> None:
    rows = [('d1', 'yt', 0, [0.5]), ('d1', 'A', 1, [0.9]), ('d2', 'yt', 0, [0.95]), ('d2', 'A', 1, [0.9])]
    path = write(tmp_path / 'scores.parquet', rows)
    metrics = run_metrics(path, [Column('d1/A', 'A'), Column('d2/A', 'A')])
    assert metrics['video_auc'] == {'d1/A': 1.0, 'd2/A': 0.0}


def test_scores_without_a_column_are_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / 's.parquet', [('d', 'yt', 0, [0.5]), ('d', 'A', 1, [0.9])])
    with pytest.raises(InputError, match='has no scores of B; it has A'):
        run_metrics(path, COLUMNS[:2])


def result(*values: float) -> Result:
    return Result('finished', {metric: dict(zip(METHODS, values, strict=True)) for metric in METRICS})


def example(missing: bool = False) -> Matrix:
    """Two configs, leave-one-out of three, two seeds."""
    sets = leave_one_out(METHODS)
    results = {
        ('one', 'B+C', 0): result(0.6, 0.9, 1.0),
        ('one', 'B+C', 1): result(0.8, 0.9, 1.0),
        ('one', 'A+C', 0): result(0.9, 0.5, 0.9),
        ('one', 'A+C', 1): result(0.9, 0.7, 0.9),
        ('one', 'A+B', 0): result(0.9, 0.9, 0.7),
        ('one', 'A+B', 1): result(0.9, 0.9, 0.9),
    }
    results |= {('two', slug, seed): r for (_, slug, seed), r in results.items()}
    results['two', 'B+C', 0] = result(0.9, 0.9, 1.0)
    if missing:
        results['two', 'A+C', 1] = Result('failed')
        del results['two', 'A+B', 0], results['two', 'A+B', 1]
    return build_matrix(['one', 'two'], sets, COLUMNS, [0, 1], results)


def test_means_and_deviations() -> None:
    one, two = example().sections
    first = one.rows[0]
    assert first.seen == (False, True, True)
    cell = first.cells['video_auc'][0]
    assert cell.mean == pytest.approx(0.7)
    assert cell.std == pytest.approx(0.2 / 2**0.5)  # of the sample: sqrt((0.1^2 + 0.1^2) / 1)
    assert first.unseen['video_auc'] == cell
    assert first.trained['video_auc'].values == pytest.approx((0.95, 0.95))
    # Seed 0: 0.6, 0.5, 0.7; seed 1: 0.8, 0.7, 0.9.
    assert one.average['video_auc'].values == pytest.approx((0.6, 0.8))
    assert two.average['video_auc'].values == pytest.approx((0.7, 0.8))


def test_missing_runs_do_not_shift_the_mean_of_the_rows() -> None:
    _, two = example(missing=True).sections
    assert two.rows[1].outcomes == ('finished', 'failed')
    assert two.rows[1].unseen['video_auc'].values == (0.5, None)
    assert two.rows[1].unseen['video_auc'].std is None
    assert two.average['video_auc'].values == (None, None)


def test_nothing_unseen() -> None:
    matrix = build_matrix(
        ['one'], [TrainSet(METHODS, 'all')], COLUMNS, [0], {('one', 'A+B+C', 0): result(1, 1, 1)}
    )
    assert matrix.sections[0].rows[0].unseen['video_auc'].mean is None
    assert section_table(matrix.sections[0], matrix, 'video_auc').splitlines()[-1].endswith('– |')


def test_text_of_cells() -> None:
    assert cell_text(Summary((0.7,)), ['finished']) == '70.00'
    assert cell_text(Summary((0.6, 0.8)), ['finished'] * 2, seen=True) == '_70.00 ± 14.14_'
    assert cell_text(Summary((0.6, None, None)), ['finished', 'failed', 'pending']) == '60.00 (1/3, 1 failed)'
    assert cell_text(Summary((None, None)), ['failed', 'pending']) == 'failed'
    assert cell_text(Summary((None,)), ['pending']) == 'pending'


def cells(line: str) -> list[str]:
    return [part.strip() for part in line.strip('|').split('|')]


def test_section_table() -> None:
    matrix = example()
    lines = section_table(matrix.sections[0], matrix, 'video_auc').splitlines()
    assert cells(lines[0]) == ['trained on \\\\ tested on', 'A', 'B', 'C', 'mean of unseen']
    assert cells(lines[2]) == [
        'all but A',
        '70.00 ± 14.14',
        '_90.00 ± 0.00_',
        '_100.00 ± 0.00_',
        '70.00 ± 14.14',
    ]
    assert cells(lines[-1]) == ['mean of rows', '', '', '', '70.00 ± 14.14']


def test_comparison_table() -> None:
    lines = comparison_table(example(), 'video_auc').splitlines()
    assert cells(lines[0])[-2:] == ['mean', 'difference to one']
    assert cells(lines[2])[-2:] == ['70.00 ± 14.14', '–']
    # Seed by seed: 0.1 and 0.
    assert cells(lines[3])[1] == '85.00 ± 7.07'
    assert cells(lines[3])[-1] == '+5.00 ± 7.07'
    assert 'failed' in cells(comparison_table(example(missing=True), 'video_auc').splitlines()[3])[-1]


def test_csv_has_a_line_for_every_cell_and_seed() -> None:
    rows = list(csv.DictReader(io.StringIO(matrix_csv(example(missing=True)))))
    assert len(rows) == 2 * 3 * 3 * 2
    assert rows[0] == {
        'config': 'one',
        'trained_on': 'B+C',
        'tested_on': 'A',
        'seen': '0',
        'seed': '0',
        'state': 'finished',
        **dict.fromkeys(METRICS, '0.6'),
    }
    failed = [row for row in rows if row['state'] == 'failed']
    assert len(failed) == 3
    assert all(row['video_auc'] == '' for row in failed)


@pytest.mark.parametrize('missing', [False, True])
def test_heat_map(missing: bool, tmp_path: Path) -> None:
    path = plot_matrix(example(missing), tmp_path / 'matrix.svg')
    text = path.read_text()
    assert ('pending' in text) == missing
    assert list(tmp_path.iterdir()) == [path]
