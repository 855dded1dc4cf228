# SPDX-License-Identifier: Apache-2.0
"""Facts about the sources of scores, and scores of an earlier run that are used again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mmengine.config import Config

from iid_mm.errors import InputError
from iid_mm.evaluation.eval_sets import EvalSet, find_eval_sets
from iid_mm.reporting import scoring
from iid_mm.reporting.scoring import ScoringJob, coverage_facts, index_facts
from iid_mm.utils.config import load_config


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


class TestSettings:
    """What makes the scores of an earlier run worthless."""

    @pytest.fixture
    def settings(self, tiny_config: Path, tmp_path: Path) -> Callable[..., str]:
        def call(**options: Any) -> str:
            cfg = load_config(tiny_config, options)
            return ScoringJob(cfg, 'hash', tmp_path)._settings(find_eval_sets(cfg)[0])

        return call

    @pytest.mark.parametrize(
        'options',
        [
            {'model.forgery_head.dropout': 0.1},
            {'test_dataloader.dataset.frames_per_video': 2},
            {'test_dataloader.dataset.split': 'val'},
            {'test_dataloader.batch_size': 8},
            {'test_dataloader.dataset.pipeline.1.scale': 0.8},
        ],
    )
    def test_other_settings(self, options: dict[str, Any], settings: Callable[..., str]) -> None:
        assert settings(**options) != settings()

    def test_workers_and_place_do_not_matter(self, settings: Callable[..., str], tmp_path: Path) -> None:
        (tmp_path / 'tiny').mkdir()
        options = {'test_dataloader.num_workers': 3, 'data_root': str(tmp_path / 'tiny')}
        assert settings(**options) == settings()


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
def test_metadata_of_a_stranger(tmp_path: Path, stored: bytes) -> None:
    path = tmp_path / 'index.parquet'
    table = pa.table({'a': [1]}).replace_schema_metadata({b'iid_mm.preparation': stored})
    pq.write_table(table, path)
    test_set = EvalSet('a', dict(dataset=dict(ann_file=str(path), split='test')))
    with pytest.raises(InputError, match=r'index\.parquet: its metadata iid_mm\.preparation is no JSON'):
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
