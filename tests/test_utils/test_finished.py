# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json

import pytest

from iid_mm.utils.finished import finished_record, mark_finished, read_record

SOURCE = {'checkpoint': 'a' * 64, 'sizes': (1, 2)}


@pytest.fixture
def record(tmp_path):
    scores = tmp_path / 'scores' / 'set.parquet'
    scores.parent.mkdir()
    scores.write_bytes(b'scores')
    path = tmp_path / 'records' / 'set.json'
    mark_finished(path, SOURCE, [scores], seconds=1.5)
    return path


def test_finished_work_is_recognized(record):
    found = finished_record(record, SOURCE)
    assert found is not None
    assert found['seconds'] == 1.5
    assert list(found['files']) == ['../scores/set.parquet']
    assert finished_record(record, {**SOURCE, 'checkpoint': 'b' * 64}) is None


def test_a_moved_folder_stays_finished(record, tmp_path):
    moved = tmp_path.with_name('moved')
    tmp_path.rename(moved)
    assert finished_record(moved / 'records' / 'set.json', SOURCE) is not None
    moved.rename(tmp_path)


@pytest.mark.parametrize('content', [b'scores, but others', None])
def test_changed_or_missing_outputs_are_made_again(record, tmp_path, content):
    scores = tmp_path / 'scores' / 'set.parquet'
    scores.unlink() if content is None else scores.write_bytes(content)
    assert finished_record(record, SOURCE) is None


@pytest.mark.parametrize('text', ['', '[]', '{"source": ', '[' * 100_000, json.dumps({'files': {}})])
def test_damaged_records_count_as_none(record, text):
    record.write_text(text)
    assert finished_record(record, SOURCE) is None
    record.unlink()
    assert finished_record(record, SOURCE) is None
    assert read_record(record) == {}
