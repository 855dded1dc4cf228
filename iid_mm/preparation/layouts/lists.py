# SPDX-License-Identifier: Apache-2.0
"""Reading of the list files that come with datasets."""

from __future__ import annotations

import csv
import json
import reprlib
from pathlib import Path
from typing import Any

from iid_mm.errors import InputError

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 120


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
    data = load_json(path, expected)
    if not isinstance(data, dict):
        raise InputError(f'list file {str(path)!r} holds a {type(data).__name__}; expected {expected}')
    for name, entry in data.items():
        if not isinstance(entry, dict):
            raise InputError(f'{path}: {short(name)} has the value {short(entry)}; expected {expected}')
    return data


def load_json(path: Path, expected: str) -> Any:
    """Read a JSON file.

    Args:
        path: The file.
        expected: What it should hold, for the message.

    Raises:
        FileNotFoundError: If there is no such file.
        InputError: If it is not JSON, nested too deeply, or gives a name two values.
    """
    try:
        return json.loads(read_text(path, expected), object_pairs_hook=_unique)
    except (_TwiceError, RecursionError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        # ValueError: json.JSONDecodeError, and numbers of thousands of digits.
        what = (
            f'names {error} twice'
            if isinstance(error, _TwiceError)
            else f'is unreadable: it is not JSON ({error})'
        )
        raise InputError(f'list file {str(path)!r} {what}; expected {expected}') from error


class _TwiceError(Exception):
    """A name has two values, of which JSON parsers drop the first."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        for name, value in pairs:
            if fields[name] != value:
                raise _TwiceError(short(name))
    return fields


def short(value: Any) -> str:
    """A value from a list for a message of one line, whatever its size and depth."""
    return _SHORT.repr(value)


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
    try:
        return _parse_csv(read_text(path, expected).splitlines(), path, columns, expected)
    except csv.Error as error:
        raise InputError(f'list file {str(path)!r} is not CSV ({error}); expected {expected}') from error


def _parse_csv(
    lines: list[str], path: Path, columns: tuple[str, ...], expected: str
) -> list[tuple[str, dict[str, str]]]:
    header = [name.strip().lower() for name in next(csv.reader(lines[:1]), [])]
    if doubled := [name for name in columns if header.count(name) > 1]:
        raise InputError(f'{path}:1: column {doubled[0]!r} occurs twice; expected {expected}')
    if missing := [name for name in columns if name not in header]:
        raise InputError(f'{path}:1: no column {", ".join(map(repr, missing))}; expected {expected}')
    rows = []
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in next(csv.reader([line]))]
        if len(cells) < len(header):
            raise InputError(f'{path}:{number}: {short(line)} has {len(cells)} cells; expected {expected}')
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
