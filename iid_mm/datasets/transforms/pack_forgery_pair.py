# SPDX-License-Identifier: Apache-2.0
"""Fakes and the genuine frames they were made from, in one batch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from mmengine.dataset import pseudo_collate

from iid_mm.datasets.transforms.pack_forgery_inputs import PackForgeryInputs
from iid_mm.registry import FUNCTIONS, TRANSFORMS
from iid_mm.utils.typing import Results


@TRANSFORMS.register_module()
class PackForgeryPair(PackForgeryInputs):
    """Pack a fake together with the genuine image it was made from.

    Both reach the network in one batch, aligned, mirrored and degraded alike, so that they differ only by
    the forgery, not by person or scene, and the gradient of that difference dominates (the training scheme
    of Shiohara and Yamasaki, "Detecting Deepfakes with Self-Blended Images", CVPR 2022, section 4.1, for
    fakes of any kind). Use ``DegradeFace(with_source=True)`` before it, and
    ``collate_fn=dict(type='iid_mm.collate_pairs')`` in the data loader, whose batches then hold up to twice
    ``batch_size`` images.

    Required Keys:

    - those of :class:`PackForgeryInputs`
    - source_img (of fakes with a pair)
    - source_img_path (of fakes with a pair)

    Returns a list: the sample, then, where there is a ``source_img``, the genuine one. That one has label
    0, no boxes, ``swap_kind`` 'genuine' and the meta information of the fake but for its ``img_path``,
    ``method`` and ``source_id``.
    """

    def transform(self, results: Results) -> list[dict[str, Any]]:  # type: ignore[override]
        """Return one or two packed samples."""
        packed = [super().transform(results)]
        if results.get('source_img') is not None:
            genuine = {
                **results,
                'img': results['source_img'],
                'img_path': results.get('source_img_path'),
                'gt_label': 0,
                'method': None,
                'source_id': None,
                'swap_kind': 'genuine',
            }
            genuine.pop('artifact_mask', None)
            if 'gt_bboxes' in results:
                genuine['gt_bboxes'] = np.zeros((0, 4), dtype=np.float32)
                genuine['gt_bboxes_labels'] = np.zeros(0, dtype=np.int64)
            packed.append(super().transform(genuine))
        return packed


@FUNCTIONS.register_module()
def collate_pairs(batch: Sequence[Sequence[dict[str, Any]]]) -> dict[str, Any]:
    """Collate the members of all pairs into one batch.

    Args:
        batch: What :class:`~iid_mm.datasets.transforms.PackForgeryPair` returns for each item: lists of one
            or two samples.

    Returns:
        The batch that :func:`mmengine.dataset.pseudo_collate` makes of all samples, in their order.
    """
    collated: dict[str, Any] = pseudo_collate(list(chain.from_iterable(batch)))
    return collated
