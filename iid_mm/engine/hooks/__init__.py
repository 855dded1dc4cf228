# SPDX-License-Identifier: Apache-2.0
"""Hooks."""

from iid_mm.engine.hooks.checkpoint_hook import CheckpointHook
from iid_mm.engine.hooks.finite_loss_hook import FiniteLossHook
from iid_mm.engine.hooks.host_memory_hook import HostMemoryHook
from iid_mm.engine.hooks.prediction_visualization_hook import PredictionVisualizationHook
from iid_mm.engine.hooks.reproducible_sampling_hook import ReproducibleSamplingHook
from iid_mm.engine.hooks.stop_hook import StopHook

__all__ = [
    'CheckpointHook',
    'FiniteLossHook',
    'HostMemoryHook',
    'PredictionVisualizationHook',
    'ReproducibleSamplingHook',
    'StopHook',
]
