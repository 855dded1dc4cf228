# SPDX-License-Identifier: Apache-2.0
"""Self-blended images: training fakes made of one genuine image."""

from self_blended.donor_forgery_dataset import DonorForgeryDataset
from self_blended.load_donor import LoadDonor
from self_blended.self_blended_image import SelfBlendedImage

__all__ = ['DonorForgeryDataset', 'LoadDonor', 'SelfBlendedImage']
