# SPDX-License-Identifier: Apache-2.0
"""Batch norm over all processes of a run."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch

from iid_mm.errors import InputError


def check_sync_bn(sync_bn: Any) -> None:
    """Check the config's ``sync_bn`` of a distributed run before the model is converted.

    Args:
        sync_bn: 'torch', 'mmcv', or None for batch norm over each process's own samples.

    Raises:
        InputError: If the value is unknown, or its layers do not run here.
    """
    if sync_bn is None:
        return
    if sync_bn not in ('torch', 'mmcv'):
        raise InputError(f"sync_bn={sync_bn!r}: must be 'torch', 'mmcv' or None")
    if not torch.cuda.is_available():
        raise InputError(
            f'sync_bn={sync_bn!r} needs a GPU in every process, and none was found: PyTorch has no '
            'synchronized batch norm for CPUs; set sync_bn=None, or use group norm '
            "(norm_cfg=dict(type='GN', num_groups=32))"
        )
    if sync_bn == 'mmcv' and not hasattr(import_module('mmcv.ops'), 'SyncBatchNorm'):
        raise InputError("sync_bn='mmcv': mmcv is installed without compiled operators; use sync_bn='torch'")
