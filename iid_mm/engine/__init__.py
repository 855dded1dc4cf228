# SPDX-License-Identifier: Apache-2.0
"""Training: runners, loops, hooks, optimizer wrappers and strategies."""

from iid_mm.engine.hooks import (
    CheckpointHook,
    FiniteLossHook,
    HostMemoryHook,
    IterationCheckpointHook,
    PredictionVisualizationHook,
    ReproducibleSamplingHook,
    StopHook,
)
from iid_mm.engine.optim import BFloat16OptimWrapper, SAMOptimWrapper
from iid_mm.engine.runner import FlexibleForgeryRunner, ResumableEpochTrainLoop, SafeRunner, build_runner
from iid_mm.engine.strategies import ForgeryFSDPStrategy

__all__ = [
    'BFloat16OptimWrapper',
    'CheckpointHook',
    'FiniteLossHook',
    'FlexibleForgeryRunner',
    'ForgeryFSDPStrategy',
    'HostMemoryHook',
    'IterationCheckpointHook',
    'PredictionVisualizationHook',
    'ReproducibleSamplingHook',
    'ResumableEpochTrainLoop',
    'SAMOptimWrapper',
    'SafeRunner',
    'StopHook',
    'build_runner',
]
