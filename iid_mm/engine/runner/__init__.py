# SPDX-License-Identifier: Apache-2.0
"""Runner and loops."""

from iid_mm.engine.runner.build import build_runner
from iid_mm.engine.runner.flexible_forgery_runner import FlexibleForgeryRunner
from iid_mm.engine.runner.forgery_runner import SafeRunner
from iid_mm.engine.runner.resumable_epoch_train_loop import ResumableEpochTrainLoop

__all__ = ['FlexibleForgeryRunner', 'ResumableEpochTrainLoop', 'SafeRunner', 'build_runner']
