# SPDX-License-Identifier: Apache-2.0
"""Data by whole videos."""

from robustness.datasets.video_batch_sampler import VideoBatchSampler
from robustness.datasets.video_forgery_dataset import VideoForgeryDataset

__all__ = ['VideoBatchSampler', 'VideoForgeryDataset']
