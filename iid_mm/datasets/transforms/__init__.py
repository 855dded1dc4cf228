# SPDX-License-Identifier: Apache-2.0
"""Data transforms."""

from iid_mm.datasets.transforms.align import AlignFace
from iid_mm.datasets.transforms.degrade import DegradeFace
from iid_mm.datasets.transforms.distort import DistortFace
from iid_mm.datasets.transforms.flip import FlipFace
from iid_mm.datasets.transforms.formatting import PackForgeryInputs
from iid_mm.datasets.transforms.loading import LoadForgeryPair
from iid_mm.datasets.transforms.mask import LoadForgeryMask
from iid_mm.datasets.transforms.mfs import MultiScaleFacialSwap
from iid_mm.datasets.transforms.pairs import PackForgeryPair, collate_pairs

__all__ = [
    'AlignFace',
    'DegradeFace',
    'DistortFace',
    'FlipFace',
    'LoadForgeryMask',
    'LoadForgeryPair',
    'MultiScaleFacialSwap',
    'PackForgeryInputs',
    'PackForgeryPair',
    'collate_pairs',
]
