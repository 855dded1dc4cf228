# SPDX-License-Identifier: Apache-2.0
"""Controlled study of identity leakage: identity predicts the label to a chosen degree."""

from identity_leakage.confounded_forgery_dataset import ConfoundedForgeryDataset

__all__ = ['ConfoundedForgeryDataset']
