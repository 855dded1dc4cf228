# SPDX-License-Identifier: Apache-2.0
"""Necks."""

from iid_mm.models.necks.artifact_neck import ArtifactNeck

__all__ = ['ArtifactNeck']
