# SPDX-License-Identifier: Apache-2.0
"""Data transforms."""

from robustness.transforms.distort_original import DistortOriginal

__all__ = ['DistortOriginal']
