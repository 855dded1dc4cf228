# SPDX-License-Identifier: Apache-2.0
"""Data transforms."""

from iid_mm.robustness.transforms.distort_face import DistortFace

__all__ = ['DistortFace']
