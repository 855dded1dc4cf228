# SPDX-License-Identifier: Apache-2.0
"""Hooks."""

from iid_mm.engine.hooks.forgery_visualization_hook import ForgeryVisualizationHook
from iid_mm.engine.hooks.host_memory_hook import HostMemoryHook
from iid_mm.engine.hooks.iteration_checkpoint_hook import IterationCheckpointHook
from iid_mm.engine.hooks.missed_validation_hook import MissedValidationHook
from iid_mm.engine.hooks.reproducible_sampling_hook import ReproducibleSamplingHook

__all__ = [
    'ForgeryVisualizationHook',
    'HostMemoryHook',
    'IterationCheckpointHook',
    'MissedValidationHook',
    'ReproducibleSamplingHook',
]
