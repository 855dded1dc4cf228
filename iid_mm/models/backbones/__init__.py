# SPDX-License-Identifier: Apache-2.0
"""Wrappers around backbones."""

from iid_mm.models.backbones.lora_backbone import LoRABackbone

__all__ = ['LoRABackbone']
