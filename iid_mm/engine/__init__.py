# SPDX-License-Identifier: Apache-2.0
"""Training: runner, loop, hooks and optimizer wrappers."""

from iid_mm.engine.hooks import (
    CheckpointHook,
    FiniteLossHook,
    HostMemoryHook,
    PredictionVisualizationHook,
    ReproducibleSamplingHook,
    StopHook,
)
from iid_mm.engine.optim import BFloat16OptimWrapper
from iid_mm.engine.runner import ResumableEpochTrainLoop, SafeRunner, build_runner

__all__ = [
    'BFloat16OptimWrapper',
    'CheckpointHook',
    'FiniteLossHook',
    'HostMemoryHook',
    'PredictionVisualizationHook',
    'ReproducibleSamplingHook',
    'ResumableEpochTrainLoop',
    'SafeRunner',
    'StopHook',
    'build_runner',
]
