# SPDX-License-Identifier: Apache-2.0
"""Files that would harm the process that reads them; each is refused in one line."""

from __future__ import annotations

import io
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from iid_mm.errors import InputError
from iid_mm.utils.checkpoint import load_checkpoint_file
from iid_mm.utils.latest_checkpoint import stored_position
from iid_mm.utils.unpickling import check_tuples


class Call:
    """Unpickles to the result of a call, and a state that is set on it."""

    def __init__(self, function: Any, arguments: tuple[Any, ...], state: Any = None) -> None:
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.parts


def save(path: Path, value: Any) -> Path:
    torch.save({'state_dict': {}, 'x': value}, path)
    return path


def dtype(name: str, *state: Any) -> Call:
    return Call(np.dtype, (name, False, True), state or None)


def array(shape: Any, kind: Any, data: Any, fortran: bool = False) -> Call:
    reconstruct, arguments = np.empty(0).__reduce__()[:2]
    return Call(reconstruct, arguments, (1, shape, kind, fortran, data))


LITTLE = (3, '<', None, None, None, -1, -1, 0)
# NumPy's flag for "elements are references to objects" is 1; field at offset 800 of an element of 8 bytes.
RECORD = (3, '|', None, ('a',), {'a': (np.dtype('f8'), 800)}, 8, 1, 0)


@pytest.mark.parametrize(
    'value',
    [
        # An object array whose "references" are chosen by the file; freeing it would already crash.
        array((1,), dtype('O', 3, '|', None, None, None, -1, -1, 0), b'\x41' * 8),
        array((1,), dtype('O', 3, '|', None, None, None, -1, -1, 63), [1]),
        array((1,), dtype('V8', *RECORD), b'\0' * 8),
        array((1,), dtype('f8,O'), b'\0' * 16),
        # More elements than there are data.
        array((1 << 40,), dtype('f8', *LITTLE), b'\0' * 8),
        array((-1, -1), dtype('f8', *LITTLE), b'\0' * 8),
        array((1,), dtype('f8', *LITTLE), 'text'),
        array((1,), 'f8', b'\0' * 8),
        Call(np.float64(1).__reduce__()[0], (dtype('O'), b'\0' * 8)),
        Call(np.float64(1).__reduce__()[0], (dtype('f8', *LITTLE), b'\0')),
        dtype('f8', 3),
        dtype('datetime64[s]'),
        dtype('U1000000000'),
    ],
    ids=[
        *('object', 'object list', 'record', 'names', 'more', 'negative', 'text', 'no dtype', 'scalar'),
        *('short', 'state', 'date', 'huge'),
    ],
)
def test_forged_arrays_are_refused(value: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r'x\.pth') as caught:
        load_checkpoint_file(save(tmp_path / 'x.pth', value))
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('name', ['f8', 'f4', 'i8', 'u1', 'b1', 'f2'])
@pytest.mark.parametrize('order', ['C', 'F'])
def test_arrays_of_numbers_are_read_as_they_were(name: str, order: Any, tmp_path: Path) -> None:
    values = np.asarray(np.arange(6).reshape(2, 3) % 2, dtype=name, order=order)
    found = load_checkpoint_file(
        save(tmp_path / 'x.pth', [values, values.astype(values.dtype.newbyteorder('>'))])
    )
    for one in found['x']:
        assert type(one) is np.ndarray
        assert one.dtype == np.dtype(name)
        assert one.dtype.isnative
        assert one.flags.writeable
        assert one.tolist() == values.tolist()


def test_history_goes_on(tmp_path: Path) -> None:
    """What was read can be added to and stored again."""
    history = HistoryBuffer([1.5, 2.5], [1, 2], max_length=7)
    path = save(tmp_path / 'x.pth', {'deep': [(history, np.float32(3))]})
    for length in (3, 4):
        found, number = load_checkpoint_file(path)['x']['deep'][0]
        assert type(found) is HistoryBuffer
        assert (type(number), number, found.max_length) == (np.float32, 3, 7)
        found.update(4.0)
        assert found.data[0].tolist() == [1.5, 2.5, 4.0, 4.0][:length]
        assert found.statistics('min') == 1.5
        save(path, {'deep': [(found, number)]})


@pytest.mark.parametrize(
    'state', [5, {}, {'_log_history': np.zeros(2), '_count_history': np.zeros(1)}, {'_log_history': 5}]
)
def test_damaged_history_is_refused(state: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HistoryBuffer, '__getstate__', lambda _: state)
    path = save(tmp_path / 'x.pth', HistoryBuffer())
    with pytest.raises(InputError, match='damaged'):
        load_checkpoint_file(path)


def test_containers_that_hold_themselves(tmp_path: Path) -> None:
    loop: dict[str, Any] = {'a': np.float64(1)}
    loop['self'] = [loop]
    found = load_checkpoint_file(save(tmp_path / 'x.pth', loop))['x']
    assert found['self'][0] is found
    assert found['a'] == 1.0


def test_tuples_that_hold_another_one_twice_are_read_once(tmp_path: Path) -> None:
    """Looked at one by one these would be 2 ** 60 tuples."""
    value: Any = (np.float64(1),)
    for _ in range(60):
        value = ([value, value],)
    found = load_checkpoint_file(save(tmp_path / 'x.pth', value))['x']
    for _ in range(60):
        assert found[0][0] is found[0][1]
        found = found[0][0]
    assert found == (1.0,)


@pytest.mark.parametrize('versions', ['x', {'': 5}, {5: {}}, {'': {'version': 'x'}}, {'': {'version': 2}}])
def test_dictionaries_bring_no_methods_of_their_own(versions: Any, tmp_path: Path) -> None:
    state = OrderedDict(w=torch.ones(1))
    vars(state).update(get='x', _metadata=versions)
    content = OrderedDict(state_dict=state)
    vars(content)['get'] = 'x'
    torch.save(content, tmp_path / 'x.pth')
    found = load_checkpoint_file(tmp_path / 'x.pth')
    assert vars(found) == {}
    assert vars(found['state_dict']) == ({'_metadata': versions} if versions == {'': {'version': 2}} else {})


def test_an_archive_larger_inside_than_outside_is_not_read(tmp_path: Path) -> None:
    torch.save({'w': torch.zeros(1 << 20)}, tmp_path / 'a.pth')
    with zipfile.ZipFile(tmp_path / 'a.pth') as source, zipfile.ZipFile(tmp_path / 'x.pth', 'w') as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry), zipfile.ZIP_DEFLATED)
    assert (tmp_path / 'x.pth').stat().st_size < 100_000
    with pytest.raises(InputError, match=r'x\.pth is no checkpoint: it unpacks to \d+ bytes'):
        load_checkpoint_file(tmp_path / 'x.pth')


def shared_tuples(depth: int) -> bytes:
    """A pickle of a dictionary whose key is a tuple that holds another one twice, and so on."""
    text = b'\x80\x02}K\x01\x85q\x00'
    for number in range(depth):
        text += b'0h' + bytes([number]) + b'h' + bytes([number]) + b'\x86q' + bytes([number + 1])
    return text + b'K\x01s.'


def test_keys_that_take_forever_to_hash_are_refused(tmp_path: Path) -> None:
    assert len(pickle.loads(shared_tuples(10))) == 1
    check_tuples(io.BytesIO(shared_tuples(10)))
    with pytest.raises(pickle.UnpicklingError, match='too many parts'):
        check_tuples(io.BytesIO(shared_tuples(60)))
    torch.save({'a': 1}, tmp_path / 'a.pth')
    with zipfile.ZipFile(tmp_path / 'a.pth') as source, zipfile.ZipFile(tmp_path / 'x.pth', 'w') as target:
        for entry in source.infolist():
            name = entry.filename
            target.writestr(name, shared_tuples(60) if name.endswith('data.pkl') else source.read(entry))
    torch.save({}, tmp_path / 'b.pth', _use_new_zipfile_serialization=False)
    # The format before archives: three records come before the content.
    head = io.BytesIO((tmp_path / 'b.pth').read_bytes())
    for _ in range(3):
        list(pickletools.genops(head))
    (tmp_path / 'y.pth').write_bytes(head.getvalue()[: head.tell()] + shared_tuples(60))
    for name in ('x.pth', 'y.pth'):
        with pytest.raises(InputError, match='too many parts'):
            load_checkpoint_file(tmp_path / name)
    assert stored_position(tmp_path / 'x.pth') is None


@pytest.mark.parametrize('protocol', range(6))
def test_every_pickle_of_plain_values_passes(protocol: int) -> None:
    value = {
        'a': [(1, (2.5, 'x')), {3, 4}],
        'b': (),
        5: {'c': None, (1, 2): b'y'},
        'h': HistoryBuffer([1.0], [1]),
    }
    check_tuples(io.BytesIO(pickle.dumps([value, value['a'], OrderedDict(value)], protocol)))
