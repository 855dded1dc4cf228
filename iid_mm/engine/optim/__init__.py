# SPDX-License-Identifier: Apache-2.0
"""Optimizer wrappers."""

from iid_mm.engine.optim.bfloat16_optim_wrapper import BFloat16OptimWrapper
from iid_mm.engine.optim.sam_optim_wrapper import SAMOptimWrapper

__all__ = ['BFloat16OptimWrapper', 'SAMOptimWrapper']
