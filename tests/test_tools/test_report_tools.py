# SPDX-License-Identifier: Apache-2.0
"""tools/test.py with several sets, and tools/analysis_tools/verify_report.py."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn import metrics as sk_metrics

from iid_mm.apis import load_checkpoint_file
from iid_mm.datasets.index import read_index
from iid_mm.evaluation.scores import read_scores

VERIFY = 'analysis_tools/verify_report.py'
FAST = ('--resamples', '100')


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')


@pytest.fixture
def second_set(tiny_prepared: Path, tmp_path: Path) -> Path:
    """A second prepared set with the same video names and fewer videos."""
    root = tmp_path / 'second'
    shutil.copytree(tiny_prepared, root)
    table = pq.read_table(root / 'index.parquet')
    kept = pa.compute.invert(pa.compute.equal(table['target_id'], '202'))
    pq.write_table(table.filter(kept), root / 'index.parquet')
    return root


def report_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / 'report.json').read_text())


def test_two_sets_in_one_run(
    call_tool: Any,
    tiny_config: Path,
    tiny_checkpoint: Path,
    tiny_prepared: Path,
    second_set: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / 'out'
    # The option may stand twice.
    sets = ('--test-sets', f'first={tiny_prepared}', '--test-sets', second_set)
    folders = ('--work-dir', tmp_path / 'work', '--out-dir', out)
    arguments = (tiny_config, tiny_checkpoint, *folders, *sets, *FAST)
    assert call_tool('test.py', *arguments) == (0, '')
    report = report_of(out)
    rows = {(row['test_set'], row['manipulation']): row for row in report['metrics']}
    assert list(rows) == [(s, m) for s in ('first', 'second') for m in ('Deepfakes', 'FaceSwap', None)]
    # The sets have videos of the same names; they stay apart.
    assert (rows['first', None]['videos'], rows['second', None]['videos']) == (9, 6)
    assert rows['first', 'FaceSwap']['videos'] == 6
    for name in ('first', 'second'):
        scores = read_scores(out / f'frame_scores/{name}.parquet')
        assert rows[name, None]['frame_auc'] == pytest.approx(
            sk_metrics.roc_auc_score(scores.label, scores.score)
        )
        assert str(scores.image[0]).startswith('frames/ffpp/')
    assert report['threshold']['origin'] == 'validation'
    assert report['threshold']['validation']['videos'] == 3
    assert report['protocol']['config']['file'] == 'tiny.py'
    for path in out.rglob('*'):
        if path.suffix in ('.json', '.md', '.py', '.parquet'):
            assert str(tmp_path.parent).encode() not in path.read_bytes(), path
    assert len(list((out / 'plots').glob('*.png'))) == 8
    assert call_tool(VERIFY, out, '--checkpoint', tiny_checkpoint) == (0, '')
    assert call_tool(VERIFY, out, '--checkpoint', tiny_config)[0] == 1
    assert 'does not exist' in call_tool(VERIFY, out, '--checkpoint', tmp_path / 'none.pth')[1]


def test_finished_sets_survive_and_are_not_scored_again(
    call_tool: Any,
    tiny_config: Path,
    tiny_checkpoint: Path,
    tiny_prepared: Path,
    second_set: Path,
    tmp_path: Path,
) -> None:
    image = second_set / 'frames/ffpp/youtube/c23/200/00001.png'
    content = image.read_bytes()
    image.write_bytes(content[:-200])
    out = tmp_path / 'out'
    sets = ('--test-sets', f'first={tiny_prepared}', second_set)
    folders = ('--work-dir', tmp_path / 'work', '--out-dir', out)
    arguments = [tiny_config, tiny_checkpoint, *folders, *sets, *FAST, '--threshold', '0.4']
    status, message = call_tool('test.py', *arguments)
    assert status == 1
    assert 'cannot be decoded' in message
    assert not (out / 'report.json').exists()
    image.write_bytes(content)
    kept = out / 'frame_scores/first.parquet'
    before = kept.stat().st_mtime_ns
    assert call_tool('test.py', *arguments, '--resume') == (0, '')
    assert kept.stat().st_mtime_ns == before
    assert report_of(out)['threshold'] == {
        'value': 0.4,
        'origin': 'given',
        'text': 'given by the user before the test',
        'validation': None,
    }


def test_without_a_validation_split(
    call_tool: Any, tiny_config: Path, tiny_checkpoint: Path, second_set: Path, tmp_path: Path
) -> None:
    table = pq.read_table(second_set / 'index.parquet')
    pq.write_table(table.filter(pa.compute.field('split') == 'test'), second_set / 'index.parquet')
    out = tmp_path / 'out'
    arguments = [tiny_config, tiny_checkpoint, '--work-dir', tmp_path, '--out-dir', out, *FAST]
    arguments += ['--cfg-options', f'data_root={second_set}']
    status, message = call_tool('test.py', *arguments, '--threshold-from', 'val')
    assert status == 1
    assert "split 'val' is empty" in message
    assert call_tool('test.py', *arguments) == (0, '')
    threshold = report_of(out)['threshold']
    assert (threshold['value'], threshold['origin']) == (0.5, 'default')
    assert 'no validation split' in threshold['text']
    assert report_of(out)['protocol']['config']['options'] == {'data_root': 'second'}
    assert [record['name'] for record in report_of(out)['test_sets']] == ['second']


def test_bad_sets_are_found_before_any_work(
    call_tool: Any, tiny_config: Path, tiny_checkpoint: Path, second_set: Path, tmp_path: Path
) -> None:
    def message(*sets: Any) -> str:
        arguments = [tiny_config, tiny_checkpoint, '--work-dir', tmp_path / 'work', '--test-sets', *sets]
        status, text = call_tool('test.py', *arguments)
        assert status == 1
        assert not (tmp_path / 'work').exists()
        return str(text)

    assert "test set 'dfdc' is unknown" in message('dfdc')
    assert 'second is named twice' in message(second_set, second_set)
    assert 'does not exist' in message('/nowhere/set')
    assert 'mask' in message(second_set, '--localization')
    assert '--out is for tests without a report' in message(second_set, '--out', tmp_path / 'x.parquet')
    table = read_index(second_set / 'index.parquet')
    one_class = pa.compute.field('label') == 1
    pq.write_table(table.filter(one_class), second_set / 'index.parquet')
    assert "test set second: all videos of 'ffpp' in split 'test' are fake" in message(second_set)
    pq.write_table(table.filter(pa.compute.field('split') == 'val'), second_set / 'index.parquet')
    assert "test set second: split 'test' is empty" in message(second_set)
    pq.write_table(table.slice(0, 0), second_set / 'index.parquet')
    assert 'splits there: none' in message(second_set)


def test_nan_scores(call_tool: Any, tiny_config: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    import torch

    checkpoint = load_checkpoint_file(tiny_checkpoint)
    for value in checkpoint['state_dict'].values():
        if value.is_floating_point():
            value.fill_(float('nan'))
    torch.save(checkpoint, tmp_path / 'nan.pth')
    arguments = (tiny_config, tmp_path / 'nan.pth', '--work-dir', tmp_path, '--out-dir', tmp_path / 'out')
    status, message = call_tool('test.py', *arguments, '--threshold', '0.5')
    assert status == 1
    assert '.parquet: 27 of 27 scores are NaN' in message
    assert np.isnan(read_scores(next((tmp_path / 'out/frame_scores').glob('*.parquet'))).score).all()


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.slow
@pytest.mark.distributed
def test_any_number_of_processes_gives_the_same_report(
    run_script: Any, call_tool: Any, tiny_config: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """27 samples in batches of 4: 7 batches for 1, 2 or 3 processes, the last one with 3 samples."""
    arguments = [tiny_config, tiny_checkpoint]
    options = ['--work-dir', tmp_path / 'work', *FAST, '--out-dir']
    assert call_tool('test.py', *arguments, *options, tmp_path / '1') == (0, '')
    for processes in (2, 3):
        result = run_script('dist_test.sh', *arguments, processes, *options, tmp_path / str(processes))
        assert result.returncode == 0, result.stderr[-3000:]
    expected = report_of(tmp_path / '1')
    assert expected['test_sets'][0]['coverage']['unscored'] == []
    run = expected.pop('run')
    # The checkout may change while the test runs.
    expected['protocol'].pop('git')
    text = json.dumps(expected)
    for processes in (2, 3):
        found = report_of(tmp_path / str(processes))
        assert found.pop('run') != run
        found['protocol'].pop('git')
        assert json.dumps(found) == text
    for path in sorted((tmp_path / '1').rglob('*')):
        if path.is_file() and path.name not in ('report.json', 'report.md'):
            for processes in (2, 3):
                other = tmp_path / str(processes) / path.relative_to(tmp_path / '1')
                assert other.read_bytes() == path.read_bytes(), path
