# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from iid_mm.datasets.index import read_index, write_index
from iid_mm.models.build import init_model
from support.paths import REPOSITORY


@pytest.fixture(scope='module')
def checkpoint(tiny: tuple[Any, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('weights') / 'tiny.pth'
    torch.save({'state_dict': tiny[1].state_dict()}, path)
    return path


TOOLS = REPOSITORY / 'tools' / 'analysis_tools'


def test_tool_from_end_to_end(
    tiny_config: Path, checkpoint: Path, takes: list[Path], tmp_path: Path, run_as_script: Callable[..., Any]
) -> None:
    arguments = (tiny_config, checkpoint, '--index', *takes, '--out', tmp_path, '--seeds', 2)
    status, out, err = run_as_script(
        TOOLS / 'identity_probe.py', *arguments, '--features', 'backbone', 'logits'
    )
    assert (status, err) == (0, '')
    # The takes show the same images, so that pixels suffice.
    rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in out.splitlines()]
    assert {('trained', 'backbone'), ('shuffled', 'logits')} <= {tuple(row[:2]) for row in rows}
    assert any(row[:2] == ['pixels', 'pixels'] and row[2].startswith('1.000') for row in rows)
    assert 'recognizer: left out' in out
    for suffix in ('json', 'md', 'png'):
        assert (tmp_path / f'identity_probe.{suffix}').stat().st_size > 500


def test_tool_lists_features(tiny_config: Path, checkpoint: Path, run_as_script: Callable[..., Any]) -> None:
    status, out, _ = run_as_script(TOOLS / 'identity_probe.py', tiny_config, checkpoint, '--list-features')
    assert status == 0
    assert [line.split() for line in out.splitlines()][1] == ['backbone.layer1', '8']


def test_tool_refuses_bad_input(
    tiny_config: Path,
    checkpoint: Path,
    tiny_prepared: Path,
    takes: list[Path],
    tmp_path: Path,
    run_as_script: Callable[..., Any],
) -> None:
    nobody = tmp_path / 'nobody'
    rows = read_index(tiny_prepared / 'index.parquet').to_pylist()
    write_index(
        [{**row, 'target_id': None} for row in rows if row['split'] == 'val'], nobody / 'index.parquet'
    )
    (nobody / 'frames').symlink_to(tiny_prepared / 'frames')
    other = tmp_path / 'other.pth'
    torch.save({'state_dict': {'weight': torch.zeros(1)}}, other)
    start = (tiny_config, checkpoint, '--out', tmp_path / 'out')
    for arguments, text in (
        ((*start, '--index', tiny_prepared), 'two clips or more'),
        ((*start, '--index', tiny_prepared, '--split-time'), 'need 8'),
        ((*start, '--index', tiny_prepared, tiny_prepared), 'has the content of'),
        ((*start, '--index', nobody), 'names no target identity'),
        ((*start, '--index', *takes, '--features', 'nose'), 'nose: unknown'),
        ((*start, '--index', *takes, '--controls', 'luck'), 'luck: choose of'),
        ((*start, '--index', *takes, '--split', 'half'), 'half: choose one'),
        ((*start, '--index', *takes, '--recognizer-dir', tmp_path / 'no'), 'does not exist'),
        (start, 'name at least one'),
        ((*start, '--index', tmp_path / 'no.parquet'), 'does not exist'),
        ((tiny_config, other, '--index', *takes), 'other.pth'),
    ):
        status, _, err = run_as_script(TOOLS / 'identity_probe.py', *arguments)
        assert (status, text in err) == (1, True), err


def test_init_model_and_untrained_have_the_same_form(tiny: tuple[Any, Any], checkpoint: Path) -> None:
    cfg, model = tiny
    loaded = init_model(cfg, checkpoint)
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), model.parameters(), strict=True))


def test_shift_tool(
    tiny_config: Path, checkpoint: Path, takes: list[Path], tmp_path: Path, run_as_script: Callable[..., Any]
) -> None:
    arguments = (tiny_config, checkpoint, '--index', *takes, '--json', tmp_path / 'shift.json')
    status, out, err = run_as_script(TOOLS / 'identity_shift.py', *arguments)
    assert (status, err) == (0, '')
    # The takes show the same images: all variance of genuine videos is between people.
    line = next(line for line in out.splitlines() if 'ICC(1) of genuine videos, logit' in line)
    assert '1.000 (' in line
    assert '3 identities' in out
    assert json.loads((tmp_path / 'shift.json').read_text())['videos'] == 27
    for wrong, text in (((), 'give CONFIG CKPT'), (('--scores', tmp_path / 'no.parquet'), 'does not exist')):
        status, _, err = run_as_script(TOOLS / 'identity_shift.py', *wrong)
        assert (status, text in err) == (1, True), err
    status, _, err = run_as_script(
        TOOLS / 'identity_shift.py', tiny_config, checkpoint, '--scores', 'x', '--index', 'y'
    )
    assert (status, 'either' in err) == (1, True)
