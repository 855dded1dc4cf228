# SPDX-License-Identifier: Apache-2.0
"""Robustness of a detector: tests on distorted sets, by distortion and level.

Importing it registers the transform, the dataset and the sampler, which takes
``custom_imports = dict(imports=['iid_mm', 'robustness'])`` in a config.
"""

from robustness.distort_original import DistortOriginal
from robustness.video_batch_sampler import VideoBatchSampler
from robustness.video_forgery_dataset import VideoForgeryDataset

__all__ = ['DistortOriginal', 'VideoBatchSampler', 'VideoForgeryDataset']
