# SPDX-License-Identifier: Apache-2.0
"""Read the mask of a manipulation."""

from __future__ import annotations

import cv2
import numpy as np

from iid_mm.datasets.functional import geometry
from iid_mm.datasets.storage import read_crop
from iid_mm.datasets.transforms.face_transform import FaceTransform
from iid_mm.errors import InputError
from iid_mm.registry import TRANSFORMS
from iid_mm.utils.typing import Results


@TRANSFORMS.register_module()
class LoadForgeryMask(FaceTransform):
    """Read the mask of manipulated pixels of a fake and warp it to the canvas.

    The mask has the window and size of the stored crop and is warped by the same matrix as the image, so
    this transform comes after all that move the image. Gray values are warped like the image, by area where
    they shrink, and then compared with the threshold: of a black and white mask a pixel of the canvas
    counts where at least half of it is masked. Genuine faces get an empty mask without a file; fakes
    without a mask file get none.

    Required Keys:

    - gt_label
    - mask_path (optional; None: no mask)
    - img
    - ori_shape
    - warp_matrix (optional; absent: the crop is the canvas)
    - storage (optional; database to read from, absent: files)

    Added Keys:

    - artifact_mask ((H, W) uint8, 1 = manipulated; genuine faces, and fakes with a mask)

    Args:
        threshold: Gray values from this on are manipulated, 1 to 255.
    """

    def __init__(self, threshold: int = 128) -> None:
        if not 1 <= threshold <= 255:
            raise InputError(f'threshold={threshold!r}: give a gray value from 1 to 255')
        self.threshold = threshold

    def transform(self, results: Results) -> Results:
        """Add the mask.

        Raises:
            FileNotFoundError: If the file of the mask is missing.
            InputError: If it cannot be read or decoded or has another size than the stored crop.
        """
        height, width = results['img'].shape[:2]
        if int(results['gt_label']) == 0:
            results['artifact_mask'] = np.zeros((height, width), dtype=np.uint8)
        elif results.get('mask_path') is not None:
            mask = read_crop(
                results['mask_path'],
                kind='mask',
                flags=cv2.IMREAD_GRAYSCALE,
                remedy='prepare the set again with --masks',
                storage=results.get('storage'),
            )
            if mask.shape != tuple(results['ori_shape'][:2]):
                raise InputError(
                    f'mask {results["mask_path"]!r} is {mask.shape} and its image '
                    f'{tuple(results["ori_shape"][:2])} (h, w): both need one crop window; prepare the '
                    'set again with --masks'
                )
            if results.get('warp_matrix') is not None:
                mask = geometry.warp_image(mask, results['warp_matrix'], (width, height))
            results['artifact_mask'] = (mask >= self.threshold).astype(np.uint8)
        return results
