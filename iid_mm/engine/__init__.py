# SPDX-License-Identifier: Apache-2.0
"""Training: runner, loops and hooks."""

from iid_mm.engine.hooks import HostMemoryHook, IterationCheckpointHook, ReproducibleSamplingHook
from iid_mm.engine.runner import ForgeryRunner, ResumableEpochTrainLoop

__all__ = [
    'ForgeryRunner',
    'HostMemoryHook',
    'IterationCheckpointHook',
    'ReproducibleSamplingHook',
    'ResumableEpochTrainLoop',
]
