# SPDX-License-Identifier: Apache-2.0
"""Public interface: load configs and checkpoints, build models, analyze files."""

from iid_mm.inference.inferencer import IIDInferencer
from iid_mm.models.build import init_model
from iid_mm.utils.checkpoint import load_checkpoint_file, load_weights
from iid_mm.utils.config import load_config

__all__ = ['IIDInferencer', 'init_model', 'load_checkpoint_file', 'load_config', 'load_weights']
