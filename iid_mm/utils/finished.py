# SPDX-License-Identifier: Apache-2.0
"""Finished work, which a later run does not repeat.

A record, a JSON file, lies beside the outputs: ``source`` says what they were made from, ``files`` has the
SHA-256 of each, and callers add facts of their own. It is removed before the outputs are written anew and
written after them, so that it never describes a file that is cut off or older:

    facts = {'checkpoint': sha256(checkpoint), 'index': sha256(index), 'settings': digest_of_settings}
    if finished_record(record, facts) is None:
        record.unlink(missing_ok=True)
        write_scores(scores)
        mark_finished(record, facts, [scores], seconds=12.3)

In distributed runs one process decides whether work is finished, and shares it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from iid_mm.utils.files import read_json, sha256, write_json


def read_record(path: Path) -> dict[str, Any]:
    """Read a JSON object that an earlier run left; a missing or damaged one counts as empty."""
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def finished_record(path: Path, source: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read the record of finished work.

    Args:
        path: The record.
        source: All that decides the outputs, as plain data: hashes of inputs, settings, versions.

    Returns:
        The record; None if there is none, it is of another source, or a file that it lists is missing or
        has changed.
    """
    record = read_record(path)
    files = record.get('files')
    if record.get('source') != json.loads(json.dumps(source)) or not isinstance(files, dict):
        return None
    for name, digest in files.items():
        file = path.parent / name
        if not file.is_file() or sha256(file) != digest:
            return None
    return record


def mark_finished(
    path: Path, source: Mapping[str, Any], files: Iterable[Path] = (), **facts: Any
) -> dict[str, Any]:
    """Write the record of finished work.

    Args:
        path: The record.
        source: See :func:`finished_record`.
        files: The outputs; the record lists them relative to its own folder, which may be moved.
        **facts: What else to note, as plain data.

    Returns:
        The record.
    """
    digests = {Path(os.path.relpath(file, path.parent)).as_posix(): sha256(file) for file in files}
    record = {**facts, 'source': dict(source), 'files': digests}
    write_json(path, record)
    return record
