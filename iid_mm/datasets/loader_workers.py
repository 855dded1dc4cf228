# SPDX-License-Identifier: Apache-2.0
"""Data loader workers that need few open files and never let training hang."""

from __future__ import annotations

import io
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing import queues
from typing import Any

import torch
from torch.utils.data import DataLoader, get_worker_info

from iid_mm.errors import InputError

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

TIMEOUT = 600.0
"""Seconds that a batch may take before it is an error; ``timeout`` of a data loader's config changes it."""

_ALIGNMENT = 64


def harden_loader(loader: DataLoader[Any]) -> DataLoader[Any]:
    """Let the workers of a data loader send each batch as one tensor, and fail rather than hang.

    PyTorch sends every tensor separately and keeps an open file for each: a batch of 128 faces with labels
    and boxes needs 512, and 8 workers keep 16 batches ready. Here a batch needs one file, whatever its size.

    Args:
        loader: A data loader that has not been iterated over; changed in place.

    Returns:
        The data loader; unchanged if it has no workers.

    Raises:
        InputError: If the workers need more open files than the process may have.
    """
    if loader.num_workers > 0 and not isinstance(loader.collate_fn, PackedCollate):
        _check_open_files(loader)
        loader.collate_fn = PackedCollate(loader.collate_fn)
        loader.worker_init_fn = _WorkerStart(loader.worker_init_fn)
        loader.timeout = loader.timeout or TIMEOUT
    return loader


def _check_open_files(loader: DataLoader[Any]) -> None:
    """Fail with one line: PyTorch prints several tracebacks if files run out while workers start."""
    if resource is None:
        return
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    try:
        present = len(os.listdir('/proc/self/fd'))
    except OSError:
        present = 32
    # Three for each worker, one for each batch that is ready, and some that are opened briefly.
    needed = present + loader.num_workers * (3 + (loader.prefetch_factor or 2)) + 16
    if limit not in (-1, resource.RLIM_INFINITY) and needed > limit:
        raise InputError(
            f'num_workers={loader.num_workers}: needs about {needed} open files, the limit is {limit}; '
            'raise it (ulimit -n), or use fewer num_workers'
        )


class PackedCollate:
    """Collate function whose batches travel between processes as one tensor.

    Args:
        collate: The function that makes the batch.
    """

    def __init__(self, collate: Callable[[Any], Any]) -> None:
        self.collate = collate

    def __call__(self, samples: Any) -> Any:
        """Make a batch; a worker wraps it for sending."""
        batch = self.collate(samples)
        return batch if get_worker_info() is None else _Packed(batch)


class _Packed:
    """A batch that is packed when it is pickled; unpickling gives the batch itself."""

    def __init__(self, batch: Any) -> None:
        self.batch = batch

    def __reduce__(self) -> tuple[Any, ...]:
        return unpack, pack(self.batch)


def pack(batch: Any) -> tuple[bytes, torch.Tensor]:
    """Pack a nested object that holds tensors.

    Args:
        batch: The object; plain tensors on the CPU go into the buffer, everything else into the text.

    Returns:
        The object without its tensors, pickled, and a buffer with the values of all of them, (bytes,) uint8
        in shared memory.
    """
    text = io.BytesIO()
    pickler = _Pickler(text)
    pickler.dump(batch)
    # As in PyTorch's own collate function: memory that is shared from the start needs no copy.
    storage = torch.UntypedStorage._new_shared(max(pickler.size, 1))
    buffer = torch.empty(0, dtype=torch.uint8).set_(storage)
    for tensor, (start, _, dtype) in zip(pickler.tensors, pickler.places, strict=True):
        view = buffer[start : start + tensor.numel() * tensor.element_size()].view(dtype)
        view.view(tensor.shape).copy_(tensor)
    return text.getvalue(), buffer


def unpack(text: bytes, buffer: torch.Tensor) -> Any:
    """Undo :func:`pack`; tensors are views of the buffer.

    Args:
        text: The object without its tensors, pickled.
        buffer: (bytes,) uint8.

    Returns:
        The object.
    """
    return _Unpickler(io.BytesIO(text), buffer).load()


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.tensors: list[torch.Tensor] = []
        self.places: list[tuple[int, tuple[int, ...], torch.dtype]] = []
        self.size = 0
        self._known: dict[int, int] = {}

    def persistent_id(self, obj: Any) -> tuple[int, tuple[int, ...], torch.dtype] | None:
        """Put plain tensors into the buffer, each one once."""
        if type(obj) is not torch.Tensor or obj.device.type != 'cpu' or obj.layout is not torch.strided:
            return None
        if obj.requires_grad or obj.is_quantized or obj.dtype.is_complex:
            return None
        if id(obj) not in self._known:
            self._known[id(obj)] = len(self.tensors)
            self.tensors.append(obj)
            self.places.append((self.size, tuple(obj.shape), obj.dtype))
            self.size += -(-obj.numel() * obj.element_size() // _ALIGNMENT) * _ALIGNMENT
        return self.places[self._known[id(obj)]]


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, buffer: torch.Tensor) -> None:
        super().__init__(file)
        self._buffer = buffer
        self._known: dict[tuple[Any, ...], torch.Tensor] = {}

    def persistent_load(self, pid: tuple[int, tuple[int, ...], torch.dtype]) -> torch.Tensor:
        """Return a view of the buffer, the same one for every reference to a tensor."""
        if pid not in self._known:
            start, shape, dtype = pid
            count = 1
            for length in shape:
                count *= length
            piece = self._buffer[start : start + count * dtype.itemsize]
            self._known[pid] = piece.view(dtype).view(shape)
        return self._known[pid]


class _WorkerStart:
    """Called when a worker starts: makes failures end the worker, then calls the loader's own function."""

    def __init__(self, first: Callable[[int], None] | None) -> None:
        self.first = first

    def __call__(self, worker: int) -> None:
        ignore_stop_signals()
        # PyTorch would only print that a batch could not be sent, and the run would hang.
        queues.Queue._on_queue_feeder_error = staticmethod(_end_worker)  # type: ignore[attr-defined]
        sys.excepthook = _quiet_on_disconnect
        if self.first is not None:
            self.first(worker)


def _end_worker(error: BaseException, item: Any) -> None:
    print(f'error: a data loader worker could not send a batch: {error}', file=sys.stderr, flush=True)
    os._exit(1)


def _quiet_on_disconnect(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """Print no traceback if the parent ended while a batch was being sent."""
    if not issubclass(kind, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)


def ignore_stop_signals() -> None:
    """Ignore signals that ask a whole job to stop, unless they come from the parent.

    If a worker died when its run is asked to stop, the run could not write its last checkpoint. The parent
    ends its workers by SIGTERM and is recognized by its process ID; where the system does not report senders,
    every SIGTERM ends the worker, as in PyTorch.
    """
    for name in ('SIGINT', 'SIGUSR1'):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, 'sigwaitinfo'):
        # A blocked signal waits until a thread asks for it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_await_parent, args=(os.getppid(),), daemon=True).start()


def _await_parent(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
