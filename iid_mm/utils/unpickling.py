# SPDX-License-Identifier: Apache-2.0
"""Reading files of ``torch.save`` without running code that they may contain.

PyTorch's own restricted unpickler does the work. It takes tensors and plain containers; what MMEngine stores
beside them (NumPy arrays and scalars, training history) it would build by calling NumPy, whose ``dtype`` and
``ndarray`` believe what a file says about memory: an ``object`` array of forged pointers is enough to take
over the process. Here plain stand-ins receive these parts, and numbers are made from checked values.
"""

from __future__ import annotations

import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer

from iid_mm.errors import InputError

HISTORY_METHODS = ('min', 'max', 'current', 'mean')
"""Methods that MMEngine's training history looks up when it is unpickled."""
_NUMBERS = 'biuf'
"""Kinds of NumPy numbers that a checkpoint may contain: booleans, integers and floats."""
MAX_LEAVES = 1_000_000
"""Numbers, texts and so on in a tuple, including those in its inner tuples."""
MAX_RECORD = 1 << 28
"""Bytes of what :func:`load_record` reads."""
_MARK = -1


class _Dtype:
    """Stands in for ``numpy.dtype``."""

    def __init__(self, name: Any, align: Any = False, copy: Any = False) -> None:
        if not isinstance(name, str) or name[:1] not in _NUMBERS or not name[1:].isdecimal():
            raise pickle.UnpicklingError(f'Unsupported global: GLOBAL numpy.dtype({str(name)[:20]!r})')
        self.dtype = np.dtype(name)

    def __setstate__(self, state: Sequence[Any]) -> None:
        order = state[1] if len(state) > 1 else None
        if order not in ('<', '>', '|', '='):
            raise pickle.UnpicklingError(f'unknown byte order {order!r}')
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """Stands in for ``numpy.ndarray``."""

    # Not set in __init__, which unpickling passes by.
    array: np.ndarray = np.empty(0)

    def __setstate__(self, state: Sequence[Any]) -> None:
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _Dtype) or not isinstance(data, bytes):
            raise pickle.UnpicklingError('Unsupported global: GLOBAL numpy.ndarray of objects')
        # A copy, in native byte order; a shape that does not fit the data is a ValueError.
        flat = np.frombuffer(data, dtype.dtype).astype(dtype.dtype.newbyteorder('='))
        self.array = flat.reshape(shape, order='F' if fortran else 'C')


class _History:
    """Stands in for MMEngine's ``HistoryBuffer``."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def restore(self) -> HistoryBuffer:
        if not isinstance(self.state, dict):
            raise pickle.UnpicklingError('damaged training history')
        logs, counts = (self._numbers(name) for name in ('_log_history', '_count_history'))
        length = self.state.get('max_length', 1_000_000)
        if len(logs) != len(counts) or not isinstance(length, int):
            raise pickle.UnpicklingError('damaged training history')
        return HistoryBuffer(logs, counts, max(length, 1))

    def _numbers(self, name: str) -> Any:
        value = self.state.get(name)
        if not isinstance(value, _Array) or value.array.ndim != 1:
            raise pickle.UnpicklingError('damaged training history')
        return value.array


def _reconstruct(kind: Any, shape: Any, code: Any) -> _Array:
    """Stand in for NumPy's function of that name, which arrays are pickled with."""
    return _Array()


def _scalar(dtype: Any, data: Any = None) -> Any:
    """Stand in for NumPy's function of that name, which single numbers are pickled with."""
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes):
        raise pickle.UnpicklingError('Unsupported global: GLOBAL numpy scalar of an object')
    return np.frombuffer(data, dtype.dtype, 1).astype(dtype.dtype.newbyteorder('='))[0]


def _history_method(owner: Any, name: Any) -> Any:
    """Stand in for ``getattr``, which would let a file reach any code."""
    if owner is not _History or name not in HISTORY_METHODS:
        raise pickle.UnpicklingError(f'Unsupported global: GLOBAL getattr({owner!r}, {name!r})')
    return getattr(HistoryBuffer, name)


# NumPy 1 and NumPy 2 name the module differently, and checkpoints move between them.
_STAND_INS: list[Any] = [
    (_Dtype, 'numpy.dtype'),
    (_Array, 'numpy.ndarray'),
    (_History, 'mmengine.logging.history_buffer.HistoryBuffer'),
    (_history_method, 'builtins.getattr'),
    *((_reconstruct, f'numpy.{core}.multiarray._reconstruct') for core in ('core', '_core')),
    *((_scalar, f'numpy.{core}.multiarray.scalar') for core in ('core', '_core')),
]


def load_plain(path: Path) -> Any:
    """Read a file of ``torch.save`` to the CPU: only tensors, plain values and training history.

    Args:
        path: The file.

    Returns:
        Its content.

    Raises:
        pickle.UnpicklingError: It contains anything else.
        InputError: It claims to hold more than its size allows.
    """
    _check_file(path)
    with torch.serialization.safe_globals(_STAND_INS):
        content = torch.load(path, map_location='cpu', weights_only=True)
    return _restore(content, {})


def _check_file(path: Path) -> None:
    """Check what torch.load would believe: sizes in an archive, and tuples in what it unpickles."""
    if not zipfile.is_zipfile(path):
        with path.open('rb') as file:
            # The format before archives: the fourth pickle is the content.
            for _ in range(4):
                check_tuples(file)
        return
    with zipfile.ZipFile(path) as archive:
        # torch.save does not compress.
        inside = sum(entry.file_size for entry in archive.infolist())
        if inside > path.stat().st_size:
            raise InputError(f'{path} is no checkpoint: it unpacks to {inside} bytes, more than the file has')
        for entry in archive.infolist():
            if entry.filename.endswith('data.pkl'):
                with archive.open(entry) as record:
                    check_tuples(record)


class _Anything:
    """Stands for every object of a record that is no plain value."""

    def __new__(cls, *args: Any, **kwargs: Any) -> _Anything:
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take anything."""

    def __call__(self, *args: Any, **kwargs: Any) -> _Anything:
        return self

    __setstate__ = __setitem__ = __init__


# The unpickler that is written in Python: that in C allocates a table as long as the largest number of an
# object that the record names, gigabytes for a record of a few bytes.
class _RecordReader(pickle._Unpickler):
    """Reads the plain values of a record; runs nothing, since it knows no other class."""

    def find_class(self, module: str, name: str) -> Any:
        return _Anything

    def persistent_load(self, pid: Any) -> Any:
        return None


def load_record(path: Path) -> Any:
    """Read the plain values of a file of ``torch.save``, without its tensors, whatever classes it names.

    Args:
        path: The file.

    Returns:
        Its content, with stand-ins for all objects.

    Raises:
        Exception: Of any kind, if the file is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        (record,) = (info for info in archive.infolist() if info.filename.endswith('/data.pkl'))
        if record.file_size > MAX_RECORD:
            raise InputError(f'{path} has a record of {record.file_size} bytes')
        with archive.open(record) as file:
            check_tuples(file)
        with archive.open(record) as file:
            return _RecordReader(file).load()


def check_tuples(record: IO[bytes]) -> None:
    """Check that no tuple has an endless number of leaves: as a key it would be hashed leaf by leaf.

    A pickle of a few bytes may hold a tuple that holds another one twice, which holds another one twice, ...
    The unpickler's stack is followed, as numbers of leaves. The file is read to the end of the pickle.
    """
    stack: list[int] = []
    memo: dict[Any, int] = {}
    try:
        for opcode, argument, _ in pickletools.genops(record):
            name = opcode.name
            if 'PUT' in name or name == 'MEMOIZE':
                memo[len(memo) if name == 'MEMOIZE' else argument] = stack[-1]
                continue
            if 'GET' in name:
                stack.append(memo[argument])
                continue
            taken = _take(stack, opcode)
            leaves = sum(taken) + 1 if 'TUPLE' in name else 1
            if leaves > MAX_LEAVES:
                raise pickle.UnpicklingError('a tuple in it has too many parts')
            made = [_MARK if item is pickletools.markobject else leaves for item in opcode.stack_after]
            # What is changed in place is still there, and what is doubled is the same.
            stack += taken[:1] * 2 if name == 'DUP' else made
    except (ValueError, LookupError, EOFError, OverflowError) as error:
        raise pickle.UnpicklingError(f'no pickle: {error}') from error


def _take(stack: list[int], opcode: pickletools.OpcodeInfo) -> list[int]:
    """Take from the stack what an operation takes; numbers of leaves without the mark."""
    before = opcode.stack_before
    taken: list[int] = []
    if pickletools.markobject in before:
        while (top := stack.pop()) != _MARK:
            taken.append(top)
        before = before[: before.index(pickletools.markobject)]
    for _ in before:
        taken.append(stack.pop())
    return taken


def _restore(value: Any, seen: dict[int, Any]) -> Any:
    """Replace stand-ins by what they stand for, in place where that is possible.

    Args:
        value: What was read.
        seen: Replacements of containers so far, by identity: a file may contain one in many places.
    """
    if isinstance(value, _History):
        return value.restore()
    if isinstance(value, _Array):
        return value.array
    if isinstance(value, _Dtype):
        return value.dtype
    if id(value) in seen:
        return seen[id(value)][1]
    if isinstance(value, (dict, list)):
        # Keeps the value alive, whose identity could otherwise be reused.
        seen[id(value)] = value, value
        if isinstance(value, OrderedDict):
            _strip_attributes(value)
        for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
            value[key] = _restore(item, seen)
    elif type(value) is tuple:
        seen[id(value)] = value, tuple(_restore(item, seen) for item in value)
        return seen[id(value)][1]
    return value


def _strip_attributes(value: OrderedDict[Any, Any]) -> None:
    """Remove attributes that a file gives to a dictionary, except the versions of layers.

    Others could replace its methods.
    """
    versions = vars(value).pop('_metadata', None)
    vars(value).clear()
    if isinstance(versions, dict) and all(
        isinstance(name, str)
        and isinstance(layer, dict)
        and isinstance(layer.get('version'), (int, type(None)))
        for name, layer in versions.items()
    ):
        vars(value)['_metadata'] = versions
