# SPDX-License-Identifier: Apache-2.0
"""Index, data set and transforms."""

from iid_mm.datasets.forgery_dataset import ForgeryDataset
from iid_mm.datasets.samplers import ForgerySampler
from iid_mm.datasets.transforms import (
    AlignFace,
    ForgeryDegradation,
    ForgeryFlip,
    LoadForgeryPair,
    MultiScaleFacialSwap,
    PackForgeryInputs,
)

__all__ = [
    'AlignFace',
    'ForgeryDataset',
    'ForgeryDegradation',
    'ForgeryFlip',
    'ForgerySampler',
    'LoadForgeryPair',
    'MultiScaleFacialSwap',
    'PackForgeryInputs',
]
