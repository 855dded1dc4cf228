# SPDX-License-Identifier: Apache-2.0
"""Metrics for MMEngine's evaluator."""

from iid_mm.evaluation.metrics.artifact_localization import ArtifactLocalization
from iid_mm.evaluation.metrics.forgery_auc import ForgeryAUC

__all__ = ['ArtifactLocalization', 'ForgeryAUC']
