# SPDX-License-Identifier: Apache-2.0
"""Hashes of files, and small files that a reader never sees half written."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from iid_mm.errors import InputError

MAX_SMALL = 256 * 2**20
"""Bytes of a JSON file; that of a report on ten data sets has some MiB."""


def sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_limited(path: str | os.PathLike[str], most: int = MAX_SMALL) -> bytes:
    """Read a file that should be small.

    Args:
        path: The file.
        most: Bytes that it may have.

    Raises:
        InputError: It is larger, or no ordinary file: a named pipe would be waited for without end.
        OSError: It cannot be read.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise InputError(f'{os.fspath(path)} is no ordinary file')
    with open(path, 'rb') as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise InputError(f'{os.fspath(path)} is larger than {most} bytes, which is too much for what it is')
    return data


def load_json(path: str | os.PathLike[str], most: int = MAX_SMALL) -> Any:
    """Read a JSON file of somebody else.

    Args:
        path: The file.
        most: Bytes that it may have.

    Raises:
        InputError: It is no JSON, nested too deeply, too large, or no ordinary file.
        OSError: It cannot be read.
    """
    try:
        return json.loads(read_limited(path, most).decode())
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        text = 'nested too deeply' if isinstance(error, RecursionError) else error
        raise InputError(f'{os.fspath(path)} is no JSON: {text}') from error


def write_text(path: Path, text: str) -> None:
    """Write a text file; it appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        temporary.write_text(text, encoding='utf-8')
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file; it appears whole or not at all."""
    write_text(path, json.dumps(content, indent=2) + '\n')


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; a missing or damaged file counts as an empty one."""
    try:
        content = load_json(path)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
