# SPDX-License-Identifier: Apache-2.0
"""Detectors outside of PyTorch: export to ONNX, and running exported files."""

from iid_mm.deployment.export import ExportOptions, ParityError, export_checkpoint, export_onnx
from iid_mm.deployment.onnx_detector import OnnxDetector
from iid_mm.deployment.onnx_file import OnnxMetadata

__all__ = [
    'ExportOptions',
    'OnnxDetector',
    'OnnxMetadata',
    'ParityError',
    'export_checkpoint',
    'export_onnx',
]
