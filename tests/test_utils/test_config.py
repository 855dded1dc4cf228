# SPDX-License-Identifier: Apache-2.0
"""Configs whose ``backend_args`` hold for their data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from iid_mm.errors import InputError
from iid_mm.utils.config import load_config

LMDB = dict(backend='lmdb', db_path='a.lmdb')
HTTP = dict(prefix='https://host/a')
TEXT = """
{top}
train_dataloader = dict(dataset=dict(type='ForgeryDataset', ann_file='a'{train}))
val_dataloader = dict(dataset=dict(type='ForgeryDataset', ann_file='a'{val}))
other = dict(type='Writer', ann_file='a')
"""


def read(
    folder: Path, top: Any = None, train: str = '', val: str = '', options: dict[str, Any] | None = None
) -> list[Any]:
    path = folder / 'config.py'
    path.write_text(TEXT.format(top='' if top is None else f'backend_args = {top!r}', train=train, val=val))
    cfg = load_config(path, options)
    assert 'backend_args' not in cfg.other
    return [cfg[name].dataset.get('backend_args') for name in ('train_dataloader', 'val_dataloader')]


@pytest.mark.parametrize(
    ('given', 'expected'),
    [
        (dict(), [None, None]),
        (dict(top=LMDB), [LMDB, LMDB]),
        (dict(top=LMDB, val=f', backend_args={HTTP!r}'), [LMDB, HTTP]),
        # None is an answer, too: this set reads files.
        (dict(top=LMDB, val=', backend_args=None'), [LMDB, None]),
        (dict(top=LMDB, options={'val_dataloader.dataset.backend_args': None}), [LMDB, None]),
        (dict(options={'backend_args': LMDB}), [LMDB, LMDB]),
        (dict(top=LMDB, options={'backend_args.db_path': 'b'}), [{**LMDB, 'db_path': 'b'}] * 2),
        (dict(top=LMDB, options={'backend_args': None}), [None, None]),
        (dict(val=f', backend_args={HTTP!r}', options={'backend_args': LMDB}), [LMDB, HTTP]),
    ],
)
def test_backend_args_reach_the_data_sets_without_their_own(
    given: dict[str, Any], expected: list[Any], tmp_path: Path
) -> None:
    assert read(tmp_path, **given) == expected


def test_modules_that_are_not_there(tmp_path: Path) -> None:
    path = tmp_path / 'config.py'
    path.write_text("custom_imports = dict(imports=['no_such_module'], allow_failed_imports=False)\n")
    with pytest.raises(
        InputError, match=r'imports modules .*no_such_module.*PYTHONPATH=projects/self_blended$'
    ):
        load_config(path)
