# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from iid_mm.datasets.index import make_video_key, write_index
from iid_mm.datasets.storage import NOTE_KEY
from iid_mm.errors import InputError, InvalidIndexError, MissingExtraError
from iid_mm.preparation import lmdb_packing
from iid_mm.preparation.lmdb_packing import pack_index, stored_names
from iid_mm.utils.run_lock import RunLock

lmdb = pytest.importorskip('lmdb')


class Usage(NamedTuple):
    free: int


def rows_of(count: int, suffix: str = '.png') -> list[dict[str, Any]]:
    """Fakes of one video, each with its genuine frame and a mask."""
    return [
        {
            'image': f'frames/fake/{i:05d}{suffix}',
            'source_image': f'frames/genuine/{i:05d}{suffix}',
            'landmarks': [1.0] * 136,
            'label': 1,
            'dataset': 'ffpp',
            'method': 'Deepfakes',
            'compression': 'c23',
            'video_key': make_video_key('ffpp', 'Deepfakes', 'c23', '000_001'),
            'frame': i,
            'split': 'train',
            'crop_window': [0, 0, 9, 9],
            'detector_score': 1.0,
            'mask': f'masks/fake/ä{i:05d}.png' if i % 2 else None,
        }
        for i in range(count)
    ]


def write_set(root: Path, count: int = 20, **more: Any) -> dict[str, bytes]:
    """Write a set whose files hold any bytes; returns them by path."""
    rows = rows_of(count, **more)
    names = sorted({row[key] for row in rows for key in ('image', 'source_image', 'mask') if row[key]})
    content = {name: bytes([number % 256]) * (1 + 37 * number) for number, name in enumerate(names)}
    for name, data in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    write_index(rows, root / 'index.parquet')
    return content


def content_of(path: Path) -> list[tuple[bytes, bytes]]:
    with lmdb.open(str(path), readonly=True, lock=False) as environment, environment.begin() as transaction:
        return [(bytes(key), bytes(value)) for key, value in transaction.cursor()]


def change(path: Path, items: dict[bytes, bytes | None]) -> None:
    """Put items into a database, or (None) take them out."""
    with lmdb.open(str(path), map_size=2**30, lock=False) as base, base.begin(write=True) as transaction:
        for key, value in items.items():
            if value is None:
                transaction.delete(key)
            else:
                transaction.put(key, value)


def packed(root: Path, **options: Any) -> Any:
    return pack_index(root, progress=False, **options)


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lmdb_packing, 'BATCH', 7)


def test_all_that_the_index_lists_is_packed_once(tmp_path: Path) -> None:
    content = write_set(tmp_path)
    (tmp_path / 'frames/fake/left_over.png').write_bytes(b'not in the index')
    result = packed(tmp_path / 'index.parquet', compare=True)
    out = tmp_path / 'images.lmdb'
    size = (out / 'data.mdb').stat().st_size
    assert (result.path, result.images, result.packed, result.size) == (out, 50, 50, size)
    (note_key, note), *items = content_of(out)
    assert items == [(name.encode(), content[name]) for name in sorted(content)]
    assert note_key == NOTE_KEY.encode()
    assert json.loads(note)['images'] == 50
    assert os.listdir(out) == ['data.mdb']
    assert sorted(os.listdir(tmp_path)) == ['frames', 'images.lmdb', 'index.parquet', 'masks']


def test_equal_sets_give_equal_content(tmp_path: Path) -> None:
    for name in ('a', 'b'):
        write_set(tmp_path / name)
        packed(tmp_path / name, num_threads=1 if name == 'a' else 5)
    assert content_of(tmp_path / 'a/images.lmdb') == content_of(tmp_path / 'b/images.lmdb')


def test_a_second_run_only_checks(tmp_path: Path) -> None:
    content = write_set(tmp_path)
    first = packed(tmp_path)
    before = (first.path / 'data.mdb').stat()
    assert packed(tmp_path).packed == 0
    after = (first.path / 'data.mdb').stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    # Only the bytes of the files tell that one has changed.
    name = sorted(content)[33]
    (tmp_path / name).write_bytes(b'other')
    assert packed(tmp_path).packed == 0
    with pytest.raises(InputError, match=f"'{name}' differs from its file; delete the folder and pack again"):
        packed(tmp_path, compare=True)


KILLED = """
import os, signal, sys
from pathlib import Path
from iid_mm.preparation import lmdb_packing
lmdb_packing.BATCH = 7
read = lmdb_packing._read_file
def deadly(index, name):
    if name.endswith(b'genuine/00005.png'):
        os.kill(os.getpid(), signal.SIGKILL)
    return read(index, name)
lmdb_packing._read_file = deadly
lmdb_packing.pack_index(Path(sys.argv[1]), progress=False)
"""


def test_goes_on_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ('whole', 'killed'):
        write_set(tmp_path / name)
    whole = packed(tmp_path / 'whole')
    command = [sys.executable, '-c', KILLED, str(tmp_path / 'killed')]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert not (tmp_path / 'killed/images.lmdb').exists()
    reads: list[bytes] = []
    read = lmdb_packing._read_file

    def counted(index: Path, name: bytes) -> bytes:
        reads.append(name)
        return read(index, name)

    monkeypatch.setattr(lmdb_packing, '_read_file', counted)
    result = packed(tmp_path / 'killed')
    # 26 files come before the deadly one: three transactions of seven are kept.
    assert result.packed == len(reads) == 50 - 21
    assert content_of(result.path) == content_of(whole.path)
    assert sorted(os.listdir(tmp_path / 'killed')) == ['frames', 'images.lmdb', 'index.parquet', 'masks']


def test_starts_anew_if_the_index_has_changed(tmp_path: Path) -> None:
    write_set(tmp_path)
    (tmp_path / 'frames/genuine/00009.png').unlink()
    with pytest.raises(FileNotFoundError):
        packed(tmp_path)
    content = write_set(tmp_path, count=12)
    assert packed(tmp_path).packed == len(content)
    write_set(tmp_path, count=4)
    with pytest.raises(InputError, match=r'of another index, or of an older state .* with --overwrite'):
        packed(tmp_path)
    assert packed(tmp_path, overwrite=True).images == 10


def test_the_map_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = write_set(tmp_path, count=60)
    assert sum(map(len, content.values())) > 2**18
    monkeypatch.setattr(lmdb_packing, 'MIN_MAP_SIZE', 2**16)
    monkeypatch.setattr(lmdb_packing, '_SPARE_BYTES', 0)
    result = packed(tmp_path, compare=True)
    assert result.images == len(content) == 150
    assert [value for _, value in content_of(result.path)[1:]] == [content[name] for name in sorted(content)]


def test_missing_unreadable_and_empty_files(tmp_path: Path) -> None:
    write_set(tmp_path)
    file = tmp_path / 'frames/fake/00003.png'
    file.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"image '.*fake/00003\.png', which .*index\.parquet lists, does"
    ):
        packed(tmp_path)
    file.touch()
    with pytest.raises(InputError, match=r"fake/00003\.png' is empty; prepare the set again"):
        packed(tmp_path)
    file.unlink()
    file.mkdir()
    with pytest.raises(InputError, match=r'fake/00003\.png is not a regular file'):
        packed(tmp_path)
    file.rmdir()
    file.write_bytes(b'back')
    assert packed(tmp_path).images == 50


@pytest.mark.parametrize('bad', ['../secret.png', '/etc/passwd', 'frames/../../secret.png'])
def test_paths_do_not_leave_the_folder(tmp_path: Path, bad: str) -> None:
    write_set(tmp_path / 'set', count=2)
    (tmp_path / 'secret.png').write_bytes(b'secret')
    table = pq.read_table(tmp_path / 'set/index.parquet')
    place = table.column_names.index('source_image')
    pq.write_table(
        table.set_column(place, 'source_image', pa.array([bad, None])), tmp_path / 'set/index.parquet'
    )
    with pytest.raises(InvalidIndexError, match="row 0, column 'source_image': must be a relative path"):
        packed(tmp_path / 'set')


def test_long_paths_and_empty_indices(tmp_path: Path) -> None:
    rows = rows_of(1)
    rows[0]['source_image'] = f'frames/{"ä" * 252}.png'
    write_index(rows, tmp_path / 'index.parquet')
    with pytest.raises(InputError, match='has 515 bytes, and a key of LMDB holds 511'):
        stored_names(tmp_path / 'index.parquet')
    write_index([], tmp_path / 'index.parquet')
    with pytest.raises(InputError, match='lists no image'):
        packed(tmp_path)
    with pytest.raises(FileNotFoundError, match='does not exist; make it with'):
        packed(tmp_path / 'gone')


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = write_set(tmp_path)
    room = iter([2**30, 2**30, 2**30, 2**24])
    monkeypatch.setattr(lmdb_packing.shutil, 'disk_usage', lambda path: Usage(next(room)))
    with pytest.raises(InputError, match=r'is full; 14 of 50 images are packed\. Free some space and start'):
        packed(tmp_path)
    monkeypatch.undo()
    assert packed(tmp_path).packed == len(content) - 14


@pytest.mark.parametrize(
    ('number', 'free', 'message'),
    [
        (errno.EDQUOT, 2**30, 'is full; 0 of 50'),
        # LMDB says so when a write stops half way.
        (errno.EIO, 0, 'is full; 0 of 50'),
        (errno.EIO, 2**30, 'cannot be written: put: .*; 0 of 50'),
    ],
)
def test_errors_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, free: int, message: str
) -> None:
    write_set(tmp_path)
    room = iter([2**30, 2**30, free])
    monkeypatch.setattr(lmdb_packing.shutil, 'disk_usage', lambda path: Usage(next(room)))

    class Failing:
        """A database whose disk fails after the note."""

        def __init__(self, environment: Any) -> None:
            self.environment = environment

        def stat(self) -> dict[str, int]:
            return {'entries': 1}

        def begin(self, write: bool) -> Any:
            raise lmdb.Error(f'put: {os.strerror(number)}')

    put = lmdb_packing._put

    def failing(environment: Any, part: Path, items: Any, state: str) -> None:
        put(environment if items[0][0] == NOTE_KEY.encode() else Failing(environment), part, items, state)

    monkeypatch.setattr(lmdb_packing, '_put', failing)
    with pytest.raises(InputError, match=message):
        packed(tmp_path)


def test_places_that_are_taken(tmp_path: Path) -> None:
    write_set(tmp_path / 'set')
    taken = tmp_path / 'taken'
    taken.mkdir()
    (taken / 'thesis.tex').write_text('years of work')
    for overwrite in (False, True):
        with pytest.raises(InputError, match='exists and is no LMDB database'):
            packed(tmp_path / 'set', out=taken, overwrite=overwrite)
        with pytest.raises(InputError, match='exists and is no LMDB database'):
            packed(tmp_path / 'set', out=taken / 'thesis.tex', overwrite=overwrite)
    assert (taken / 'thesis.tex').read_text() == 'years of work'
    with pytest.raises(InputError, match=r'thesis\.tex.*cannot be made: Not a directory; .* --out'):
        packed(tmp_path / 'set', out=taken / 'thesis.tex/x.lmdb')
    # A link to an empty folder on another disk.
    (tmp_path / 'scratch').mkdir()
    (tmp_path / 'set/images.lmdb').symlink_to(tmp_path / 'scratch')
    assert packed(tmp_path / 'set').path == tmp_path / 'scratch'
    assert (tmp_path / 'set/images.lmdb/data.mdb').is_file()
    assert packed(tmp_path / 'set').packed == 0


def test_two_at_a_time(tmp_path: Path) -> None:
    write_set(tmp_path)
    with RunLock(tmp_path / 'images.lmdb.part/lock') as lock:
        assert lock.acquire()
        with pytest.raises(InputError, match=r"another process is packing into '.*images\.lmdb\.part'"):
            packed(tmp_path)
    assert packed(tmp_path).images == 50


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: RunLock) -> bool:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    write_set(tmp_path)
    monkeypatch.setattr(RunLock, 'acquire', refuse)
    assert packed(tmp_path).images == 50


def test_damaged_databases(tmp_path: Path) -> None:
    write_set(tmp_path, count=60)
    file = packed(tmp_path).path / 'data.mdb'
    change(file.parent, {b'frames/fake/00044.png': None})
    with pytest.raises(InputError, match=r"'frames/fake/00044\.png' is missing; delete the folder"):
        packed(tmp_path)
    change(file.parent, {b'frames/fake/00044.png': b'x', b'frames/more.png': b'x'})
    with pytest.raises(InputError, match=r"'frames/more\.png' should not be there"):
        packed(tmp_path)
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(InputError, match='the file is truncated; delete the folder and pack again'):
        packed(tmp_path)
    file.write_bytes(b'no database' * 1000)
    with pytest.raises(InputError, match=r'cannot be opened: .* delete the folder and pack again'):
        packed(tmp_path)


def test_arguments_and_missing_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_set(tmp_path)
    with pytest.raises(InputError, match='num_threads=0'):
        packed(tmp_path, num_threads=0)
    monkeypatch.setitem(sys.modules, 'lmdb', None)
    with pytest.raises(MissingExtraError, match=r"pip install 'iid-mm\[lmdb\]'"):
        packed(tmp_path)
