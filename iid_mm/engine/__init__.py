# SPDX-License-Identifier: Apache-2.0
"""Training: runner, loops, hooks and optimizer wrappers."""

from iid_mm.engine.hooks import (
    ForgeryVisualizationHook,
    HostMemoryHook,
    IterationCheckpointHook,
    ReproducibleSamplingHook,
)
from iid_mm.engine.optim import BFloat16OptimWrapper, SAMOptimWrapper
from iid_mm.engine.runner import ForgeryRunner, ResumableEpochTrainLoop

__all__ = [
    'BFloat16OptimWrapper',
    'ForgeryRunner',
    'ForgeryVisualizationHook',
    'HostMemoryHook',
    'IterationCheckpointHook',
    'ReproducibleSamplingHook',
    'ResumableEpochTrainLoop',
    'SAMOptimWrapper',
]
