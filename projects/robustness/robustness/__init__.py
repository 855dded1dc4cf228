# SPDX-License-Identifier: Apache-2.0
"""How far a detector stands distortions: the kinds and levels, and the run over all of them.

Importing it registers the transform, the dataset and the sampler.
"""

from robustness.datasets import VideoBatchSampler, VideoForgeryDataset
from robustness.transforms import DistortOriginal

__all__ = ['DistortOriginal', 'VideoBatchSampler', 'VideoForgeryDataset']
