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
    """Read which pixels of a fake were manipulated and warp that to the canvas.

    The mask has the window and the size of the stored crop and goes through the whole matrix that the
    image went through, so this transform stands after all that move the image. Its gray values are
    warped as those of the image are, by area where they shrink, and then compared with the threshold:
    with a mask of black and white a pixel of the canvas counts where at least half of it is masked.
    Genuine faces get an empty mask without a file; fakes without a mask get none.

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
