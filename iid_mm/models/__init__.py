# SPDX-License-Identifier: Apache-2.0
"""Models: detector, necks, heads and what they are made of."""

# Order matters: the stand-in operators must be there before mmdet's models are imported, and mmdet's
# models must be imported because a lookup that passes through a parent registry does not import them.
from iid_mm.models import ops_fallback  # isort: skip
import mmdet.models  # noqa: F401  # isort: skip

from iid_mm.models.backbones import LoRABackbone
from iid_mm.models.dense_heads import ArtifactHead
from iid_mm.models.detectors import IIDDetector
from iid_mm.models.heads import ForgeryHead
from iid_mm.models.necks import ArtifactNeck, PatchArtifactNeck
from iid_mm.models.task_modules import ExplicitAnchorGenerator, SSDBBoxCoder
from iid_mm.utils.checkpoint import install_safe_loader

install_safe_loader()

__all__ = [
    'ArtifactHead',
    'ArtifactNeck',
    'ExplicitAnchorGenerator',
    'ForgeryHead',
    'IIDDetector',
    'LoRABackbone',
    'PatchArtifactNeck',
    'SSDBBoxCoder',
    'ops_fallback',
]
