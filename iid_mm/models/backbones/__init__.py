# SPDX-License-Identifier: Apache-2.0
"""Backbones that mmpretrain has in another form."""

from iid_mm.models.backbones.static_pad_efficientnet import StaticPadEfficientNet

__all__ = ['StaticPadEfficientNet']
