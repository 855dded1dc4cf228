# SPDX-License-Identifier: Apache-2.0
"""Data structures."""

from iid_mm.structures.forgery_data_sample import ForgeryDataSample

__all__ = ['ForgeryDataSample']
