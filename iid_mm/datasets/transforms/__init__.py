# SPDX-License-Identifier: Apache-2.0
"""Data transforms."""

from iid_mm.datasets.transforms.align_face import AlignFace
from iid_mm.datasets.transforms.degrade_face import DegradeFace
from iid_mm.datasets.transforms.distort_face import DistortFace
from iid_mm.datasets.transforms.flip_face import FlipFace
from iid_mm.datasets.transforms.load_forgery_mask import LoadForgeryMask
from iid_mm.datasets.transforms.load_forgery_pair import LoadForgeryPair
from iid_mm.datasets.transforms.multi_scale_facial_swap import MultiScaleFacialSwap
from iid_mm.datasets.transforms.pack_forgery_inputs import PackForgeryInputs
from iid_mm.datasets.transforms.pack_forgery_pair import PackForgeryPair, collate_pairs

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
