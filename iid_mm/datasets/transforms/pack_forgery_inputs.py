# SPDX-License-Identifier: Apache-2.0
"""Pack a sample for the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.structures import InstanceData

from iid_mm.datasets.transforms.face_transform import FaceTransform
from iid_mm.registry import TRANSFORMS
from iid_mm.structures import ForgeryDataSample
from iid_mm.utils.typing import Results

META_KEYS = (
    'img_path',
    'img_shape',
    'ori_shape',
    'video_key',
    'frame',
    'dataset',
    'method',
    'target_id',
    'source_id',
    'warp_matrix',
    'flip',
    'swap_kind',
    'sample_idx',
)


@TRANSFORMS.register_module()
class PackForgeryInputs(FaceTransform):
    """Pack the image and its annotation.

    Required Keys:

    - img
    - gt_label (optional; absent for images without annotation)
    - gt_bboxes (optional; absent without
      :class:`~iid_mm.datasets.transforms.MultiScaleFacialSwap`)
    - gt_bboxes_labels (with gt_bboxes)
    - artifact_mask (optional; absent without :class:`~iid_mm.datasets.transforms.LoadForgeryMask`)

    Added Keys:

    - inputs: (3, H, W) uint8 tensor, BGR
    - data_samples: :class:`~iid_mm.structures.ForgeryDataSample`, with ``gt_artifact_mask``, (H, W)
      uint8, where the sample has a mask

    All other keys are dropped.

    Args:
        meta_keys: Keys that become meta information of the data sample, where present.
    """

    def __init__(self, meta_keys: Sequence[str] = META_KEYS) -> None:
        self.meta_keys = tuple(meta_keys)

    def transform(self, results: Results) -> dict[str, Any]:
        """Return ``dict(inputs=..., data_samples=...)``."""
        image = results['img']
        # cv2 splits the channels several times faster than numpy or torch transpose them.
        planes = np.empty((3, *image.shape[:2]), dtype=np.uint8)
        cv2.split(image, list(planes))
        sample = ForgeryDataSample()
        if 'gt_label' in results:
            sample.gt_label = torch.tensor([int(results['gt_label'])], dtype=torch.int64)
        if 'gt_bboxes' in results:
            instances = InstanceData()
            instances.bboxes = torch.from_numpy(results['gt_bboxes'])
            instances.labels = torch.from_numpy(results['gt_bboxes_labels'])
            sample.gt_instances = instances
        if 'artifact_mask' in results:
            sample.gt_artifact_mask = torch.from_numpy(results['artifact_mask'])
        sample.set_metainfo({key: results[key] for key in self.meta_keys if key in results})
        return {'inputs': torch.from_numpy(planes), 'data_samples': sample}
