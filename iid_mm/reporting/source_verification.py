# SPDX-License-Identifier: Apache-2.0
"""Checking a report against what it says it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from iid_mm.errors import InputError
from iid_mm.reporting.card import CONFIG_FILE
from iid_mm.reporting.document import report_file
from iid_mm.reporting.provenance import config_text, text_sha256
from iid_mm.utils.config import load_config
from iid_mm.utils.files import read_limited, sha256


def check_checkpoint(report: Mapping[str, Any], checkpoint: Path) -> list[str]:
    """Compare the checkpoint's hash with all that the report gives."""
    actual, said = sha256(checkpoint), {report['protocol']['checkpoint']['sha256']}
    said.update(record['source']['checkpoint_sha256'] for record in all_records(report))
    if said == {actual}:
        return []
    return [f'checkpoint {checkpoint.name} has SHA-256 {actual}, the report is of {", ".join(sorted(said))}']


def all_records(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Records of the test sets and, where there is one, of the validation set."""
    return [*report['test_sets'], *([report['validation']] if report['validation'] else [])]


def check_index(report: Mapping[str, Any], name: str, path: Path) -> list[str]:
    """Compare the hash of an index with the one that the report gives of a test set.

    Raises:
        InputError: The report has no such set.
    """
    known = {record['name']: record for record in all_records(report)}
    if name not in known:
        raise InputError(f'--index {name}=...: the report has the test sets {", ".join(known)}')
    index = path / 'index.parquet' if path.is_dir() else path
    actual = sha256(index)
    said = [facts['sha256'] for facts in known[name]['indices']]
    if actual in said:
        return []
    return [f'index of {name}: {index.name} has SHA-256 {actual}, the report is of {", ".join(said)}']


def check_config(folder: Path, report: Mapping[str, Any], config: Path) -> tuple[list[str], str]:
    """Compare a config with the one that the report was made with.

    Returns:
        What differs, and why that may be right, empty if there is no reason.
    """
    text = config_text(load_config(config))
    said = report['protocol']['config']
    if text_sha256(text) == said['sha256']:
        return [], ''
    try:
        stored = read_limited(report_file(folder, CONFIG_FILE)).decode(errors='replace')
    except (OSError, InputError):
        stored = ''
    pairs = zip(text.splitlines(), stored.splitlines(), strict=False)
    mine, theirs = next(((a.strip(), b.strip()) for a, b in pairs if a != b), ('', ''))
    sentence = (
        f'config {config.name} is not the one of the report; the first line that differs is {mine!r}, in the '
        f'report {theirs!r}'
    )
    changed = ', '.join(f'{name}={value}' for name, value in said['options'].items())
    return [sentence], f'the report was made with --cfg-options {changed}' if changed else ''
