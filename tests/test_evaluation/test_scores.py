# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.inputs import factorize
from iid_mm.evaluation.scores import (
    SCORES_SCHEMA,
    FrameScores,
    read_scores,
    write_scores,
)
from support.scores import FrameScore, frame_scores


def record(video: str, frame: int, score: float = 0.5, image: str = '') -> FrameScore:
    return FrameScore(f'ffpp/A/c23/{video}', frame, image or f'{video}/{frame}.png', 'ffpp', 'A', 1, score)


def test_records_are_sorted_and_repeated_faces_removed() -> None:
    rows = [
        record('b', 0, 0.1),
        record('a', 10, 0.2),
        record('a', 9, 0.3),
        record('b', 0, 0.1),
        record('b', 0, 0.7, image='second face'),
    ]
    scores = frame_scores(rows)
    assert scores.video_key.tolist() == ['ffpp/A/c23/a'] * 2 + ['ffpp/A/c23/b'] * 2
    assert scores.frame.tolist() == [9, 10, 0, 0]
    assert scores.score.tolist() == [0.3, 0.2, 0.1, 0.7]
    assert len(scores) == 4


def test_a_scores_file_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    scores = frame_scores([record('a', i, 1 / (3 + i)) for i in range(5)])
    path = write_scores(scores, tmp_path / 'new folder' / 'scores.parquet')
    again = read_scores(path)
    for name in SCORES_SCHEMA.names:
        np.testing.assert_array_equal(getattr(again, name), getattr(scores, name))
        assert getattr(again, name).dtype == getattr(scores, name).dtype
    assert pq.read_schema(path).equals(SCORES_SCHEMA)
    assert [file.name for file in path.parent.iterdir()] == ['scores.parquet']


def test_repeated_names_share_one_object() -> None:
    scores = frame_scores([record('a', i) for i in range(5)])
    for name in ('dataset', 'method', 'video_key'):
        assert len({id(value) for value in getattr(scores, name)}) == 1
    assert scores.coded('video_key').names.tolist() == ['ffpp/A/c23/a']
    assert scores.coded('video_key') is scores.coded('video_key')


rows = st.lists(
    st.tuples(
        st.sampled_from(['a', 'b', 'Z', '\u00e9', '\U0001f600']),
        st.integers(0, 2),
        st.sampled_from(['', 'y', 'x/1', 'x/10']),
        st.sampled_from([None, '000', '001']),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=100)
@given(rows)
def test_order_and_removal_agree_with_a_dictionary(rows: list[tuple[str, int, str, str | None]]) -> None:
    records = [
        FrameScore(video, frame, image, 'd', 'm', 0, number / 64, target, 'test')
        for number, (video, frame, image, target) in enumerate(rows)
    ]
    unique: dict[tuple[str, int, str], FrameScore] = {}
    for item in records:
        unique.setdefault(item[:3], item)
    expected = [unique[key] for key in sorted(unique)]
    scores = frame_scores(records)
    for name in FrameScore._fields:
        assert getattr(scores, name).tolist() == [getattr(item, name) for item in expected]


def test_columns_in_any_form_give_the_same_scores(tmp_path: Path) -> None:
    records = [record('b', 1, 0.25), record('a', 3, 0.5), record('a', 2, 0.75), record('a', 2, 0.125)]
    names = list(zip(*[item[:7] for item in records], strict=True))
    forms = {
        'lists': [list(column) for column in names],
        'numpy': [np.array(column) for column in names],
        'arrow': [pa.array(list(column)) for column in names],
    }
    expected = write_scores(frame_scores(records), tmp_path / 'records.parquet').read_bytes()
    for form, columns in forms.items():
        by_name = dict(zip(FrameScore._fields, columns, strict=False))
        scores = FrameScores.from_columns(by_name)
        assert write_scores(scores, tmp_path / f'{form}.parquet').read_bytes() == expected
        by_name['video_key'] = factorize(by_name['video_key'])
        assert write_scores(FrameScores.from_columns(by_name), tmp_path / 'x').read_bytes() == expected
    by_name['frame'] = by_name['frame'][:2]
    with pytest.raises(InputError, match='column frame of the scores has 2 rows, score has 4'):
        FrameScores.from_columns(by_name)
    by_name['frame'] = ['one'] * 4
    with pytest.raises(InputError, match='column frame of the scores cannot hold'):
        FrameScores.from_columns(by_name)
    by_name['frame'] = [1, None, 2, 3]
    with pytest.raises(InputError, match='the scores: column frame is empty in 1 of 4 rows'):
        FrameScores.from_columns(by_name)
    del by_name['frame'], by_name['image']
    with pytest.raises(InputError, match='scores without the column frame, image'):
        FrameScores.from_columns(by_name)


def test_unknown_persons_and_splits_stay_unknown(tmp_path: Path) -> None:
    records = [
        record('a', 0)._replace(target_id='000', split='test'),
        record('b', 0)._replace(target_id=None, split='test'),
        record('c', 0),
    ]
    scores = frame_scores(records)
    path = write_scores(scores, tmp_path / 'scores.parquet')
    for found in (scores, read_scores(path), read_scores(path).select(np.array([True, True, True]))):
        assert found.target_id.tolist() == ['000', None, None]
        assert found.split.tolist() == ['test', 'test', None]
    with pytest.raises(InputError, match='column target_id of the scores: 2 of 3 values are missing'):
        scores.coded('target_id')


def test_files_of_earlier_versions_are_read(tmp_path: Path) -> None:
    path = write_scores(frame_scores([record('a', 0), record('b', 1)]), tmp_path / 'new.parquet')
    pq.write_table(pq.read_table(path).drop_columns(['target_id', 'split']), tmp_path / 'old.parquet')
    old = read_scores(tmp_path / 'old.parquet')
    assert old.target_id.tolist() == old.split.tolist() == [None, None]
    assert old.score.tolist() == [0.5, 0.5]
    assert write_scores(old, tmp_path / 'again.parquet').read_bytes() == path.read_bytes()


def test_parts_and_empty_scores(tmp_path: Path) -> None:
    scores = frame_scores([record(video, frame) for video in 'abc' for frame in range(2)])
    for chosen in (scores.video_key == 'ffpp/A/c23/b', np.array([2, 3])):
        part = scores.select(chosen)
        assert part.coded('video_key').names.tolist() == ['ffpp/A/c23/b']
        assert part.frame.tolist() == [0, 1]
    empty = frame_scores([])
    again = read_scores(write_scores(empty, tmp_path / 'empty.parquet'))
    for found in (empty, again, scores.select(np.zeros(6, dtype=bool))):
        assert len(found) == 0
        assert [getattr(found, name).size for name in SCORES_SCHEMA.names] == [0] * 9


def test_large_files_are_written_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('iid_mm.evaluation.scores._ROWS_A_GROUP', 4)
    scores = frame_scores([record(f'{i:02d}', 0, i / 16) for i in range(10)])
    path = write_scores(scores, tmp_path / 'scores.parquet')
    assert pq.ParquetFile(path).num_row_groups == 3
    again = read_scores(path)
    assert again.video_key.tolist() == scores.video_key.tolist()
    assert again.target_id.tolist() == [None] * 10
    assert again.score.tolist() == scores.score.tolist()


def test_nan_scores_are_kept(tmp_path: Path) -> None:
    path = write_scores(frame_scores([record('a', 0, float('nan'))]), tmp_path / 'nan.parquet')
    assert np.isnan(read_scores(path).score).tolist() == [True]


def test_the_name_of_a_folder_makes_no_column(tmp_path: Path) -> None:
    path = write_scores(frame_scores([record('a', 0)]), tmp_path / 'split=test' / 's.parquet')
    assert read_scores(path).split.tolist() == [None]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_scores(frame_scores([record('a', 0)]), tmp_path / 'scores.parquet')
    before = path.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError('disk full')

    monkeypatch.setattr(pq.ParquetWriter, 'write_table', fail)
    with pytest.raises(OSError, match='disk full'):
        write_scores(frame_scores([record('b', 1)]), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_bad_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r'none\.parquet does not exist'):
        read_scores(tmp_path / 'none.parquet')
    (tmp_path / 'text.parquet').write_text('no table')
    with pytest.raises(InputError, match='cannot be read as Parquet'):
        read_scores(tmp_path / 'text.parquet')
    pq.write_table(pa.table({'frame': [1], 'score': [0.5]}), tmp_path / 'few.parquet')
    with pytest.raises(InputError, match='has no column dataset, method, video_key, label, image'):
        read_scores(tmp_path / 'few.parquet')
    pq.write_table(
        pa.table(
            {
                field.name: pa.array([None, None], field.type) if field.name == 'score' else ['0', '1']
                for field in SCORES_SCHEMA
            }
        ),
        tmp_path / 'null.parquet',
    )
    with pytest.raises(InputError, match=r'null\.parquet: column score is empty in 2 of 2 rows'):
        read_scores(tmp_path / 'null.parquet')


def test_scores_of_a_stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_scores(frame_scores([record('a', 0), record('b', 1)]), tmp_path / 's.parquet')
    table = pq.read_table(path)

    def change(name: str, column: pa.Array) -> None:
        place = table.column_names.index(name)
        pq.write_table(table.set_column(place, name, column), path, compression='zstd')

    change('image', pa.array([b'ok', b'caf\xe9']).view(pa.string()))
    with pytest.raises(InputError, match=r"s\.parquet, row 1, column 'image': .* no text in UTF-8"):
        read_scores(path)
    change('video_key', pa.array(['k', 'p' * 5000]))
    with pytest.raises(InputError, match=r"row 1, column 'video_key': .* longer than 4096 bytes"):
        read_scores(path)
    change('score', pa.array(['high', 'low']))
    with pytest.raises(InputError, match=r"s\.parquet, column 'score': type .*string.*, expected double"):
        read_scores(path)
    change('label', pa.array([300, 0]))
    with pytest.raises(InputError, match=r"s\.parquet, column 'label': type int64, expected int8"):
        read_scores(path)
    change('method', pa.array([['a'], ['b']]))
    with pytest.raises(InputError, match=r"column 'method': type list<.* is not read here"):
        read_scores(path)
    monkeypatch.setattr('iid_mm.utils.parquet.ALWAYS_READ', 2**20)
    pq.write_table(pa.concat_tables([table] * 50_000).combine_chunks(), path, compression='zstd')
    with pytest.raises(InputError, match='out of all proportion; it was not read'):
        read_scores(path)
