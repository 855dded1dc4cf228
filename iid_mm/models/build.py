# SPDX-License-Identifier: Apache-2.0
"""Building a model from a config and a checkpoint."""

from __future__ import annotations

import os
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from iid_mm.errors import InputError
from iid_mm.models import IIDDetector
from iid_mm.registry import MODELS, SCOPE
from iid_mm.utils.checkpoint import load_weights
from iid_mm.utils.config import load_config


def init_model(
    config: str | os.PathLike[str] | Config,
    checkpoint: str | os.PathLike[str] | dict[str, Any] | None = None,
    device: str | torch.device = 'cpu',
    cfg_options: dict[str, Any] | None = None,
    trust: bool = False,
    name: str = 'given',
) -> IIDDetector:
    """Build a detector, ready to predict.

    Args:
        config: Path of a config file, or a config with ``model``.
        checkpoint: Weights: a file, or the content of one; None leaves them random.
        device: Where the model lives.
        cfg_options: Values that replace those of the config.
        trust: Whether to run code that the checkpoint may hold.
        name: What messages call a checkpoint that is given as its content.

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
        load_weights(model, checkpoint, trust=trust, name=name)
    model.cfg = config
    return model.to(device).eval()
