# SPDX-License-Identifier: Apache-2.0
"""Data transforms."""

from iid_mm.datasets.transforms.distort import DistortFace

__all__ = ['DistortFace']
