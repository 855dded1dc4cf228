# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from iid_mm.datasets.index import (
    INDEX_SCHEMA,
    make_video_key,
    read_index,
    resolve_inside,
    validate_index,
    write_index,
)
from iid_mm.errors import InputError, InvalidIndexError


def make_row(video: str = '000_003', frame: int = 0, **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        'image': f'frames/ffpp/Deepfakes/c23/{video}/{frame:05d}.png',
        'source_image': f'frames/ffpp/youtube/c23/000/{frame:05d}.png',
        'landmarks': np.arange(136, dtype=np.float32).tolist(),
        'label': 1,
        'dataset': 'ffpp',
        'method': 'Deepfakes',
        'compression': 'c23',
        'video_key': make_video_key('ffpp', 'Deepfakes', 'c23', video),
        'frame': frame,
        'split': 'train',
        'target_id': '000',
        'source_id': '003',
        'crop_window': [1, 2, 30, 40],
        'detector_score': 0.5,
        'mask': None,
    }
    return {**row, **changes}


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_round_trip_sorts_and_keeps_types(tmp_path: Path) -> None:
    rows = [make_row('b', 1), make_row('b', 0), make_row('a', 7, mask='masks/a.png')]
    path = tmp_path / 'new' / 'index.parquet'
    write_index(rows, path, metadata={'frames': '32'})
    table = read_index(path)
    assert table.schema.equals(INDEX_SCHEMA)
    assert table.to_pylist() == [rows[2], rows[1], rows[0]]
    assert table.schema.metadata[b'frames'] == b'32'
    assert [p.name for p in path.parent.iterdir()] == ['index.parquet']


def test_bytes_depend_on_content_only(tmp_path: Path) -> None:
    rows = [make_row(video, frame) for video in 'abc' for frame in range(5)]
    write_index(rows, tmp_path / '1.parquet', metadata={'a': '1', 'b': '2'})
    write_index(rows[::-1], tmp_path / '2.parquet', metadata={'b': '2', 'a': '1'})
    table = pa.concat_tables([pa.Table.from_pylist(rows[i : i + 4]) for i in range(0, 15, 4)])
    write_index(table, tmp_path / '3.parquet', metadata={'b': '2', 'a': '1'})
    assert sha(tmp_path / '1.parquet') == sha(tmp_path / '2.parquet') == sha(tmp_path / '3.parquet')


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / f'{"x" * 247}.parquet'
    write_index(pa.Table.from_pylist([make_row()], INDEX_SCHEMA), path)
    assert list(tmp_path.iterdir()) == [path]


def test_columns_and_optional_keys(tmp_path: Path) -> None:
    row = make_row(label=0)
    for name in ('source_image', 'target_id', 'source_id', 'mask'):
        del row[name]
    write_index([row], tmp_path / 'i.parquet')
    table = read_index(tmp_path / 'i.parquet', columns=['source_id', 'image'])
    assert table.column_names == ['image', 'source_id']
    assert table.to_pylist() == [{'image': row['image'], 'source_id': None}]
    with pytest.raises(InputError, match='no column color; choose from image'):
        read_index(tmp_path / 'i.parquet', columns=['color'])


def test_empty_index(tmp_path: Path) -> None:
    write_index([], tmp_path / 'i.parquet')
    assert read_index(tmp_path / 'i.parquet').num_rows == 0


def test_wider_types_are_converted_and_extra_columns_ignored(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([make_row(video, 0) for video in 'ab'])  # int64 and double
    table = table.append_column('note', pa.array(['x', 'y']))
    table = table.set_column(
        table.column_names.index('method'), 'method', table.column('method').dictionary_encode()
    )
    pq.write_table(table, tmp_path / 'i.parquet')
    assert read_index(tmp_path / 'i.parquet').schema.equals(INDEX_SCHEMA)
    with pytest.raises(InvalidIndexError, match=r'unknown column.* note'):
        write_index(table, tmp_path / 'j.parquet')


def test_missing_file_folder_and_garbage(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.parquet' does not exist"):
        read_index(tmp_path / 'gone.parquet')
    with pytest.raises(InvalidIndexError, match='is a folder'):
        read_index(tmp_path)
    bad = tmp_path / 'bad.parquet'
    bad.write_text('image,label\n')
    with pytest.raises(InvalidIndexError, match=r'bad\.parquet is not a readable Parquet'):
        read_index(bad)
    write_index([make_row()], tmp_path / 'i.parquet')
    bad.write_bytes((tmp_path / 'i.parquet').read_bytes()[:-200])
    with pytest.raises(InvalidIndexError, match='not a readable Parquet'):
        read_index(bad)


def test_missing_columns_are_named(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([make_row()]).drop_columns(['label', 'split'])
    pq.write_table(table, tmp_path / 'i.parquet')
    with pytest.raises(InvalidIndexError, match=r'i\.parquet: missing column\(s\) label, split'):
        read_index(tmp_path / 'i.parquet')
    with pytest.raises(InvalidIndexError, match='missing column'):
        read_index(tmp_path / 'i.parquet', columns=['image'])


BAD_VALUES = [
    ('label', 2, 'must be 0 .* got 2'),
    ('label', None, 'must not be null'),
    ('image', None, 'must not be null'),
    ('image', '', 'relative path'),
    ('image', '/etc/passwd', 'relative path'),
    ('image', 'frames/../../x.png', 'relative path'),
    ('image', '..', 'relative path'),
    ('image', 'frames\\x.png', 'relative path'),
    ('image', 'C:/x.png', 'relative path'),
    ('image', 'https://host/x.png', 'relative path'),
    ('image', 's3://bucket/x.png', 'relative path'),
    ('image', 'a\0.png', 'relative path'),
    ('mask', 'file:///etc/passwd', 'relative path'),
    ('source_image', '../x.png', 'relative path'),
    ('mask', '/x.png', 'relative path'),
    ('split', 'dev', 'one of train, val, test'),
    ('frame', -1, '>= 0'),
    ('landmarks', [0.0] * 135, '136 or 162 values'),
    ('landmarks', [0.0] * 10, '68 or 81 points'),
    ('landmarks', [], '136 or 162 values'),
    ('landmarks', [0.0] * 135 + [float('nan')], 'finite number'),
    ('landmarks', [0.0] * 135 + [None], 'finite number'),
    ('crop_window', [1, 2, 3], 'needs 4 values'),
    ('crop_window', [1, 2, 3, None], 'finite number'),
    ('detector_score', None, 'must not be null'),
    ('detector_score', float('nan'), r'must lie in \[0, 1\], got nan'),
    ('detector_score', float('inf'), r'must lie in \[0, 1\], got inf'),
    ('detector_score', -0.1, r'must lie in \[0, 1\]'),
    ('detector_score', 1.01, r'must lie in \[0, 1\]'),
    ('video_key', 'Deepfakes/c23/b', 'must be ffpp/Deepfakes/c23/<video>'),
]


@pytest.mark.parametrize(('column', 'value', 'message'), BAD_VALUES)
def test_bad_value_names_row_and_column(column: str, value: Any, message: str) -> None:
    good = [make_row('a'), make_row('b')]
    table = pa.Table.from_pylist([*good, make_row('c', **{column: value})], schema=INDEX_SCHEMA)
    with pytest.raises(InvalidIndexError, match=message) as caught:
        validate_index(table, name='set.parquet')
    assert f"set.parquet, row 2, column '{column}'" in str(caught.value)


def test_81_points_and_dots_in_names_are_fine() -> None:
    row = make_row(landmarks=[1.5] * 162, image='fra..mes/a..b/.c.png')
    assert validate_index(pa.Table.from_pylist([row]), name='x').num_rows == 1


def test_wrong_types() -> None:
    table = pa.Table.from_pylist([make_row(label='fake')])
    with pytest.raises(InvalidIndexError, match="column 'label': type string, expected int8"):
        validate_index(table, name='x')
    table = pa.Table.from_pylist([make_row(label=300)])
    with pytest.raises(InvalidIndexError, match="column 'label': type int64, expected int8"):
        validate_index(table, name='x')
    with pytest.raises(InvalidIndexError, match="column 'frame': a value is not of type int32"):
        write_index([make_row(frame=0) | {'frame': 'seven'}], 'unused.parquet')


def test_unknown_and_missing_keys_of_rows() -> None:
    row = make_row('b')
    del row['label']
    with pytest.raises(InvalidIndexError, match=r"row 1: missing column\(s\) \['label'\]"):
        write_index([make_row('a'), row], 'unused.parquet')
    with pytest.raises(InvalidIndexError, match=r"unknown column\(s\) \['color'\]"):
        write_index([make_row(color=1)], 'unused.parquet')


def test_duplicates_and_mixed_videos() -> None:
    rows = [make_row('a', 0), make_row('a', 1), make_row('b', 1), make_row('a', 1)]
    with pytest.raises(InvalidIndexError, match=r"row 3, column 'frame'.*c23/a'.*got 1"):
        validate_index(pa.Table.from_pylist(rows), name='x')
    rows = [make_row('a', 0), make_row('a', 1, split='test')]
    with pytest.raises(InvalidIndexError, match=r"'split': the frames of video .*c23/a' differ"):
        validate_index(pa.Table.from_pylist(rows), name='x')
    rows = [make_row('a', 0), make_row('a', 1, label=0)]
    with pytest.raises(InvalidIndexError, match="'label': the frames"):
        validate_index(pa.Table.from_pylist(rows), name='x')


def test_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / 'i.parquet'
    write_index([make_row()], path)
    before = sha(path)
    with pytest.raises(InvalidIndexError):
        write_index([make_row(label=7)], path)
    assert sha(path) == before
    assert len(list(tmp_path.iterdir())) == 1


def test_make_video_key() -> None:
    assert make_video_key('ffpp', 'FaceSwap', 'c23', '000_003') == 'ffpp/FaceSwap/c23/000_003'
    assert make_video_key('dfdc', 'part_1', 'native', 'a/b') == 'dfdc/part_1/native/a/b'
    with pytest.raises(InputError, match="method='a/b'"):
        make_video_key('ffpp', 'a/b', 'c23', 'x')
    with pytest.raises(InputError, match="video=''"):
        make_video_key('ffpp', 'a', 'c23', '')


def test_resolve_inside(tmp_path: Path) -> None:
    assert resolve_inside(tmp_path, 'a/b.png') == tmp_path / 'a' / 'b.png'
    for path in ('../x', 'a/../x', '/x', 'a\\x', '', 'C:/x', 'a/..', 'http://h/x', 'a\0'):
        with pytest.raises(InvalidIndexError, match='does not stay inside'):
            resolve_inside(tmp_path, path)


def test_an_index_of_a_stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits are tested with :mod:`iid_mm.utils.parquet`; here, that the index is read within them."""
    path = tmp_path / 'i.parquet'
    texts = pa.array([b'caf\xe9.png']).view(pa.string())
    table = pa.Table.from_pylist([make_row()], schema=INDEX_SCHEMA)
    place = table.column_names.index('image')
    pq.write_table(table.set_column(place, INDEX_SCHEMA.field('image'), texts), path)
    with pytest.raises(InvalidIndexError, match=r"i\.parquet, row 0, column 'image': .* no text in UTF-8"):
        read_index(path)
    long = pa.chunked_array([pa.array(['p' * 2_000_000])])
    pq.write_table(table.set_column(place, INDEX_SCHEMA.field('image'), long), path)
    with pytest.raises(InvalidIndexError, match=r"column 'image': .* is longer than 4096 bytes"):
        read_index(path)
    monkeypatch.setattr('iid_mm.utils.parquet.ALWAYS_READ', 2**24)
    many = pa.concat_tables([table] * 50_000).combine_chunks()
    pq.write_table(many, path, use_dictionary=False, compression='zstd')
    assert path.stat().st_size < 2**19
    with pytest.raises(
        InvalidIndexError, match=r"column 'landmarks': .* out of all proportion; it was not read"
    ):
        read_index(path)
    pq.write_table(table.set_column(place, 'image', pa.array([{'a': 1}])), path)
    with pytest.raises(InvalidIndexError, match=r"column 'image': type struct<.*, expected string"):
        read_index(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InvalidIndexError, match='not a regular file'):
        read_index(path)
