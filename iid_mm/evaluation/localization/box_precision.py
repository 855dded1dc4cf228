# SPDX-License-Identifier: Apache-2.0
"""Average precision of boxes for images with at most one true box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from iid_mm.utils.typing import FloatArray

Values = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]

IOU_THRESHOLDS: tuple[float, ...] = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""0.5, 0.55, ..., 0.95."""


@dataclass(frozen=True)
class Detections:
    """All boxes of all images, D boxes in descending order of their scores, ties next to each other.

    Attributes:
        image: (D,) number of each box's image.
        iou: (D,) overlap with the true box of the image, 0 if it has none.
        before: (D,) largest overlap of the boxes that come before it in its image, -1 for the first. At
            a threshold t a box is right if ``iou >= t > before``: the first match takes the true box,
            later ones are wrong.
        last: (D,) whether the next box has another score; a threshold on scores can only lie there.
    """

    image: Codes
    iou: Values
    before: Values
    last: npt.NDArray[np.bool_]


def collect_detections(images: Sequence[FloatArray]) -> Detections:
    """Sort the boxes of all images.

    Args:
        images: For each image (m, 2 or more): score of each box, in any order, and its overlap with the
            true box.

    Returns:
        The boxes of all images.
    """
    counts = [len(boxes) for boxes in images]
    image = np.repeat(np.arange(len(counts)), counts)
    columns = [np.asarray(boxes, dtype=np.float64)[:, :2] for boxes in images]
    score, iou = np.concatenate([np.empty((0, 2)), *columns]).T
    # Within an image by score; of tied boxes the better one first, so that their order does not matter.
    order = np.lexsort((-iou, -score, image))
    image, score, iou = image[order], score[order], iou[order]
    before = _largest_before(image, iou)
    order = np.argsort(-score, kind='stable')
    score = score[order]
    last = np.append(score[1:] != score[:-1], True) if score.size else np.zeros(0, dtype=bool)
    return Detections(image[order], iou[order], before[order], last)


def _largest_before(image: Codes, iou: Values) -> Values:
    """Largest overlap among the earlier boxes of the same image; images follow one another."""
    if not iou.size:
        return np.empty(0)
    # Ranks in place of the overlaps, raised from image to image: the running maximum then starts anew in
    # each image, and nothing is rounded.
    known, rank = np.unique(iou, return_inverse=True)
    lift = image.astype(np.int64) * known.size
    highest = np.maximum.accumulate(rank + lift)
    first = np.append(True, image[1:] != image[:-1])
    return np.where(first, -1.0, known[np.append(0, highest[:-1] - lift[:-1])])


def box_average_precision(
    found: Detections, true_boxes: float, threshold: float, weights: Values | None = None
) -> float:
    """Area under the curve of precision against recall.

    Points of the curve lie at the different scores, so that ties need no order. As in PASCAL VOC since
    2010 and in mmdet, the precision at a recall is the largest at this recall or a higher one.

    Args:
        found: All boxes.
        true_boxes: Number of images with a true box, or the sum of their weights.
        threshold: Overlap from which a box is right.
        weights: (I,) how often each image counts; None: once.

    Returns:
        Average precision, 0 to 1; NaN without true boxes.
    """
    if true_boxes <= 0:
        return float('nan')
    weight = np.ones(found.image.size) if weights is None else weights[found.image]
    right = (found.iou >= threshold) & (found.before < threshold)
    hits = np.cumsum(weight * right)[found.last]
    boxes = np.cumsum(weight)[found.last]
    precision = np.divide(hits, boxes, out=np.zeros_like(hits), where=boxes > 0)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(hits, prepend=0.0) * envelope) / true_boxes)


def mean_average_precision(found: Detections, true_boxes: float) -> float:
    """Mean of the average precisions at :data:`IOU_THRESHOLDS`."""
    return float(np.mean([box_average_precision(found, true_boxes, t) for t in IOU_THRESHOLDS]))
