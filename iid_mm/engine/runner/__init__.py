# SPDX-License-Identifier: Apache-2.0
"""Runner and loops."""

from iid_mm.engine.runner.forgery_runner import ForgeryRunner
from iid_mm.engine.runner.resumable_epoch_train_loop import ResumableEpochTrainLoop

__all__ = ['ForgeryRunner', 'ResumableEpochTrainLoop']
