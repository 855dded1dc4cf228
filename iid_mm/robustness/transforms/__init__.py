# SPDX-License-Identifier: Apache-2.0
"""Data transforms."""

from iid_mm.robustness.transforms.forgery_distortion import ForgeryDistortion

__all__ = ['ForgeryDistortion']
