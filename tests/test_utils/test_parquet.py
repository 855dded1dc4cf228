# SPDX-License-Identifier: Apache-2.0
"""Parquet files of strangers: small files that stand for large ones, and texts that are none."""

from __future__ import annotations

import contextlib
import os
import pickle
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from iid_mm.errors import InputError
from iid_mm.utils import parquet
from iid_mm.utils.parquet import read_parquet


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / 'x.parquet'


@pytest.mark.parametrize('version', ['1.0', '2.0'])
@pytest.mark.parametrize('compression', ['none', 'snappy', 'gzip', 'zstd', 'lz4', 'brotli'])
def test_ordinary_files_come_back_as_they_are(path: Path, version: str, compression: str) -> None:
    table = pa.table(
        {
            'text': [None if i % 11 == 0 else f'{i % 7}' + 'é' * (i % 50) for i in range(3000)],
            'list': pa.array([[float(i)] * (i % 4) if i % 3 else None for i in range(3000)]),
            'number': pa.array(range(3000), pa.int16()),
            'flag': pa.array([i % 3 == 0 for i in range(3000)]),
            'bytes': pa.array([b'\0\xff' * (i % 5) for i in range(3000)]),
        },
        metadata={'note': 'kept'},
    )
    options: dict[str, Any] = dict(compression=compression, data_page_version=version, row_group_size=1100)
    pq.write_table(table, path, **options, data_page_size=2000, write_page_index=True)
    found = read_parquet(path)
    assert found.equals(table)
    assert found.schema.metadata[b'note'] == b'kept'
    assert read_parquet(path, ['number', 'text']).equals(table.select(['number', 'text']))
    kept = read_parquet(path, keep_dictionaries=['text']).column('text')
    assert pa.types.is_dictionary(kept.type)
    assert kept.to_pylist() == table.column('text').to_pylist()


def bombs() -> dict[str, tuple[pa.Table, dict[str, Any]]]:
    zeros = pa.array(np.zeros(30_000_000, np.float32))
    lists = pa.FixedSizeListArray.from_arrays(zeros, 10)
    return {
        'compressed pages': (pa.table({'a': zeros}), dict(use_dictionary=False, compression='zstd')),
        'runs': (pa.table({'a': zeros}), {}),
        'runs without compression': (pa.table({'a': zeros}), dict(compression='none')),
        'nulls': (pa.table({'a': pa.nulls(50_000_000, pa.string())}), {}),
        'lists': (pa.table({'a': lists.cast(pa.list_(pa.float32()))}), {}),
        'dictionary': (pa.table({'a': pa.array(['p' * 4000] * 100_000)}), {}),
    }


@pytest.mark.parametrize('name', bombs())
def test_what_grows_out_of_all_proportion_is_refused(path: Path, name: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(parquet, 'ALWAYS_READ', 2**26)
    table, options = bombs()[name]
    pq.write_table(table, path, **options)
    assert path.stat().st_size < 2**20
    del table
    before = pa.total_allocated_bytes()
    with pytest.raises(InputError, match=r"x\.parquet, column 'a': \d+ bytes would grow to .* proportion"):
        read_parquet(path)
    assert pa.total_allocated_bytes() <= before + 2**20


def test_sizes_in_the_footer_are_not_believed(path: Path, monkeypatch: Any) -> None:
    """The same bomb with a footer that tells of ten rows."""
    monkeypatch.setattr(parquet, 'ALWAYS_READ', 2**20)
    pq.write_table(pa.table({'a': pa.array(np.zeros(3_000_000, np.float32))}), path, use_dictionary=False)

    class Lying:
        def __init__(self, chunk: Any) -> None:
            self.chunk = chunk

        def __getattr__(self, name: str) -> Any:
            return 10 if name in ('num_values', 'total_uncompressed_size') else getattr(self.chunk, name)

    chunk = Lying(pq.read_metadata(path).row_group(0).column(0))
    with path.open('rb') as raw:
        assert parquet._decoded_bytes(raw, chunk, path.stat().st_size, 'a', 2**40) > 12_000_000


def test_memory_stays_small(path: Path) -> None:
    """Address space that would not do for 4 GB of one text of 4000 bytes."""
    texts = pa.DictionaryArray.from_arrays(np.zeros(1_000_000, np.int32), ['p' * 4000])
    pq.write_table(pa.table({'a': texts}), path, store_schema=False)
    child = os.fork()
    if not child:
        status = 1
        try:
            used = int(Path('/proc/self/statm').read_text().split()[0]) * os.sysconf('SC_PAGE_SIZE')
            resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, used + 2**30))
            read_parquet(path)
        except InputError:
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(
    ('values', 'says'),
    [
        ([b'ok', None, b'caf\xe9'], r"row 2, column 'a': b'caf\\xe9' is no text in UTF-8"),
        ([b'ok', b'a\0b'], r"row 1, column 'a': b'a\\x00b' holds a NUL"),
        ([b'ok', b'\xed\xb3\xa9'], "row 1, column 'a': .* is no text in UTF-8"),
        ([b'y' * 5000], "row 0, column 'a': b'yyy.* is longer than 4096 bytes"),
    ],
)
@pytest.mark.parametrize('keep', [(), ('a',)])
def test_texts(path: Path, values: list[bytes], says: str, keep: tuple[str, ...]) -> None:
    pq.write_table(pa.table({'a': pa.array(values).view(pa.string())}), path)
    with pytest.raises(InputError, match=says):
        read_parquet(path, keep_dictionaries=keep)


@pytest.mark.parametrize(
    'column',
    [
        pa.array([{'b': 1}]),
        pa.array([[[1]]]),
        pa.array([['text']]),
        pa.array([1]).cast(pa.decimal128(20)),
        pa.array([[('a', 1)]], pa.map_(pa.string(), pa.int64())),
    ],
)
def test_types_that_are_not_read(path: Path, column: pa.Array) -> None:
    pq.write_table(pa.table({'a': column}), path)
    with pytest.raises(InputError, match=r"x\.parquet, column 'a': type .* is not read here"):
        read_parquet(path)


def test_other_files(path: Path, tmp_path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(InputError, match='not a regular file'):
        read_parquet(path)
    path.unlink()
    with pytest.raises(InputError, match='not a regular file'):
        read_parquet(tmp_path)
    path.write_bytes(b'PAR1 nothing')
    with pytest.raises(InputError, match='not a readable Parquet file'):
        read_parquet(path)
    pq.write_table(
        pa.table({'a': ['ab', 'abc']}), path, use_dictionary=False, column_encoding='DELTA_BYTE_ARRAY'
    )
    with pytest.raises(InputError, match='DELTA_BYTE_ARRAY'):
        read_parquet(path)
    with pytest.raises(InputError, match="column 'b' is missing"):
        read_parquet(path, ['b'])
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=['a', 'a']), path)
    with pytest.raises(InputError, match="column 'a' occurs more than once"):
        read_parquet(path, ['a'])


def test_hundreds_of_thousands_of_columns(path: Path, monkeypatch: Any) -> None:
    pq.write_table(pa.table({f'c{number}': [1] for number in range(12_000)}), path)
    with pytest.raises(InputError, match='12000 columns'):
        read_parquet(path, ['c1'])
    monkeypatch.setattr(parquet, 'MAX_FOOTER', 100_000)
    with pytest.raises(InputError, match=r'a footer of \d+ bytes'):
        read_parquet(path, ['c1'])


@pytest.mark.parametrize('seed', range(40))
def test_damaged_files_are_refused_or_read(path: Path, seed: int) -> None:
    """Never anything else than an InputError, whichever bytes are wrong."""
    table = pa.table({'a': [str(i) for i in range(200)], 'b': [[1.0, 2.0]] * 200})
    pq.write_table(table, path)
    data = bytearray(path.read_bytes())
    generator = np.random.default_rng(seed)
    for place in generator.integers(4, len(data), 3):
        data[place] = generator.integers(256)
    path.write_bytes(bytes(data))
    try:
        read_parquet(path)
        text = ''
    except InputError as error:
        text = str(error)
    assert '\n' not in text


class Marker:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


def test_pickled_types_and_notes_run_nothing(path: Path, tmp_path: Path) -> None:
    marker = tmp_path / 'marker'
    pickled = pickle.dumps(Marker(marker))
    assert pickle.loads(pickled) is None
    marker.rmdir()
    hostile = {
        b'ARROW:extension:name': b'arrow.py_extension_type',
        b'ARROW:extension:metadata': pickled,
        b'PARQUET:field_id': b'1',
    }
    schema = pa.schema([pa.field('a', pa.string(), metadata=hostile)], metadata={'pandas': pickled})
    pq.write_table(pa.table([pa.array(['x'])], schema=schema), path)
    with contextlib.suppress(InputError):
        read_parquet(path)
    assert not marker.exists()
