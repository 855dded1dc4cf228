# SPDX-License-Identifier: Apache-2.0
"""Detectors."""

from iid_mm.models.detectors.iid_detector import IIDDetector

__all__ = ['IIDDetector']
