# SPDX-License-Identifier: Apache-2.0
"""Index, dataset and transforms.

Members are imported when they are first asked for: tools that only read or write an index need neither
torch nor mmcv, which take seconds to load.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iid_mm.datasets.balanced_sampler import BalancedSampler
    from iid_mm.datasets.forgery_dataset import ForgeryDataset
    from iid_mm.datasets.samplers import ResumableSampler
    from iid_mm.datasets.transforms import (
        AlignFace,
        DegradeFace,
        DistortFace,
        FlipFace,
        LoadForgeryMask,
        LoadForgeryPair,
        MultiScaleFacialSwap,
        PackForgeryInputs,
        PackForgeryPair,
        collate_pairs,
    )

__all__ = [
    'AlignFace',
    'BalancedSampler',
    'DegradeFace',
    'DistortFace',
    'FlipFace',
    'ForgeryDataset',
    'LoadForgeryMask',
    'LoadForgeryPair',
    'MultiScaleFacialSwap',
    'PackForgeryInputs',
    'PackForgeryPair',
    'ResumableSampler',
    'collate_pairs',
]

_MODULES = {
    'BalancedSampler': 'balanced_sampler',
    'ForgeryDataset': 'forgery_dataset',
    'ResumableSampler': 'samplers',
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'{__name__}.{_MODULES.get(name, "transforms")}'), name)
