# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import random
import tarfile
from pathlib import Path

import pytest

from iid_mm.errors import InputError
from iid_mm.media import archives
from iid_mm.media.archives import (
    ArchiveListing,
    UnsafeArchiveError,
    list_images,
    unpack_images,
)

DATA = {f'1/fake/35/{number}.png': os.urandom(700 + number) for number in range(8)}


def member(name: str, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def write(
    path: Path, members: dict[str, bytes] | list[tuple[tarfile.TarInfo, bytes]], mode: str = 'w'
) -> Path:
    if isinstance(members, dict):
        members = [(member(name, size=len(data)), data) for name, data in members.items()]
    with tarfile.open(path, mode, format=tarfile.PAX_FORMAT) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return path


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob('*') if p.is_file()}


@pytest.mark.parametrize('mode', ['w', 'w:gz', 'w:bz2', 'w:xz'])
@pytest.mark.parametrize('suffix', ['.tar', '.tar.gz', '.tgz'])
def test_any_compression_under_any_suffix(tmp_path, mode, suffix):
    path = write(tmp_path / f'1{suffix}', DATA, mode)
    assert list_images(path) == ArchiveListing(tuple(DATA))
    assert unpack_images(path, tmp_path / 'out') == ArchiveListing(tuple(DATA))
    assert files_of(tmp_path / 'out') == DATA
    assert sorted(os.listdir(tmp_path)) == [path.name, 'out']


def test_images_only_under_plain_names(tmp_path):
    path = write(
        tmp_path / '1.tar.gz',
        [
            (member('.', type=tarfile.DIRTYPE), b''),
            (member('./1', type=tarfile.DIRTYPE), b''),
            (member('./1/fake/2.PNG', size=3), b'abc'),
            (member('./1//fake/./3.jpg', size=2), b'de'),
            (member('./1/readme.txt', size=1), b'x'),
            (member('./1/fake/._2.png', size=1), b'x'),
            (member('./1/@eaDir/2.png/thumb.jpg', size=1), b'x'),
            (member('__MACOSX/2.png', size=1), b'x'),
            (member('0.webp'), b''),
        ],
        'w:gz',
    )
    assert list_images(path) == ArchiveListing(('1/fake/2.PNG', '1/fake/3.jpg', '0.webp'))
    unpack_images(path, tmp_path / 'a' / 'out')
    expected = {'1/fake/2.PNG': b'abc', '1/fake/3.jpg': b'de', '0.webp': b''}
    assert files_of(tmp_path / 'a' / 'out') == expected


def link(kind: bytes, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member('1/2.png', type=kind, linkname=target), b''


BAD_NAMES = {
    'absolute path': '/tmp/evil.png',
    'parent': '../evil.png',
    'parent inside': '1/../../evil.png',
    'harmless parent': '1/../evil.png',
    'parent at the end': '1/..',
    'parent of no image': '../evil.txt',
    'drive': 'C:/evil.png',
    'drive without slash': 'c:evil.png',
    'backslash': '1\\..\\evil.png',
    'UNC': '\\\\host\\evil.png',
    'stream': '1/evil.png:x.png',
    'control': '1/evil\n.png',
    'not UTF-8': '1/evil\udcff.png',
}
LONG_NAMES = {
    'long part': 'a' * 252 + '.png',
    'long name': ('a' * 200 + '/') * 6 + '.png',
    'deep name': 'a/' * 32 + '.png',
}
HOSTILE = {
    **{
        key: ([(member(name, size=1), b'x')], 'a name that is absolute, has')
        for key, name in BAD_NAMES.items()
    },
    **{key: ([(member(name, size=1), b'x')], 'a name of more than ') for key, name in LONG_NAMES.items()},
    'parent folder': ([(member('../evil', type=tarfile.DIRTYPE), b'')], 'a name that is absolute, has ".."'),
    'symbolic link': ([link(tarfile.SYMTYPE, '/etc/passwd')], 'a link'),
    'symbolic link inside': ([link(tarfile.SYMTYPE, '1.png')], 'a link'),
    'hard link': ([link(tarfile.LNKTYPE, '/etc/passwd')], 'a link'),
    'link of no image': ([(member('1', type=tarfile.SYMTYPE, linkname='/tmp'), b'')], 'a link'),
    'device': ([(member('1/2.png', type=tarfile.CHRTYPE), b'')], 'a device'),
    'pipe': ([(member('1/2.png', type=tarfile.FIFOTYPE), b'')], 'special file'),
    'twice': ([(member('1/2.png', size=1), b'x')] * 2, 'two members have this name'),
    'twice in other words': (
        [(member('1/2.png', size=1), b'x'), (member('./1/./2.png', size=1), b'y')],
        'two members have this name',
    ),
    'file as folder': ([(member('1', size=1), b'x'), (member('1/2.png', size=1), b'x')], "'1' is a file and"),
    'folder as file': ([(member('1/2.png', size=1), b'x'), (member('1', size=1), b'x')], "'1' is a file and"),
}


@pytest.mark.parametrize('mode', ['w', 'w:gz'])
@pytest.mark.parametrize(('members', 'rule'), HOSTILE.values(), ids=HOSTILE)
def test_hostile_archives_are_refused(tmp_path, members, rule, mode):
    # What is harmless in it is not unpacked, either.
    path = write(tmp_path / '1.tar.gz', [(member('0/0.png', size=1), b'x'), *members], mode)
    with pytest.raises(UnsafeArchiveError) as listing:
        list_images(path)
    assert rule in str(listing.value)
    assert repr(str(path)) in str(listing.value)
    assert repr(members[-1][0].name) in str(listing.value)
    (tmp_path / 'in').mkdir()
    with pytest.raises(UnsafeArchiveError) as unpacking:
        unpack_images(path, tmp_path / 'in' / 'out')
    assert str(unpacking.value) == str(listing.value)
    assert os.listdir(tmp_path / 'in') == []
    assert sorted(os.listdir(tmp_path)) == ['1.tar.gz', 'in']


@pytest.mark.parametrize('key', ['absolute path', 'parent', 'parent inside', 'parent of no image'])
def test_pythons_filter_refuses_or_renames_what_leads_outside(tmp_path, key):
    """Our rule for names refuses these first; the filter is relied on for what it does not foresee."""
    info = member(BAD_NAMES[key])
    with contextlib.suppress(tarfile.OutsideDestinationError):
        assert tarfile.data_filter(info, str(tmp_path / '1.tar')).name != info.name


def test_filter_of_newer_releases_of_python(tmp_path, monkeypatch):
    """From 3.10.18, 3.11.13 and 3.12.11 on it ignores missing files below the folder, and no other error."""

    def strict(info, folder):
        with contextlib.suppress(FileNotFoundError):
            os.lstat(os.path.join(folder, info.name))

    monkeypatch.setattr(tarfile, 'data_filter', strict)
    path = write(tmp_path / '1.tar', DATA)
    assert list_images(path) == unpack_images(path, tmp_path / 'out')


def test_refusals_of_pythons_filter_are_obeyed(tmp_path, monkeypatch):
    def refuse(info, folder):
        if info.name.endswith('2.png'):
            raise tarfile.OutsideDestinationError(info, folder)

    monkeypatch.setattr(tarfile, 'data_filter', refuse)
    path = write(tmp_path / '1.tar', DATA)
    for run in (lambda: list_images(path), lambda: unpack_images(path, tmp_path / 'out')):
        with pytest.raises(UnsafeArchiveError, match=r"2.png': Python's filter .*OutsideDestinationError"):
            run()
    assert os.listdir(tmp_path) == ['1.tar']
    monkeypatch.delattr(tarfile, 'data_filter')
    with pytest.raises(InputError, match=r'update it to 3.10.12, 3.11.4 or later'):
        list_images(path)


def test_declared_size(tmp_path):
    head = member('1/2.png', size=archives.MAX_IMAGE_BYTES + 1).tobuf(tarfile.GNU_FORMAT)
    path = tmp_path / '1.tar'
    path.write_bytes(head + bytes(10240))
    with pytest.raises(UnsafeArchiveError, match=r'2.png.*an image of 67108865 bytes; the limit is 67108864'):
        list_images(path)


@pytest.mark.parametrize('size', [b'\xff' * 12, b'\xff' * 10 + b'\xfe\x00'])
@pytest.mark.parametrize('kind', [tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_negative_size(tmp_path, size, kind):
    """Sizes below zero make careless readers run in circles."""
    good = member('0.png').tobuf(tarfile.GNU_FORMAT)
    head = bytearray(member('1/2.png', type=kind).tobuf(tarfile.GNU_FORMAT))
    head[124:136] = size
    head[148:156] = b'%06o\0 ' % (sum(head[:148]) + sum(head[156:512]) + 256)
    path = tmp_path / '1.tar'
    for content in (good + bytes(head) + good + bytes(10240), bytes(head) + good + bytes(10240)):
        path.write_bytes(content)
        try:
            # Releases of Python differ in where they notice.
            listing = list_images(path)
        except InputError:
            continue
        assert kind != tarfile.REGTYPE
        assert '1/2.png' not in listing.names


def test_large_header(tmp_path):
    """A name of a GiB of zeros, which gzip makes small, is not read into memory."""
    head = member('././@LongLink', type=tarfile.GNUTYPE_LONGNAME, size=2**30).tobuf(tarfile.GNU_FORMAT)
    path = tmp_path / '1.tar.gz'
    path.write_bytes(gzip.compress(head + bytes(2**21)))
    with pytest.raises(UnsafeArchiveError, match='a header of 1073741824 bytes'):
        list_images(path)


def test_chain_of_headers(tmp_path):
    """Long names of long names of ... end the recursion of tarfile, not ours."""
    head = member('././@LongLink', type=tarfile.GNUTYPE_LONGNAME, size=2).tobuf(tarfile.GNU_FORMAT)
    block = head + b'a\0' + bytes(510)
    path = tmp_path / '1.tar'
    path.write_bytes(member('0.png').tobuf(tarfile.GNU_FORMAT) + block * 3000 + bytes(10240))
    with pytest.raises(UnsafeArchiveError, match='too many headers'):
        list_images(path)
    path.write_bytes(block * 3000 + bytes(10240))
    with pytest.raises(InputError, match='cannot be read'):
        list_images(path)


def test_sparse(tmp_path):
    path = write(tmp_path / '1.tar', [(member('1/2.png', pax_headers={'GNU.sparse.map': '0,0,100,1'}), b'')])
    with pytest.raises(UnsafeArchiveError, match='a sparse file'):
        list_images(path)


def test_bomb(tmp_path):
    """A GiB of zeros that take a MiB, and a plain archive that promises more than it holds."""
    path = tmp_path / '1.tar.gz'
    with gzip.open(path, 'wb', compresslevel=9) as file:
        for number in range(2):
            file.write(member(f'{number}.bin', size=2**25).tobuf())
            file.write(bytes(2**25))
        file.write(bytes(1024))
    assert 1000 * path.stat().st_size < 2**26
    with pytest.raises(UnsafeArchiveError, match=r'1.bin.*more than 1000 times the size'):
        list_images(path)
    path.write_bytes(member('0.bin', size=2**25).tobuf() + bytes(1024))
    with pytest.raises(UnsafeArchiveError, match=r'0.bin.*more than 1000 times the size'):
        list_images(path)


def test_totals(tmp_path, monkeypatch):
    path = write(tmp_path / '1.tar', DATA)
    total = sum(map(len, DATA.values()))
    monkeypatch.setattr(archives, 'MAX_MEMBERS', 8)
    monkeypatch.setattr(archives, 'MAX_TOTAL_BYTES', total)
    assert len(list_images(path).names) == 8
    monkeypatch.setattr(archives, 'MAX_TOTAL_BYTES', total - 1)
    with pytest.raises(UnsafeArchiveError, match=f'add up to more than {total - 1} bytes'):
        list_images(path)
    monkeypatch.setattr(archives, 'MAX_MEMBERS', 7)
    with pytest.raises(UnsafeArchiveError, match=r'7.png.*more than 7 members'):
        unpack_images(path, tmp_path / 'out')


def test_not_an_archive(tmp_path):
    path = tmp_path / '1.tar.gz'
    with pytest.raises(FileNotFoundError, match='is missing'):
        list_images(path)
    for content in (b'', b'\x1f\x8b', b'<html>quota exceeded</html>' * 100, gzip.compress(b'hello' * 999)):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r'cannot be read as a tar archive .*; download it again'):
            list_images(path)
        with pytest.raises(InputError, match='cannot be read'):
            unpack_images(path, tmp_path / 'out')
    assert os.listdir(tmp_path) == ['1.tar.gz']


def test_nothing_before_the_damage(tmp_path):
    path = write(tmp_path / '1.tar', DATA)
    path.write_bytes(path.read_bytes()[:600])
    for run in (lambda: list_images(path), lambda: unpack_images(path, tmp_path / 'out')):
        with pytest.raises(InputError, match=r"no image can be read \(cut off in '1/fake/35/0.png'\)"):
            run()
    assert os.listdir(tmp_path) == ['1.tar']


@pytest.mark.parametrize(
    ('size', 'count', 'problem'),
    [
        # 2 blocks of 512 bytes are the header and the first part of an image of 700 to 711 bytes.
        (3 * 1536 + 512 + 702, 3, "cut off in '1/fake/35/3.png'"),
        (3 * 1536 + 512 + 703, 4, 'damaged or cut off: unexpected end of data'),
        (3 * 1536 + 100, 3, 'no end mark: it may be cut off'),
        (3 * 1536, 3, 'no end mark: it may be cut off'),
        (8 * 1536, 8, 'no end mark: it may be cut off'),
        (8 * 1536 + 512, 8, ''),
    ],
)
def test_plain_archive_cut_off(tmp_path, size, count, problem):
    path = write(tmp_path / '1.tar', DATA)
    path.write_bytes(path.read_bytes()[:size])
    listing = list_images(path)
    assert listing == ArchiveListing(tuple(DATA)[:count], problem)
    assert unpack_images(path, tmp_path / 'out') == listing
    assert files_of(tmp_path / 'out') == dict(list(DATA.items())[:count])


def test_broken_header(tmp_path):
    """tarfile takes a header that is none for the end."""
    for mode in ('w', 'w:gz'):
        path = write(tmp_path / '1.tar', DATA, mode)
        data = bytearray(gzip.decompress(path.read_bytes()) if mode == 'w:gz' else path.read_bytes())
        data[3 * 1536 + 5] ^= 1
        path.write_bytes(gzip.compress(data) if mode == 'w:gz' else data)
        problem = 'damaged: what follows the last member read is no header'
        assert list_images(path) == ArchiveListing(tuple(DATA)[:3], problem)


def test_compressed_archive_cut_off(tmp_path):
    whole = write(tmp_path / 'whole', DATA, 'w:gz').read_bytes()
    path = tmp_path / '1.tar.gz'
    for size in (len(whole) // 2, len(whole) - 4):
        path.write_bytes(whole[:size])
        listing = list_images(path)
        assert listing.names == tuple(DATA)[: len(listing.names)]
        assert listing.names
        assert 'ended before the end-of-stream marker' in listing.problem
        assert unpack_images(path, tmp_path / f'out{size}') == listing
    path.write_bytes(whole[:-8] + bytes(4) + whole[-4:])
    listing = list_images(path)
    assert listing.names == tuple(DATA)
    assert 'CRC check failed' in listing.problem


def test_random_damage(tmp_path):
    """Whatever happens to an archive, listing and unpacking agree and nothing else is raised."""
    rng = random.Random(0)
    path = tmp_path / '1.tar.gz'
    outcomes = set()
    for mode in ('w', 'w:gz'):
        whole = write(tmp_path / 'whole', DATA, mode).read_bytes()
        for case in range(150):
            data = bytearray(whole)
            for _ in range(rng.choice([1, 1, 3, 30])):
                data[rng.randrange(len(data))] = rng.randrange(256)
            if rng.random() < 0.3:
                del data[rng.randrange(len(data)) :]
            path.write_bytes(data)
            try:
                expected: object = list_images(path)
            except InputError as error:
                expected = str(error)
            folder = tmp_path / f'{mode[2:]}{case}'
            try:
                found: object = unpack_images(path, folder)
            except InputError as error:
                found = str(error)
                assert not folder.exists()
            assert found == expected
            outcomes.add('error' if isinstance(found, str) else 'problem' if found.problem else 'good')
    assert outcomes == {'error', 'problem', 'good'}


def test_folder_must_be_empty(tmp_path):
    path = write(tmp_path / '1.tar', DATA)
    folder = tmp_path / 'out'
    folder.mkdir()
    unpack_images(path, folder)
    assert files_of(folder) == DATA
    with pytest.raises(InputError, match='must not exist or be empty'):
        unpack_images(path, folder)
    assert files_of(folder) == DATA


def test_full_disk_leaves_nothing(tmp_path, monkeypatch):
    path = write(tmp_path / '1.tar', DATA)
    written = []

    def fail(*args: object) -> None:
        written.append(args)
        if len(written) == 3:
            raise OSError(28, 'No space left on device')

    monkeypatch.setattr(archives, '_write', fail)
    with pytest.raises(OSError, match='No space left'):
        unpack_images(path, tmp_path / 'out')
    assert os.listdir(tmp_path) == ['1.tar']


def test_names_that_are_one_to_the_file_system(tmp_path, monkeypatch):
    """As on a disk that ignores case."""
    path = write(tmp_path / '1.tar', {'1/a.png': b'x', '1/A.png': b'y'})
    assert len(list_images(path).names) == 2
    write_file = archives._write
    monkeypatch.setattr(
        archives, '_write', lambda target, *args: write_file(target.with_name(target.name.lower()), *args)
    )
    with pytest.raises(UnsafeArchiveError, match=r"two members have the name 'a\.png' here"):
        unpack_images(path, tmp_path / 'out')
    assert os.listdir(tmp_path) == ['1.tar']


def test_cache(tmp_path, monkeypatch):
    path = write(tmp_path / '1.tar.gz', DATA, 'w:gz')
    cache_dir = tmp_path / 'cache'
    expected = ArchiveListing(tuple(DATA))
    assert list_images(path, None) == expected
    assert list_images(path, cache_dir) == expected
    (cache,) = cache_dir.iterdir()
    calls = []
    read = archives._read_listing
    monkeypatch.setattr(archives, '_read_listing', lambda p: calls.append(p) or read(p))
    assert list_images(path, cache_dir) == expected
    assert calls == []

    good = json.loads(cache.read_text())
    for bad in (
        '',
        '{"archive"',
        '[]',
        '[' * 100_000,
        json.dumps({}),
        json.dumps(good | {'archive': []}),
        json.dumps(good | {'names': 'ab'}),
        json.dumps(good | {'names': [1]}),
        json.dumps(good | {'names': ['1/../../a.png']}),
        json.dumps(good | {'names': ['/a.png']}),
        json.dumps(good | {'problem': None}),
    ):
        cache.write_text(bad)
        assert list_images(path, cache_dir) == expected
        assert len(calls) == 1
        calls.clear()
    assert json.loads(cache.read_text()) == good

    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 10**9))
    list_images(path, cache_dir)
    write(path, {'2.png': b''})
    assert list_images(path, cache_dir) == ArchiveListing(('2.png',))
    assert len(calls) == 2
    assert [file.name for file in cache_dir.iterdir()] == [cache.name]


def test_cache_keeps_problems_but_no_refusals(tmp_path):
    path = write(tmp_path / '1.tar', DATA)
    path.write_bytes(path.read_bytes()[: 3 * 1536])
    cache_dir = tmp_path / 'cache'
    first = list_images(path, cache_dir)
    assert first.problem
    assert list_images(path, cache_dir) == first
    write(path, {'../1.png': b''})
    for _ in range(2):
        with pytest.raises(UnsafeArchiveError):
            list_images(path, cache_dir)
