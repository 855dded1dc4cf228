# SPDX-License-Identifier: Apache-2.0
"""Sharpness-aware steps."""

from modern_recipe.sam_optim_wrapper import SAMOptimWrapper
from modern_recipe.sam_train_loop import SAMTrainLoop

__all__ = ['SAMOptimWrapper', 'SAMTrainLoop']
