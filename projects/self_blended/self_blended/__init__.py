# SPDX-License-Identifier: Apache-2.0
"""Self-blended images: training fakes made of one genuine image."""

from self_blended.donors import DonorForgeryDataset, LoadDonor
from self_blended.transform import SelfBlendedImage

__all__ = ['DonorForgeryDataset', 'LoadDonor', 'SelfBlendedImage']
