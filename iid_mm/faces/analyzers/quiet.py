# SPDX-License-Identifier: Apache-2.0
"""Silence for libraries that write to the terminal."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Drop what libraries write to the standard error of the process, past Python's ``sys.stderr``.

    What they write while they start cannot be switched off otherwise: it comes before their logging
    is set up. Set the environment variable ``IID_DEBUG=1`` to see it.
    """
    if os.environ.get('IID_DEBUG') == '1':
        yield
        return
    kept = os.dup(2)
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(sink)
        os.close(kept)
