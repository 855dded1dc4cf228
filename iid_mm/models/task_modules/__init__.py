# SPDX-License-Identifier: Apache-2.0
"""Anchors and other parts that heads are made of."""

from iid_mm.models.task_modules.explicit_anchor_generator import ExplicitAnchorGenerator
from iid_mm.models.task_modules.ssd_bbox_coder import SSDBBoxCoder

__all__ = ['ExplicitAnchorGenerator', 'SSDBBoxCoder']
