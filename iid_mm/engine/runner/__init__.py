# SPDX-License-Identifier: Apache-2.0
"""Runner and training loop."""

from iid_mm.engine.runner.resumable_epoch_train_loop import ResumableEpochTrainLoop
from iid_mm.engine.runner.safe_runner import SafeRunner, build_runner

__all__ = ['ResumableEpochTrainLoop', 'SafeRunner', 'build_runner']
