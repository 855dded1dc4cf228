# SPDX-License-Identifier: Apache-2.0
"""What decides the outcome of a run, in a form that can be stored, hashed and compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

Tree = dict[str, Any]

TEST_KEYS = frozenset({'test_dataloader', 'test_evaluator', 'test_cfg', 'test_pipeline'})
"""Entries of a config that only testing looks at; training need not be repeated for them."""

# Where data and results lie, how fast they are read and what is shown. The indices are compared by content.
IGNORED_KEYS = frozenset(
    {
        *('work_dir', 'data_root', 'ann_file', 'backend_args', 'launcher', 'num_workers'),
        *('persistent_workers', 'prefetch_factor', 'pin_memory', 'max_keep_ckpts', 'visualizer'),
        *('vis_backends', 'log_level'),
        *('log_processor', 'logger', 'resume'),
    }
)


def plain(value: Any) -> Any:
    """Turn a config into what JSON can hold: sorted dictionaries, lists, numbers and strings."""
    if isinstance(value, Config):
        value = value.to_dict()
    if isinstance(value, Mapping):
        return {str(key): plain(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else repr(value)


def _without_ignored(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _without_ignored(value) for key, value in tree.items() if key not in IGNORED_KEYS}
    return [_without_ignored(item) for item in tree] if isinstance(tree, list) else tree


def run_settings(cfg: Config, digests: Mapping[str, str], *, processes: int, flags: list[str]) -> Tree:
    """Collect the settings of a run.

    Args:
        cfg: Its config.
        digests: SHA-256 of the index that each data loader reads, by the name of the loader.
        processes: Processes that train together: the total batch size depends on them.
        flags: Options of ``tools/train.py``, such as ``--amp``.

    Returns:
        Two trees: ``train`` decides the checkpoint, ``test`` what is scored with it.
    """
    tree = _without_ignored(plain(cfg))
    return {
        'train': {
            'config': {key: value for key, value in tree.items() if key not in TEST_KEYS},
            'index': {key: value for key, value in digests.items() if key != 'test_dataloader'},
            'processes': processes,
            'flags': list(flags),
        },
        'test': {
            'config': {key: value for key, value in tree.items() if key in TEST_KEYS - {'test_pipeline'}},
            'index': digests['test_dataloader'],
        },
    }


def digest(tree: Any) -> str:
    """SHA-256 of a tree."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def differences(old: Any, new: Any, path: str = '') -> list[str]:
    """Say in which entries two trees differ.

    Args:
        old: A tree.
        new: Another.
        path: Keys that lead to them.

    Returns:
        Lines such as ``config.train_cfg.max_epochs: 20 -> 30``.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for key in sorted({*old, *new}):
            inner = f'{path}.{key}' if path else key
            if key not in old:
                lines.append(f'{inner}: (none) -> {_short(new[key])}')
            elif key not in new:
                lines.append(f'{inner}: {_short(old[key])} -> (none)')
            else:
                lines += differences(old[key], new[key], inner)
        return lines
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [line for i, (a, b) in pairs for line in differences(a, b, f'{path}[{i}]')]
    return [] if old == new else [f'{path}: {_short(old)} -> {_short(new)}']


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f'{text[:57]}...'
