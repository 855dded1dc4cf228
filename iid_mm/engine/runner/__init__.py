# SPDX-License-Identifier: Apache-2.0
"""Runner and loops."""

from iid_mm.engine.runner.build import build_runner
from iid_mm.engine.runner.resumable_epoch_train_loop import ResumableEpochTrainLoop
from iid_mm.engine.runner.safe_runner import SafeRunner

__all__ = ['ResumableEpochTrainLoop', 'SafeRunner', 'build_runner']
