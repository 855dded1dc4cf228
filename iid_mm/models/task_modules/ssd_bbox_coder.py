# SPDX-License-Identifier: Apache-2.0
"""Box offsets as SSD defines them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder

from iid_mm.registry import TASK_UTILS


@TASK_UTILS.register_module()
class SSDBBoxCoder(DeltaXYWHBBoxCoder):
    """Offsets of center and size relative to an anchor (Liu et al., ECCV 2016, section 2.2).

    With an anchor (cx, cy, w, h): dx = (bx - cx) / w / std_x, dw = log(bw / w) / std_w, and so on. The
    parent limits decoded sizes to 62.5 times the anchor's and by that differs from SSD, and from
    published checkpoints, on large offsets. All arguments are those of
    :class:`mmdet.models.task_modules.coders.DeltaXYWHBBoxCoder`.
    """

    # exp of the largest offset must stay finite in float32: 1 / 1e-30 is.
    unlimited = 1e-30

    def decode(
        self,
        bboxes: torch.Tensor,
        pred_bboxes: torch.Tensor,
        max_shape: Sequence[int] | torch.Tensor | Sequence[Sequence[int]] | None = None,
        wh_ratio_clip: float = unlimited,
    ) -> torch.Tensor:
        """Turn offsets into boxes.

        Args:
            bboxes: Anchors, (n, 4) or (N, n, 4), xyxy in pixels.
            pred_bboxes: Encoded offsets, the same shape.
            max_shape: (h, w) that boxes are clipped to; None leaves them.
            wh_ratio_clip: Inverse of the largest ratio between the sizes of box and anchor.

        Returns:
            Boxes, xyxy in pixels.
        """
        return super().decode(bboxes, pred_bboxes, max_shape, wh_ratio_clip)
