# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.aggregate import video_scores
from iid_mm.evaluation.functional.roc import area_under_roc
from iid_mm.evaluation.scores import FrameScores, write_scores
from iid_mm.evaluation.statistics.delong import delong_covariance
from iid_mm.evaluation.statistics.intervals import holm
from iid_mm.reporting.comparison import compare_scores, comparison_table, conclusion
from support.paths import REPOSITORY
from support.scores import FrameScore, frame_scores

TOOL = REPOSITORY / 'tools' / 'analysis_tools' / 'compare_scores.py'
METHODS = ('youtube', 'Deepfakes', 'FaceSwap')


def make_scores(
    gain: float = 0.0, *, noise: int = 0, videos: int = 20, frames: int = 3, persons: bool = True
) -> FrameScores:
    """Scores of one set; ``gain`` lifts the fakes of every detector, ``noise`` seeds what is its own."""
    shared, own = np.random.default_rng(0), np.random.default_rng(100 + noise)
    records = []
    for method in METHODS:
        for video in range(videos):
            base = shared.normal() + (1.0 + gain) * (method != 'youtube') + 0.3 * own.normal()
            for frame in range(frames):
                logit = base + 0.1 * own.normal()
                records.append(
                    FrameScore(
                        video_key=f'ffpp/{method}/c23/{video:03d}',
                        frame=frame,
                        image=f'{method}/{video}/{frame}.png',
                        dataset='ffpp',
                        method=method,
                        label=int(method != 'youtube'),
                        score=float(1 / (1 + np.exp(-logit))),
                        target_id=f'{video:03d}' if persons else None,
                    )
                )
    return frame_scores(records)


def test_rows_are_those_of_independent_computations() -> None:
    first, second = make_scores(), make_scores(0.5, noise=1)
    found = compare_scores(first, second, how='max', resamples=200)
    assert [row.name for row in found.rows] == ['Deepfakes', 'FaceSwap', 'overall']
    a, b = (video_scores(s.score, s.label, s.video_key, 'max') for s in (first, second))
    method = np.array([key.split('/')[1] for key in a.keys])
    p_values = []
    for row in found.rows:
        chosen = (method == row.name) | (method == 'youtube') | (row.name == 'overall')
        expected = [area_under_roc(side.scores[chosen], side.labels[chosen]) for side in (a, b)]
        assert [row.auc_a, row.auc_b] == pytest.approx(expected, abs=1e-12)
        assert row.difference == row.auc_b - row.auc_a
        assert (row.videos, row.fakes) == (chosen.sum(), a.labels[chosen].sum())
        p_values.append(delong_covariance([a.scores[chosen], b.scores[chosen]], a.labels[chosen]).p_value())
        assert row.p == pytest.approx(p_values[-1], abs=1e-12)
        assert row.low < row.difference < row.high
    assert [row.p_holm for row in found.rows] == pytest.approx(holm(p_values).tolist())
    back = compare_scores(second, first, how='max', resamples=200)
    assert back.rows[-1].low == pytest.approx(-found.rows[-1].high, abs=1e-12)


def test_conclusions_say_what_the_metrics_say() -> None:
    base = make_scores(-0.8)
    better = compare_scores(base, make_scores(2.0, noise=1), resamples=200)
    assert conclusion(better).startswith('B separates fakes from genuine videos better than A: on these 60')
    assert 'p ≤ 0.001, corrected for 3 comparisons' in conclusion(better)
    worse = compare_scores(make_scores(2.0, noise=1), base, resamples=200)
    assert conclusion(worse).startswith('A separates fakes from genuine videos better than B')
    equal = compare_scores(base, make_scores(-0.8, noise=2), resamples=200)
    assert conclusion(equal).startswith('These 60 videos do not show that A and B differ')
    same = compare_scores(base, base, resamples=50)
    assert conclusion(same).startswith('On these 60 videos the AUC of A and B is the same (95 % int')
    assert [row.p for row in same.rows] == [1.0] * 3
    last = replace(better.rows[-1], p_holm=0.2)
    assert conclusion(replace(better, rows=(last,))).startswith('It is not clear that A and B differ')
    untested = replace(better.rows[-1], p=float('nan'), p_holm=float('nan'))
    assert conclusion(replace(better, rows=(untested,))).startswith('No test is possible: these 60 videos')
    assert untested.as_dict()['p'] is None


def test_the_table_is_in_percent() -> None:
    found = compare_scores(make_scores(-0.8), make_scores(2.0, noise=1), resamples=100, level=0.9)
    lines = comparison_table(found).splitlines()
    cells = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]
    assert cells[0] == ['fakes', 'videos (fake)', 'AUC A', 'AUC B', 'B - A', '90 % interval', 'p', 'p (Holm)']
    row = found.rows[-1]
    assert cells[-1][:5] == [
        *('overall', '60 (40)', f'{100 * row.auc_a:.2f}', f'{100 * row.auc_b:.2f}'),
        f'{100 * row.difference:+.2f}',
    ]
    assert cells[-1][5] == f'{100 * row.low:+.2f} to {100 * row.high:+.2f}'
    assert cells[-1][7] == '≤ 0.001'


def test_persons_are_drawn_together() -> None:
    first, second = make_scores(), make_scores(0.5, noise=1)
    alone = compare_scores(first, second, resamples=300)
    grouped = compare_scores(first, second, resamples=300, groups='target_id')
    assert (alone.num_groups, grouped.num_groups) == (None, 20)
    assert grouped.rows[-1].difference == alone.rows[-1].difference
    assert grouped.rows[-1].low != alone.rows[-1].low
    assert grouped.rows[-1].p != alone.rows[-1].p
    assert '60 videos of 20 persons' in conclusion(grouped)
    # What one file does not know is taken from the other one.
    partly = compare_scores(make_scores(persons=False), second, resamples=300, groups='target_id')
    assert partly.rows == grouped.rows
    with pytest.raises(InputError, match='neither score file has a target_id'):
        compare_scores(make_scores(persons=False), make_scores(persons=False), groups='target_id')
    with pytest.raises(InputError, match="groups='image' is unknown; choose one of target_id"):
        compare_scores(first, second, groups='image')


def test_equal_names_in_two_datasets_are_two_persons() -> None:
    def both(scores: FrameScores) -> FrameScores:
        columns = {name: getattr(scores, name) for name in scores.table.column_names}
        doubled = {name: np.concatenate([values, values]) for name, values in columns.items()}
        dataset = np.repeat(['dfd', 'ffpp'], len(scores)).astype(object)
        keys = [key.replace('ffpp', name) for key, name in zip(doubled['video_key'], dataset, strict=True)]
        return FrameScores.from_columns({**doubled, 'dataset': dataset, 'video_key': keys})

    found = compare_scores(
        both(make_scores()), both(make_scores(0.5, noise=1)), resamples=100, groups='target_id'
    )
    assert found.num_groups == 40
    assert '120 videos of 40 persons' in conclusion(found)


def test_files_of_different_videos_are_refused() -> None:
    first = make_scores()
    other = first.select(first.video_key != 'ffpp/youtube/c23/003')
    with pytest.raises(
        InputError,
        match=r'of different videos: 1 only in A \(ffpp/youtube/c23/003\), 59 in both; eval',
    ):
        compare_scores(first, other)
    more = make_scores(videos=24)
    with pytest.raises(InputError, match=r'12 only in B \(ffpp/Deepfakes/c23/020, .*021, .*022, \.\.\.\)'):
        compare_scores(first, more)
    columns = {name: getattr(first, name) for name in first.table.column_names}
    turned = np.where(first.video_key == 'ffpp/FaceSwap/c23/007', 1 - first.label, first.label)
    with pytest.raises(InputError, match=r'1 of 60 videos different labels \(ffpp/FaceSwap/c23/007\)'):
        compare_scores(first, FrameScores.from_columns({**columns, 'label': turned}))
    renamed = np.where(first.method == 'FaceSwap', 'DFD', first.method)
    with pytest.raises(InputError, match='20 of 60 videos different manipulations'):
        compare_scores(first, FrameScores.from_columns({**columns, 'method': renamed}))


def test_the_message_names_the_file_that_cannot_be_used() -> None:
    first = make_scores()
    columns = {name: getattr(first, name) for name in first.table.column_names}
    broken = FrameScores.from_columns({**columns, 'score': np.where(first.frame == 0, np.nan, first.score)})
    with pytest.raises(InputError, match='score file B: 60 of 180 scores are NaN'):
        compare_scores(first, broken)
    with pytest.raises(InputError, match='score file A is empty'):
        compare_scores(first.select(np.zeros(len(first), dtype=bool)), first)


def test_different_frames_are_counted() -> None:
    first = make_scores()
    fewer = first.select(~((first.frame == 2) & (first.method == 'FaceSwap')))
    assert compare_scores(first, fewer, resamples=50).unequal_frames == 20
    assert compare_scores(first, first, resamples=50).unequal_frames == 0


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the tool in this process: exit status, what it printed, error line."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            runpy.run_path(str(TOOL), run_name='__main__')
        return (done.value.code, *capsys.readouterr())

    return call


def test_the_tool(run: Any, tmp_path: Path) -> None:
    a = write_scores(make_scores(), tmp_path / 'a.parquet')
    b = write_scores(make_scores(2.0, noise=1), tmp_path / 'b.parquet')
    out = tmp_path / 'folder' / 'metrics.json'
    options = ('--resamples', 100, '--how', 'topk', '--top-k', 2, '--groups', 'target_id', '--json', out)
    status, printed, error = run(a, b, *options)
    assert (status, error) == (0, '')
    assert '| overall' in printed
    assert printed.splitlines()[-1].startswith('B separates fakes from genuine videos better than A')
    report = json.loads(out.read_text())
    assert (report['how'], report['top_k'], report['num_groups']) == ('topk', 2, 20)
    found = compare_scores(
        make_scores(), make_scores(2.0, noise=1), how='topk', k=2, resamples=100, groups='target_id'
    )
    assert report['rows'] == [row.as_dict() for row in found.rows]
    c = write_scores(make_scores(videos=5), tmp_path / 'c.parquet')
    status, _, error = run(a, c)
    assert status == 1
    assert error.startswith('error: the score files are of different videos: 45 only in A')


def test_names_are_cells_and_command_no_terminal() -> None:
    scores = make_scores()
    names = ['a|b\x1b[2J\n[/b]' if name == 'FaceSwap' else name for name in scores.method]
    columns = {name: getattr(scores, name) for name in FrameScore._fields} | {'method': names}
    hostile = FrameScores.from_columns(columns)
    table = comparison_table(compare_scores(hostile, hostile, resamples=100))
    assert r'a\|b%1B\[2J%0A\[/b\]' in table
    assert len(table.splitlines()) == 2 + 3
