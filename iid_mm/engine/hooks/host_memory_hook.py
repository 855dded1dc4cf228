# SPDX-License-Identifier: Apache-2.0
"""Log the memory of the training process."""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from iid_mm.registry import HOOKS


@HOOKS.register_module()
class HostMemoryHook(Hook):
    """Log the peak resident memory of this process as ``host_memory``, in MiB.

    MMEngine logs the memory of the GPU only. Data loader workers are separate processes and not counted.
    """

    priority = 'NORMAL'

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Sequence[dict[str, Any]] | None = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Record the metric."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        # Linux counts KiB, macOS bytes.
        mebibytes = peak / (2**20 if sys.platform == 'darwin' else 2**10)
        runner.message_hub.update_scalar('train/host_memory', mebibytes)
