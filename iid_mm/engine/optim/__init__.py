# SPDX-License-Identifier: Apache-2.0
"""Optimizer wrappers."""

from iid_mm.engine.optim.bfloat16_optim_wrapper import BFloat16OptimWrapper

__all__ = ['BFloat16OptimWrapper']
