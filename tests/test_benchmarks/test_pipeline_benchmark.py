# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from iid_mm.datasets.forgery_dataset import ForgeryDataset
from iid_mm.errors import InputError
from iid_mm.utils.cli import run_tool
from pipeline_benchmark import measure_pipeline, summarize, write_generated_set
from support.paths import REPOSITORY

TOOL = REPOSITORY / 'tools' / 'benchmarks' / 'benchmark.py'
PIPELINE = [
    {'type': 'LoadForgeryPair'},
    {'type': 'AlignFace', 'jitter': {}},
    {'type': 'MultiScaleFacialSwap'},
    {'type': 'PackForgeryInputs'},
]


def test_summarize() -> None:
    assert summarize([0.001, 0.002, 0.003, 0.010]) == {
        'mean_ms': pytest.approx(4.0),
        'median_ms': pytest.approx(2.5),
        'p95_ms': pytest.approx(8.95),
        'count': 4,
    }


def test_measure_generated_set(tmp_path: Path) -> None:
    index = write_generated_set(tmp_path, crop=160, people=3)
    dataset = ForgeryDataset(index, pipeline=PIPELINE)
    metrics = measure_pipeline(dataset, samples=10, fakes_per_genuine=4)
    for kind in ('genuine', 'fake'):
        stages = [step['type'] for step in PIPELINE]
        assert set(metrics[kind]) == {*stages, 'total', 'cpu_mean_ms'}
        assert metrics[kind]['total']['count'] == 5
        parts = sum(metrics[kind][stage]['mean_ms'] for stage in stages)
        assert parts <= metrics[kind]['total']['mean_ms'] * 1.001
    expected = 0.2 * metrics['genuine']['total']['mean_ms'] + 0.8 * metrics['fake']['total']['mean_ms']
    assert metrics['mix_mean_ms'] == pytest.approx(expected)
    genuine_only = ForgeryDataset(index, pipeline=PIPELINE, indices=[3])
    assert genuine_only.get_cat_ids(0) == [0]
    with pytest.raises(InputError, match='no fake sample'):
        measure_pipeline(genuine_only, samples=2)


def test_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    main = runpy.run_path(str(TOOL))['main']
    command = [str(TOOL), 'pipeline', '--samples', '4', '--crop', '120']
    monkeypatch.setattr('sys.argv', [*command, '--out', str(tmp_path / 'o' / 'p.json')])
    assert run_tool(main) == 0
    printed = capsys.readouterr().out
    assert '1 genuine : 4 fake' in printed
    assert 'MultiScaleFacialSwap' in printed
    report = json.loads((tmp_path / 'o' / 'p.json').read_text())
    assert report['crops'] == 'generated, 120 px'
    assert report['machine']['cores'] >= 1
    monkeypatch.setattr('sys.argv', [*command, '--index', str(tmp_path / 'gone.parquet')])
    assert run_tool(main) == 1
    assert 'gone.parquet' in capsys.readouterr().err
