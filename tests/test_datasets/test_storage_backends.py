# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mmengine.fileio import get

from iid_mm.datasets.storage import NOTE_KEY, backends
from iid_mm.datasets.storage.backends import LmdbReader, close_environments
from iid_mm.datasets.storage.image_storage import ImageStorage
from iid_mm.datasets.transforms.reading import read_crop
from iid_mm.errors import InputError, MissingExtraError

lmdb = pytest.importorskip('lmdb')

CONTENT = {f'frames/{i:03d}.png': bytes([i]) * (50 + 1000 * i) for i in range(20)} | {'frames/ä.png': b'a'}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / 'images.lmdb'
    with lmdb.open(str(path), map_size=2**24) as environment, environment.begin(write=True) as transaction:
        for key, value in CONTENT.items():
            transaction.put(key.encode(), value)
    (path / 'lock.mdb').unlink()
    yield path
    close_environments()


def read_all(reader: LmdbReader) -> dict[str, bytes | None]:
    return {key: reader.get(key) for key in CONTENT}


def test_reads_and_leaves_nothing_behind(database: Path) -> None:
    reader = LmdbReader(database)
    assert not backends._ENVIRONMENTS
    assert read_all(reader) == CONTENT
    assert reader.get('frames/gone.png') is None
    assert reader.get_text('frames/ä.png') == 'a'
    assert reader.get_text('frames/gone.png') is None
    assert os.listdir(database) == ['data.mdb']


def test_reads_what_mmengine_reads(database: Path) -> None:
    key = 'frames/007.png'
    expected = get(key, backend_args={'backend': 'lmdb', 'db_path': str(database)})
    assert expected == CONTENT[key]
    from mmengine.fileio.io import backend_instances

    # MMEngine keeps its environments open, and LMDB takes no second one.
    for backend in backend_instances.values():
        if getattr(backend, 'db_path', '') == str(database):
            backend._client.close()
            backend._client = None
    assert LmdbReader(database).get(key) == expected


def test_readers_of_one_process_share_a_database(database: Path) -> None:
    link = database.with_name('link.lmdb')
    link.symlink_to(database)
    first, second, third = LmdbReader(database), LmdbReader(str(link)), LmdbReader(database / 'data.mdb')
    assert read_all(first) == read_all(second) == CONTENT
    assert len(backends._ENVIRONMENTS) == 1
    close_environments()
    assert read_all(third) == CONTENT
    close_environments()
    assert read_all(first) == CONTENT


@pytest.mark.parametrize('method', ['fork', 'spawn'])
def test_other_processes_open_it_anew(database: Path, method: str) -> None:
    reader = LmdbReader(database)
    read_all(reader)
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(reader.get, CONTENT, chunksize=4) == list(CONTENT.values())
    assert read_all(reader) == CONTENT
    assert read_all(pickle.loads(pickle.dumps(reader))) == CONTENT


def test_a_truncated_database_is_an_error_and_no_crash(database: Path) -> None:
    file = database / 'data.mdb'
    size = file.stat().st_size
    os.truncate(file, size // 2)
    with pytest.raises(InputError, match=rf'has {size // 2} of {size} bytes: it is truncated; copy it anew'):
        LmdbReader(database).get('frames/019.png')
    assert not backends._ENVIRONMENTS


def test_bad_places(database: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"db_path '.*gone' does not exist"):
        LmdbReader(tmp_path / 'gone')
    with pytest.raises(InputError, match=r'is a folder without a data\.mdb'):
        LmdbReader(tmp_path)
    (tmp_path / 'text').write_text('no database')
    with pytest.raises(lmdb.InvalidError):
        LmdbReader(tmp_path / 'text').get('a')
    for bad in ({'readonly': False}, {'lock': True}):
        with pytest.raises(InputError, match='datasets only read'):
            LmdbReader(database, **bad)


def test_a_copy_on_another_disk(database: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(database, tmp_path / 'other/x.lmdb'))
    shutil.rmtree(database)
    assert read_all(LmdbReader(copied)) == CONTENT


def test_without_lmdb(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'lmdb', None)
    monkeypatch.setattr(backends, 'find_spec', lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'iid-mm\[lmdb\]'"):
        LmdbReader(database)


@pytest.mark.parametrize('note', [b'', b'[]', b'{}', b'[' * 100_000, b'\xff'])
def test_a_note_that_is_none(tmp_path: Path, note: bytes) -> None:
    path = tmp_path / 'images.lmdb'
    with lmdb.open(str(path), map_size=2**24) as environment, environment.begin(write=True) as transaction:
        transaction.put(NOTE_KEY.encode(), note)
    storage = ImageStorage({'backend': 'lmdb', 'db_path': str(path)}, str(tmp_path))
    (tmp_path / 'index.parquet').touch()
    with pytest.raises(InputError, match='what the database says of itself is no JSON'):
        storage.is_packed_from(tmp_path / 'index.parquet')
    storage.close()


def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / 'data.mdb')
    with pytest.raises(InputError, match=r'data\.mdb'):
        LmdbReader(tmp_path).get('x')
    os.mkfifo(tmp_path / 'x.png')
    with pytest.raises(InputError, match=r'x\.png is not a regular file'):
        read_crop(str(tmp_path / 'x.png'))
