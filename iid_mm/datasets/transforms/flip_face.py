# SPDX-License-Identifier: Apache-2.0
"""Mirror a face left to right."""

from __future__ import annotations

import cv2
import numpy as np
from mmcv.transforms.utils import cache_randomness

from iid_mm.datasets.functional.geometry import check_landmarks, flip_boxes, flip_landmarks, flip_matrix
from iid_mm.datasets.transforms.face_transform import FaceTransform
from iid_mm.registry import TRANSFORMS
from iid_mm.utils.typing import Results


@TRANSFORMS.register_module()
class FlipFace(FaceTransform):
    """Mirror the sample left to right with a given probability.

    Required Keys:

    - img
    - landmarks (optional)
    - source_img (optional)
    - gt_bboxes (optional)
    - warp_matrix (optional)

    Modified Keys:

    - img
    - landmarks (if there; left and right points change places)
    - source_img (if there)
    - gt_bboxes (if there)
    - warp_matrix (if there)

    Added Keys:

    - flip

    Args:
        prob: Probability.
    """

    def __init__(self, prob: float = 0.5) -> None:
        self.prob = prob

    @cache_randomness
    def _draw(self) -> bool:
        return bool(np.random.rand() < self.prob)

    def transform(self, results: Results) -> Results:
        """Mirror the sample or leave it."""
        results['flip'] = self._draw()
        if not results['flip']:
            return results
        width = results['img'].shape[1]
        for key in ('img', 'source_img'):
            if results.get(key) is not None:
                results[key] = cv2.flip(results[key], 1)
        if 'landmarks' in results:
            check_landmarks(results['landmarks'])
            results['landmarks'] = flip_landmarks(results['landmarks'], width)
        if 'gt_bboxes' in results:
            results['gt_bboxes'] = flip_boxes(results['gt_bboxes'], width)
        if 'warp_matrix' in results:
            results['warp_matrix'] = flip_matrix(results['warp_matrix'], width)
        return results
