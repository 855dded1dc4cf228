# SPDX-License-Identifier: Apache-2.0
"""Building a model from a config and a checkpoint."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from iid_mm.apis.checkpoint import load_weights
from iid_mm.errors import InputError
from iid_mm.models import IIDDetector
from iid_mm.registry import MODELS, SCOPE


def load_config(config: str | os.PathLike[str] | Config, cfg_options: dict[str, Any] | None = None) -> Config:
    """Read a config.

    Args:
        config: Path of a config file, or a config.
        cfg_options: Values that replace those of the config, keys with dots, e.g. ``model.neck.channels``.
            ``data_root`` also replaces the folder of all data sets that had the config's.

    Returns:
        The config.

    Raises:
        FileNotFoundError: If there is no such file.
        InputError: If the file is no config.
    """
    if not isinstance(config, Config):
        path = Path(config)
        if not path.is_file():
            raise FileNotFoundError(f'config {path} does not exist')
        if path.suffix not in ('.py', '.json', '.yaml', '.yml'):
            raise InputError(f'config {path} must end in .py, .json, .yaml or .yml')
        config = Config.fromfile(str(path))
    if cfg_options:
        if 'data_root' in cfg_options:
            _replace_data_root(config, config.get('data_root'), cfg_options['data_root'])
        config.merge_from_dict(cfg_options)
    return config


def _replace_data_root(node: Any, old: str | None, new: str) -> None:
    """Replace a folder everywhere below a config: its variables are only text once the file is read."""
    if isinstance(node, (list, tuple)):
        for item in node:
            _replace_data_root(item, old, new)
    elif isinstance(node, (dict, Config)):
        for key, value in node.items():
            if key == 'data_root' and value == old:
                node[key] = new
            else:
                _replace_data_root(value, old, new)


def init_model(
    config: str | os.PathLike[str] | Config,
    checkpoint: str | os.PathLike[str] | None = None,
    device: str | torch.device = 'cpu',
    cfg_options: dict[str, Any] | None = None,
    trust: bool = False,
) -> IIDDetector:
    """Build a detector, ready to predict.

    Args:
        config: Path of a config file, or a config with ``model``.
        checkpoint: Weights; None leaves them random.
        device: Where the model lives.
        cfg_options: Values that replace those of the config.
        trust: Whether to run code that the checkpoint may hold.

    Returns:
        The model in evaluation mode, its config as attribute ``cfg``.

    Raises:
        FileNotFoundError: If a file does not exist.
        InputError: If the config has no model or the checkpoint does not fit.
    """
    config = load_config(config, cfg_options)
    if 'model' not in config:
        raise InputError('the config has no entry `model`')
    init_default_scope(config.get('default_scope', SCOPE))
    model = MODELS.build(config.model)
    if checkpoint is not None:
        load_weights(model, checkpoint, trust=trust)
    model.cfg = config
    return model.to(device).eval()
