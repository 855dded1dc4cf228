# SPDX-License-Identifier: Apache-2.0
"""Necks."""

from iid_mm.models.necks.artifact_neck import ArtifactNeck
from iid_mm.models.necks.patch_artifact_neck import PatchArtifactNeck

__all__ = ['ArtifactNeck', 'PatchArtifactNeck']
