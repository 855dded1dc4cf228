# SPDX-License-Identifier: Apache-2.0
"""Reading of the list files that come with data sets."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from iid_mm.errors import InputError


def read_text(path: Path, expected: str) -> str:
    """Read a list file.

    Args:
        path: The file.
        expected: What it should hold, for the message.

    Returns:
        Its text without a byte order mark.

    Raises:
        FileNotFoundError: If there is no such file.
        InputError: If it is not text.
    """
    if not path.is_file():
        raise FileNotFoundError(f'list file {str(path)!r} is missing; expected {expected}')
    try:
        return path.read_text(encoding='utf-8-sig')
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f'list file {str(path)!r} is unreadable ({error}); expected {expected}') from error


def read_lines(path: Path, expected: str) -> list[tuple[str, str]]:
    """Read a list file of one entry a line.

    Args:
        path: The file.
        expected: What it should hold, for the message.

    Returns:
        Place (``<name>:<line>``) and text of each line that is not empty, without space around it.
    """
    lines = enumerate(read_text(path, expected).splitlines(), 1)
    return [(f'{path}:{number}', line.strip()) for number, line in lines if line.strip()]


def read_json(path: Path, expected: str) -> dict[str, Any]:
    """Read a JSON object of objects.

    Args:
        path: The file.
        expected: What it should hold, for the message.

    Returns:
        Name -> fields.

    Raises:
        FileNotFoundError: If there is no such file.
        InputError: If it has another form.
    """
    try:
        data = json.loads(read_text(path, expected))
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f'list file {str(path)!r} is not JSON ({error}); expected {expected}') from error
    if not isinstance(data, dict):
        raise InputError(f'list file {str(path)!r} holds a {type(data).__name__}; expected {expected}')
    for name, entry in data.items():
        if not isinstance(entry, dict):
            raise InputError(f'{path}: {name!r} has the value {entry!r}; expected {expected}')
    return data


def read_csv(path: Path, columns: tuple[str, ...], expected: str) -> list[tuple[str, dict[str, str]]]:
    """Read a comma-separated list with a header line.

    Args:
        path: The file.
        columns: Columns that are needed, in lower case.
        expected: What it should hold, for the message.

    Returns:
        Place (``<name>:<line>``) and row of each line, by lower-case column.

    Raises:
        FileNotFoundError: If there is no such file.
        InputError: If it has another form.
    """
    lines = read_text(path, expected).splitlines()
    header = [name.strip().lower() for name in next(csv.reader(lines[:1]), [])]
    if missing := [name for name in columns if name not in header]:
        raise InputError(f'{path}:1: no column {", ".join(map(repr, missing))}; expected {expected}')
    rows = []
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in next(csv.reader([line]))]
        if len(cells) < len(header):
            raise InputError(f'{path}:{number}: {line!r} has {len(cells)} cells; expected {expected}')
        rows.append((f'{path}:{number}', dict(zip(header, cells, strict=False))))
    return rows


def plain_path(text: str) -> str:
    """A relative path of a list file with ``/``, without ``./`` in front.

    Lists that were made on Windows hold backslashes.
    """
    path = text.strip().replace('\\', '/')
    while path.startswith('./'):
        path = path[2:]
    return path
