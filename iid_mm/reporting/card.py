# SPDX-License-Identifier: Apache-2.0
"""The protocol card: what was tested, on what, and how, so that it can be done again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from iid_mm.evaluation.localization.config import index_datasets
from iid_mm.reporting.provenance import (
    config_text,
    device_name,
    git_version,
    library_versions,
    text_sha256,
    without_paths,
)

CONFIG_FILE = 'config.py'


def protocol_card(
    cfg: Config,
    config_file: Path,
    cfg_options: Mapping[str, Any] | None,
    checkpoint_file: Path,
    checkpoint_sha256: str,
    checkpoint_meta: Mapping[str, Any],
) -> dict[str, Any]:
    """Describe model, data processing and software.

    Args:
        cfg: Config as it was used, before test sets were entered.
        config_file: File it was read from.
        cfg_options: Values that replaced those of the file.
        checkpoint_file: The weights.
        checkpoint_sha256: Their hash.
        checkpoint_meta: What the checkpoint says of its training; may be empty.

    Returns:
        Plain data without paths of the machine.
    """
    return {
        'checkpoint': {
            'file': checkpoint_file.name,
            'sha256': checkpoint_sha256,
            'epoch': _number(checkpoint_meta.get('epoch')),
            'iteration': _number(checkpoint_meta.get('iter')),
            'selection': _selection(cfg),
        },
        'config': {
            'file': config_file.name,
            'text': CONFIG_FILE,
            'sha256': text_sha256(config_text(cfg)),
            'options': {name: without_paths(str(value)) for name, value in (cfg_options or {}).items()},
        },
        'alignment': _alignment(cfg),
        'training_manipulations': _training_manipulations(cfg),
        'seed': (cfg.get('randomness') or {}).get('seed'),
        'device': device_name(),
        'libraries': library_versions(),
        'git': git_version(),
    }


def _number(value: Any) -> int | None:
    return int(value) if isinstance(value, (int, float)) else None


def _selection(cfg: Config) -> str | None:
    """How training chose its best checkpoint."""
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    chosen = hook.get('save_best')
    if not chosen:
        return None
    split = ((cfg.get('val_dataloader') or {}).get('dataset') or {}).get('split', 'val')
    return f'{chosen} on split {split} of the source data'


def _alignment(cfg: Config) -> dict[str, Any] | None:
    pipeline = ((cfg.get('test_dataloader') or {}).get('dataset') or {}).get('pipeline') or []
    for transform in pipeline:
        if transform.get('type') in ('AlignFace', 'iid_mm.AlignFace'):
            size = list(transform.get('size', (224, 224)))
            return {'size': size, 'scale': transform.get('scale', 0.9)}
    return None


def _training_manipulations(cfg: Config) -> list[str] | None:
    """Manipulations that training reads; None: all of an index; empty: not known."""
    node = (cfg.get('train_dataloader') or {}).get('dataset')
    datasets = [] if node is None else list(index_datasets(node))
    chosen = [dataset.get('methods') for dataset in datasets]
    if any(methods is None for methods in chosen):
        return None
    return sorted({str(method) for methods in chosen for method in methods})
