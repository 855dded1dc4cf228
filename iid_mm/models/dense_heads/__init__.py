# SPDX-License-Identifier: Apache-2.0
"""Dense heads."""

from iid_mm.models.dense_heads.artifact_head import ArtifactHead

__all__ = ['ArtifactHead']
