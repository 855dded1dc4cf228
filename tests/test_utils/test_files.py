# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest

from iid_mm.errors import InputError
from iid_mm.utils.files import (
    check_output,
    printable,
    read_limited,
    reason_of,
    replacing,
    safe_name,
    write_bytes,
    write_json,
    write_text,
)

ODD = 'a\x1b[2J\n\r\t\x07\x9b1m\u202eb\u2066c\u2028d\udce9'


def test_names_are_shown_without_what_commands_a_terminal() -> None:
    assert printable('Grüße 视频 🙂.mp4') == 'Grüße 视频 🙂.mp4'
    shown = printable(ODD)
    assert shown.isprintable()
    assert shown == 'a%1B[2J%0A%0D%09%07%C2%9B1m%E2%80%AEb%E2%81%A6c%E2%80%A8d%E9'
    shown.encode('utf-8')
    assert printable(Path('x.png')) == 'x.png'
    assert printable('a b [é] 視 %41') == 'a b [é] 視 %41'
    assert printable('\ud800') == '%ED%A0%80'
    # A locale that knows ASCII only hands names of UTF-8 over in the same way.
    assert printable('\udcc3\udca9') == 'é'


def test_safe_names() -> None:
    assert safe_name('holiday (1)') == 'holiday (1)'
    assert safe_name('12:30') == '12_30'
    assert safe_name('con.x') == '_con.x'
    assert safe_name('contact') == 'contact'
    assert safe_name(ODD).isprintable()
    # Names that begin alike stay apart; the same name stays the same.
    long = [safe_name('\u89c6' * 100 + end) for end in 'aab']
    assert long[0] == long[1] != long[2]
    assert {len(os.fsencode(name)) for name in long} <= {228, 229, 230}
    assert len(safe_name('x' * 300, 40)) == 40


def test_outputs_that_would_destroy_something(tmp_path: Path) -> None:
    source, out = tmp_path / 'in.pth', tmp_path / 'out.pth'
    source.write_bytes(b'x')
    check_output(out, [source, tmp_path / 'missing'])
    out.write_bytes(b'an earlier result')
    check_output(out, [source])
    out.unlink()
    out.symlink_to(source)
    for path in (source, out):
        with pytest.raises(InputError, match='is an input'):
            check_output(path, [source])
    with pytest.raises(InputError, match='is a folder'):
        check_output(tmp_path, [source])
    os.mkfifo(tmp_path / 'pipe')
    with pytest.raises(InputError, match=r'--json .* is not a regular file'):
        check_output(tmp_path / 'pipe', [source], option='--json')


def write_half(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(b'half')
        assert temporary.name.startswith('.')
        assert temporary.name.isascii()
        raise RuntimeError


@pytest.mark.parametrize('name', [b'plain', b'caf\xe9', b'x' * 255, b'12:30', b'a\nb'])
def test_files_of_any_name_appear_whole(name: bytes, tmp_path: Path) -> None:
    path = tmp_path / 'new' / os.fsdecode(name)
    write_bytes(path, b'first')
    with pytest.raises(RuntimeError):
        write_half(path)
    assert path.read_bytes() == b'first'
    assert os.listdir(path.parent) == [path.name]
    write_text(path, 'Grüße')
    assert path.read_text(encoding='utf-8') == 'Grüße'


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / 'target').write_text('precious')
    (tmp_path / 'link').symlink_to('target')
    write_text(tmp_path / 'link', 'new')
    assert (tmp_path / 'target').read_text() == 'precious'
    assert not (tmp_path / 'link').is_symlink()


def test_json_holds_names_of_any_bytes(tmp_path: Path) -> None:
    write_json(tmp_path / 'a.json', {'source': 'caf\udce9'})
    assert (tmp_path / 'a.json').read_bytes() == b'{\n  "source": "caf\\udce9"\n}\n'


def test_reasons_are_one_line() -> None:
    assert reason_of(OSError(28, 'No space left on device', 'a\nb')) == 'No space left on device'
    assert reason_of(MemoryError()) == 'not enough memory'
    assert reason_of(InputError('a\nb')) == 'a b'
    assert reason_of(RuntimeError('CUDA\x1b\nerror')) == 'RuntimeError: CUDA%1B error'
    assert reason_of(KeyError()) == 'KeyError'
    assert len(reason_of(ValueError('x' * 1000))) == 300
    error = InputError('out/x cannot be written')
    error.__cause__ = OSError(30, 'Read-only file system')
    assert reason_of(error) == 'Read-only file system'


def test_reading_makes_no_more_room_than_there_is(tmp_path: Path) -> None:
    path = tmp_path / 'a'
    path.write_bytes(b'x' * 70_000)
    tracemalloc.start()
    try:
        assert read_limited(path) == b'x' * 70_000
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert len(read_limited(path, 70_000)) == 70_000
    with pytest.raises(InputError, match='larger than 69999 bytes'):
        read_limited(path, 69_999)
    with pytest.raises(InputError, match='not a regular file'):
        read_limited(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_limited(tmp_path / 'b')


@pytest.mark.skipif(not os.path.exists('/dev/fd'), reason='a system without /dev/fd')
def test_devices_and_open_files_are_written_to_and_not_replaced(tmp_path: Path) -> None:
    with (tmp_path / 'out').open('w+b') as file:
        write_bytes(Path(f'/dev/fd/{file.fileno()}'), b'said')
        file.seek(0)
        assert file.read() == b'said'
    terminal, end = os.openpty()
    try:
        write_bytes(Path(os.ttyname(end)), b'said')
        assert os.read(terminal, 10) == b'said'
    finally:
        os.close(terminal)
        os.close(end)
