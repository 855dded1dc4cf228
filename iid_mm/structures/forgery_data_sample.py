# SPDX-License-Identifier: Apache-2.0
"""Annotation and prediction of one face."""

from __future__ import annotations

import torch
from mmdet.structures import DetDataSample


class ForgeryDataSample(DetDataSample):
    """Annotation and prediction of one face crop.

    Beyond :class:`mmdet.structures.DetDataSample` (``gt_instances`` and ``pred_instances`` with artifact
    boxes in canvas pixels, xyxy) it holds

    * ``gt_label``: (1,) int64, 0 = genuine, 1 = fake;
    * ``pred_score``: (2,) float, probabilities of genuine and fake;
    * ``pred_label``: (1,) int64, the more probable class.

    The meta information names the sample: ``img_path``, ``video_key``, ``frame``, ``dataset``, ``method``,
    ``target_id``, ``source_id``, ``img_shape`` (h, w), ``warp_matrix`` (crop to canvas).
    """

    @property
    def gt_label(self) -> torch.Tensor:
        """Ground truth, (1,) int64."""
        return self._gt_label

    @gt_label.setter
    def gt_label(self, value: torch.Tensor) -> None:
        self.set_field(value, '_gt_label', dtype=torch.Tensor)

    @gt_label.deleter
    def gt_label(self) -> None:
        del self._gt_label

    @property
    def pred_score(self) -> torch.Tensor:
        """Probabilities of genuine and fake, (2,) float."""
        return self._pred_score

    @pred_score.setter
    def pred_score(self, value: torch.Tensor) -> None:
        self.set_field(value, '_pred_score', dtype=torch.Tensor)

    @pred_score.deleter
    def pred_score(self) -> None:
        del self._pred_score

    @property
    def pred_label(self) -> torch.Tensor:
        """Predicted class, (1,) int64."""
        return self._pred_label

    @pred_label.setter
    def pred_label(self, value: torch.Tensor) -> None:
        self.set_field(value, '_pred_label', dtype=torch.Tensor)

    @pred_label.deleter
    def pred_label(self) -> None:
        del self._pred_label
