# SPDX-License-Identifier: Apache-2.0
"""Heads that say something about the whole face."""

from iid_mm.models.heads.forgery_head import ForgeryHead

__all__ = ['ForgeryHead']
