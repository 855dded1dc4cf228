# SPDX-License-Identifier: Apache-2.0
"""Known settings of configs, so that a misspelled one is not ignored silently."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from iid_mm.errors import InputError

# fmt: off
SETTINGS = frozenset(
    {
        # What MMEngine's runners take ...
        'model', 'work_dir', 'train_dataloader', 'val_dataloader', 'test_dataloader', 'train_cfg',
        'val_cfg', 'test_cfg', 'auto_scale_lr', 'optim_wrapper', 'param_scheduler', 'val_evaluator',
        'test_evaluator', 'default_hooks', 'custom_hooks', 'data_preprocessor', 'load_from', 'resume',
        'launcher', 'env_cfg', 'log_processor', 'log_level', 'visualizer', 'default_scope', 'randomness',
        'experiment_name',
        # ... read from their config ...
        'custom_imports', 'model_wrapper_cfg', 'sync_bn', 'find_unused_parameters',
        'activation_checkpointing', 'efficient_conv_bn_eval', 'compile', 'init_weights_for_test_or_val',
        # ... and what this package reads.
        'runner_type', 'trust_checkpoint', 'backend_args', 'data_root', 'test_sets',
    }
)
"""Top-level settings that something reads; all other names of a config file are its own variables."""

_LOADER = frozenset(
    {
        'dataset', 'sampler', 'batch_sampler', 'collate_fn', 'worker_init_fn', 'num_batch_per_epoch',
        'disable_subprocess_warning', 'batch_size', 'shuffle', 'num_workers', 'pin_memory', 'drop_last',
        'timeout', 'multiprocessing_context', 'generator', 'prefetch_factor', 'persistent_workers',
        'pin_memory_device', 'in_order',
    }
)
# fmt: on
SECTIONS: Mapping[str, frozenset[str]] = {
    'train_dataloader': _LOADER,
    'val_dataloader': _LOADER,
    'test_dataloader': _LOADER,
    'env_cfg': frozenset({'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'}),
    'randomness': frozenset({'seed', 'diff_rank_seed', 'deterministic'}),
    'auto_scale_lr': frozenset({'enable', 'base_batch_size'}),
    'custom_imports': frozenset({'imports', 'allow_failed_imports'}),
}
"""Keys of sections that are read one by one, where an unknown one would be ignored."""

VARIABLES = frozenset({'IID_DATA_ROOT', 'IID_STUDY_ROOT', 'IID_DEBUG'})
"""Environment variables that configs and tools of this package read."""

HOOKS = frozenset({'runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint'})
"""Default hooks of MMEngine."""

_ALMOST = 0.8


def suggestion(name: str, known: Iterable[str]) -> str:
    """Suggest a known name for an unknown one.

    Args:
        name: The unknown name.
        known: The known names.

    Returns:
        '; did you mean ...?', or all known names if they are few and none is close.
    """
    names = sorted(set(known))
    if close := get_close_matches(name, names, 1, 0.6):
        return f'; did you mean {close[0]!r}?'
    return f'; there are {", ".join(names)}' if 0 < len(names) <= 20 else ''


def check_options(config: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Check ``--cfg-options`` against the config that they change.

    Unknown keys of a component pass, since configs leave defaults out: they are errors when it is built.

    Args:
        config: The config.
        options: Values by keys with dots.

    Raises:
        InputError: If a key has an empty part, begins with an unknown setting, goes below a value that has no
            parts, or would replace a dictionary by a plain value.
    """
    for key, value in options.items():
        parts = str(key).split('.')
        if not all(parts):
            raise InputError(f'--cfg-options {key}={value}: a part of the key is empty; give KEY=VALUE')
        if parts[0] not in config and parts[0] not in SETTINGS:
            known = SETTINGS | set(config)
            close = suggestion(parts[0], known)
            raise InputError(
                f'--cfg-options {key}: neither the config nor the runner has {parts[0]!r}{close}'
            )
        if len(parts) > 1 and parts[1] not in SECTIONS.get(parts[0], {parts[1]}):
            close = suggestion(parts[1], SECTIONS[parts[0]])
            raise InputError(f'--cfg-options {key}: {parts[0]} has no {parts[1]!r}{close}')
        _check_place(config, parts, value)


def _check_place(config: Mapping[str, Any], parts: Sequence[str], value: Any) -> None:
    node: Any = config
    key = '.'.join(parts)
    for depth, part in enumerate(parts):
        above = '.'.join(parts[:depth])
        if isinstance(node, list):
            if not part.isdigit() or int(part) >= len(node):
                which = f'give a number from 0 to {len(node) - 1}' if node else 'it is empty'
                raise InputError(f'--cfg-options {key}: {above} is a list of {len(node)}; {which}')
            node = node[int(part)]
            if depth == len(parts) - 1 or not isinstance(node, (dict, list)):
                raise InputError(
                    f'--cfg-options {key}: items of lists are not replaced one by one; give {above} whole'
                )
        elif isinstance(node, Mapping):
            if part not in node:
                _check_hook(parts, node)
                return
            node = node[part]
        else:
            what = 'is None' if node is None else f'is a {type(node).__name__}'
            raise InputError(f'--cfg-options {key}: {above} {what} and has no keys; give {above} whole')
    if isinstance(node, Mapping) and isinstance(value, (str, int, float, bool)):
        raise InputError(
            f'--cfg-options {key}={value}: {key} is a dictionary; set one of its keys, e.g. {key}.type'
        )


def _check_hook(parts: Sequence[str], node: Mapping[str, Any]) -> None:
    """Refuse an unknown default hook, which would be built without a type."""
    if parts[0] == 'default_hooks' and len(parts) in (2, 3) and parts[1] not in node:
        known = HOOKS | set(node)
        if parts[1] not in known:
            close = suggestion(parts[1], known)
            raise InputError(f'--cfg-options {".".join(parts)}: default_hooks has no {parts[1]!r}{close}')


def misspelled(config: Mapping[str, Any], used: Iterable[str] = ()) -> list[str]:
    """Find names in a config, and environment variables, that nearly are those of settings.

    Args:
        config: The config as its file has it.
        used: Environment variables that it reads.

    Returns:
        A sentence for each name, e.g. of ``train_dataloder = dict(...)`` or ``IID_DATAROOT``.
    """
    found = []
    for name, section in config.items():
        if name not in SETTINGS and (close := get_close_matches(name, SETTINGS, 1, _ALMOST)):
            found.append(f'unknown setting {name!r}; did you mean {close[0]!r}?')
        for key in section if isinstance(section, Mapping) and name in SECTIONS else ():
            if key not in SECTIONS[name]:
                found.append(f'{name} has no {key!r}{suggestion(key, SECTIONS[name])}')
    known = VARIABLES | set(used)
    for name in sorted(os.environ):
        if name.startswith('IID_') and name not in known:
            found.append(f'unknown environment variable {name}{suggestion(name, known)}')
    return found


def without_effect(options: Mapping[str, Any]) -> list[str]:
    """Find options that change variables of a config file, whose values were used when it was read.

    Args:
        options: Values by keys with dots.

    Returns:
        A sentence for each.
    """
    names = sorted({str(key).split('.')[0] for key in options} - SETTINGS)
    return [
        f'--cfg-options {name}: a variable of the config file; changing it here has no effect'
        for name in names
    ]
