# SPDX-License-Identifier: Apache-2.0
"""iid_mm: ID-unaware deepfake detection for MMEngine, MMDetection and MMPretrain."""

from iid_mm.utils.dependencies import check_dependencies
from iid_mm.version import __version__

check_dependencies()

__all__ = ['__version__']
