# SPDX-License-Identifier: Apache-2.0
"""A lock that keeps a second process from the same work."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType


class RunLock:
    """Lock of a folder, held by this process and by those that it hands the lock to.

    The system releases it when the last of them ends, so that a killed process leaves no lock behind, while
    work that outlives the process that started it is not started a second time.

    Args:
        path: The lock file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    @property
    def descriptor(self) -> int:
        """The open file, to pass on to child processes."""
        if self._descriptor is None:
            raise RuntimeError('the lock is not held')
        return self._descriptor

    def acquire(self) -> bool:
        """Take the lock if it is free; whether it was."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def note(self, text: str) -> None:
        """Say who holds the lock, for whoever finds it taken."""
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, text.encode(), 0)

    def owner(self) -> str:
        """What the holder has noted."""
        return self.path.read_text(errors='replace').strip() or 'another process'

    def release(self) -> None:
        """Release the lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> RunLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
