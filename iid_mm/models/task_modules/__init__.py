# SPDX-License-Identifier: Apache-2.0
"""Anchors and other parts that heads are made of."""

from iid_mm.models.task_modules.explicit_anchor_generator import ExplicitAnchorGenerator

__all__ = ['ExplicitAnchorGenerator']
