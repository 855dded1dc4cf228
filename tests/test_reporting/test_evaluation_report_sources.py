# SPDX-License-Identifier: Apache-2.0
"""What the report says about its sources, and scores that are taken over from an earlier run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mmengine.config import Config

from iid_mm.errors import InputError
from iid_mm.evaluation.eval_sets import EvalSet
from iid_mm.evaluation.scores import write_scores
from iid_mm.reporting import scoring
from iid_mm.reporting.card import _training_manipulations
from iid_mm.reporting.prepared import coverage_facts, index_facts
from iid_mm.reporting.provenance import command_line, config_text, without_paths
from iid_mm.reporting.scoring import ScoringJob, write_json
from iid_mm.reporting.text import _trained_on
from iid_mm.utils.files import sha256

from .report_scores import scores


def test_manipulations_in_training() -> None:
    def found(dataset: Any) -> Any:
        return _training_manipulations(Config(dict(train_dataloader=dict(dataset=dataset))))

    one = dict(type='ForgeryDataset', ann_file='a', methods=('FaceSwap', 'Deepfakes'))
    assert found(one) == ['Deepfakes', 'FaceSwap']
    assert found(dict(type='RepeatDataset', times=2, dataset=one)) == ['Deepfakes', 'FaceSwap']
    several = [one, dict(one, methods=['Face2Face'])]
    assert found(dict(type='ConcatDataset', datasets=several)) == ['Deepfakes', 'Face2Face', 'FaceSwap']
    assert found(dict(type='ForgeryDataset', ann_file='a')) is None
    assert found(dict(type='Foreign')) == []
    assert _training_manipulations(Config(dict())) == []
    assert [_trained_on(value) for value in (None, [], ['a', 'b'])] == [
        'all of its index',
        'not known',
        'a, b',
    ]


class TestCoverage:
    def table(self) -> pa.Table:
        keys = ['ffpp/youtube/c23/0', 'ffpp/FaceSwap/c23/0_1', 'ffpp/FaceSwap/c23/2_3']
        return pa.table(
            dict(
                video_key=keys,
                dataset=['ffpp'] * 3,
                method=['youtube', 'FaceSwap', 'FaceSwap'],
                compression=['c23'] * 3,
                label=[0, 1, 1],
            )
        )

    def found(self, folder: Path, report: Any = None, **dataset: Any) -> dict[str, Any]:
        if report is not None:
            (folder / 'report.json').write_text(json.dumps(report))
        loader = dict(dataset=dict(data_root=str(folder), ann_file='index.parquet', split='test', **dataset))
        return coverage_facts(EvalSet('x', loader), self.table(), np.array(['ffpp/youtube/c23/0']))

    def test_without_a_report(self, tmp_path: Path) -> None:
        found = self.found(tmp_path)
        assert [video['video_key'] for video in found['unscored']] == [
            'ffpp/FaceSwap/c23/0_1',
            'ffpp/FaceSwap/c23/2_3',
        ]
        assert found['videos'] == [
            dict(dataset='ffpp', method='FaceSwap', label=1, videos=2),
            dict(dataset='ffpp', method='youtube', label=0, videos=1),
        ]
        assert found['without_face'] is found['listed_but_absent'] is found['left_out'] is None

    def test_of_this_split_and_choice(self, tmp_path: Path) -> None:
        methods = dict(FaceSwap=dict(videos_without_face=3), youtube=dict(videos_without_face=1))
        faceless = [
            dict(key=f'ffpp/{method}/c23/{name}', method=method, split=split, label=int(method != 'youtube'))
            for method, name, split in (
                ('FaceSwap', '8_9', 'test'),
                ('Deepfakes', '8_9', 'test'),
                ('FaceSwap', '6_7', 'train'),
                ('youtube', '8', 'test'),
            )
        ]
        report = dict(
            methods=methods, without_face=faceless, missing=['a.mp4'], left_out={'b': 'x', 'c': 'x'}
        )
        found = self.found(tmp_path, report, methods=('FaceSwap',))
        assert [video['video_key'] for video in found['without_face']] == [
            'ffpp/FaceSwap/c23/8_9',
            'ffpp/youtube/c23/8',
        ]
        assert found['listed_but_absent'] == 1
        assert found['left_out'] == {'x': 2}
        assert found['without_face_any_split'] == 4

    def test_an_older_report_knows_when_there_are_none(self, tmp_path: Path) -> None:
        assert self.found(tmp_path, dict(methods=dict(a=dict(videos_without_face=0))))['without_face'] == []
        some = self.found(tmp_path, dict(methods=dict(a=dict(videos_without_face=2))))
        assert (some['without_face'], some['without_face_any_split']) == (None, 2)


class TestProvenance:
    @pytest.mark.parametrize(
        ('text', 'expected'),
        [
            ('/home/someone/data', 'data'),
            ('/home/some one/my data/', 'my data'),
            ('name=/data/my set', 'name=my set'),
            ('data/ffpp', 'data/ffpp'),
            ("x=('/a/b','/c/d')", "x=('b','d')"),
            (r'C:\Users\someone\data', 'data'),
            ('~/data', 'data'),
            ('3 / 4 of https://example.org/a', '3 / 4 of https://example.org/a'),
        ],
    )
    def test_paths_of_the_machine_are_removed(self, text: str, expected: str) -> None:
        assert without_paths(text) == expected

    def test_command_line(self) -> None:
        arguments = ['/x/tools/test.py', 'configs/a.py', '/y/z.pth', '--test-sets', 'a=/b/c d']
        assert command_line(arguments) == "tools/test.py configs/a.py z.pth --test-sets 'a=c d'"
        secret = ['test.py', 'a.py', '--cfg-options', 'backend_args.key=hush', 'b=1', 'backend_args={"a":1}']
        assert command_line(secret) == 'test.py a.py --cfg-options backend_args.key=... b=1 backend_args=...'

    def test_config_text_says_what_and_not_where(self) -> None:
        loader = dict(dataset=dict(data_root='/data/a', ann_file='index.parquet'))
        one = Config(dict(work_dir='w', launcher='none', data_root='/data/a', test_dataloader=loader))
        other = dict(dataset=dict(data_root='b', ann_file='index.parquet'))
        two = Config(dict(work_dir='v', launcher='pytorch', data_root='b', test_dataloader=other))
        assert config_text(one) == config_text(two)
        assert 'DATA_ROOT' in config_text(one)
        # Nor is it said what images are read from, which may hold secrets.
        stored = dict(other['dataset'], backend_args=dict(backend='mine', key='hush'))
        two = Config(dict(data_root='b', backend_args={}, test_dataloader=dict(dataset=stored)))
        assert config_text(one) == config_text(two)
        three = Config(dict(data_root='b', test_dataloader=dict(other, batch_size=2)))
        assert config_text(three) != config_text(one)


def test_scores_are_taken_over_from_the_same_source_only(tmp_path: Path) -> None:
    job = ScoringJob(Config(dict(model={})), 'hash', tmp_path, resume=True)
    path = write_scores(scores(), job.scores_file('a'))
    source = dict(checkpoint_sha256='hash', index_sha256=['i'], settings_sha256='s')
    record = dict(source=source, scores=dict(file='a', sha256=sha256(path)), localization_scores=None)
    assert job.finished_record('a', source) is None
    write_json(record, job.record_file('a'))
    assert job.finished_record('a', source) == record
    for other in source:
        assert job.finished_record('a', source | {other: 'x'}) is None
    write_scores(scores(seed=5), path)
    assert job.finished_record('a', source) is None
    for text in ('{', '[' * 100_000, '7'):
        job.record_file('a').write_text(text)
        assert job.finished_record('a', source) is None
    # A pipe would be waited for without end.
    job.record_file('a').unlink()
    os.mkfifo(job.record_file('a'))
    assert job.finished_record('a', source) is None


def test_scores_of_other_library_versions_are_not_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ScoringJob(Config(dict(model={})), 'hash', tmp_path, resume=True)
    test_set = EvalSet('a', dict(dataset=dict(ann_file='index.parquet', split='test')))
    before = job._settings(test_set)
    assert job._settings(test_set) == before
    monkeypatch.setattr(scoring, 'library_versions', lambda: {'torch': '0.1'})
    assert job._settings(test_set) != before


@pytest.mark.parametrize('stored', [b'{', b'[]', b'\xff', b'[' * 100_000])
def test_notes_of_a_stranger(tmp_path: Path, stored: bytes) -> None:
    path = tmp_path / 'index.parquet'
    table = pa.table({'a': [1]}).replace_schema_metadata({b'iid_mm.preparation': stored})
    pq.write_table(table, path)
    test_set = EvalSet('a', dict(dataset=dict(ann_file=str(path), split='test')))
    with pytest.raises(InputError, match=r'index\.parquet: its note iid_mm\.preparation is no JSON object'):
        index_facts(test_set)


@pytest.mark.parametrize(
    'report',
    [
        {'methods': {'a': 7}},
        {'without_face': [7]},
        {'without_face': [{'key': 'x'}]},
        {'methods': {'a': {'videos_without_face': []}}},
    ],
)
def test_reports_of_a_preparation_by_a_stranger(tmp_path: Path, report: Any) -> None:
    with pytest.raises(InputError, match=r'report\.json beside an index of test set x lacks an entry'):
        TestCoverage().found(tmp_path, report)
