# SPDX-License-Identifier: Apache-2.0
"""Metrics of one frame: a heat map or boxes compared with the manipulated region.

H and W are the height and width of the canvas. A heat map is (H, W), finite and not negative, higher =
more suspicious; a mask is (H, W), not 0 = manipulated. Boxes are xyxy, pixel edges: the box of the pixel
in row r and column c is (c, r, c + 1, r + 1).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from iid_mm.errors import InputError
from iid_mm.utils.typing import FloatArray, Size

Mask = npt.NDArray[np.uint8] | npt.NDArray[np.bool_]
Values = npt.NDArray[np.float64]

LEVELS: tuple[float, ...] = tuple(round(0.05 * step, 2) for step in range(1, 20))
"""Shares of a map's maximum at which it is cut, 0.05 to 0.95; 0.5 is at :data:`HALF`."""
HALF = LEVELS.index(0.5)
CENTER_SHARES: tuple[float, ...] = tuple(round(0.1 * step, 1) for step in range(1, 11))
"""Sides of the centered boxes that serve as baselines, shares of the canvas' sides."""
GRID = 28
"""Side of the grid to which maps are reduced to compare a fake with its genuine frame."""


@dataclass(frozen=True)
class MapMetrics:
    """Metrics of one map and one mask.

    Attributes:
        pointing: 1 where the map's maximum lies in the mask, else 0 (Zhang et al., IJCV 2018). Where
            several pixels share the maximum: the share of them that lies in the mask.
        energy: Share of the map's sum that lies in the mask (Wang et al., CVPRW 2020).
        iou: (19,) intersection over union of the mask and the pixels with at least ``level`` times the
            maximum, for each of :data:`LEVELS`.
    """

    pointing: float
    energy: float
    iou: Values

    def as_vector(self) -> Values:
        """Pointing, energy and the 19 overlaps, (21,)."""
        return np.concatenate([[self.pointing, self.energy], self.iou])


def mask_box(mask: Mask) -> Values | None:
    """Bounding box of a mask, (4,) xyxy; None where the mask is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=np.float64)


def map_metrics(heat: FloatArray, mask: Mask) -> MapMetrics:
    """Compare a map with a mask.

    A map that is 0 everywhere has metrics of 0. For a constant map above 0 all metrics are the mask's share
    of the canvas, which is chance.

    Args:
        heat: (H, W).
        mask: (H, W), not empty.

    Returns:
        The metrics.

    Raises:
        InputError: Shapes differ, the mask is empty, or the map is negative, NaN or infinite.
    """
    values = np.asarray(heat, dtype=np.float64)
    inside = np.asarray(mask).astype(bool)
    if values.shape != inside.shape or values.ndim != 2:
        raise InputError(
            f'heat map of shape {values.shape} for a mask of shape {inside.shape}; both must be (H, W) of '
            'the canvas'
        )
    if not inside.any():
        raise InputError('mask is empty: nothing can be found in it; leave such frames out')
    low, top = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(top)) or low < 0:
        raise InputError(
            f'heat map with values from {low} to {top}: it must be finite and not negative; look for a '
            'diverged training'
        )
    if top == 0:
        return MapMetrics(0.0, 0.0, np.zeros(len(LEVELS)))
    maxima = values == top
    pointing = np.count_nonzero(maxima & inside) / np.count_nonzero(maxima)
    # Number of levels that a pixel reaches; cumulated from above: pixels at or above each level.
    reached = np.searchsorted(top * np.array(LEVELS), values.ravel(), side='right')
    both = np.bincount(reached[inside.ravel()], minlength=len(LEVELS) + 1)[::-1].cumsum()[::-1][1:]
    over = np.bincount(reached, minlength=len(LEVELS) + 1)[::-1].cumsum()[::-1][1:]
    union = over + np.count_nonzero(inside) - both
    return MapMetrics(float(pointing), float(values[inside].sum() / values.sum()), both / union)


def coarse_map(heat: FloatArray) -> npt.NDArray[np.uint8]:
    """Reduce a map, (H, W), to means over the cells of a grid, (28, 28), 255 = the highest of them."""
    cells = cv2.resize(np.asarray(heat, dtype=np.float32), (GRID, GRID), interpolation=cv2.INTER_AREA)
    top = float(cells.max())
    return np.rint(cells * (255 / top) if top > 0 else np.zeros_like(cells)).astype(np.uint8)


def coarse_mask(mask: Mask) -> npt.NDArray[np.bool_]:
    """Reduce a mask, (H, W), to a grid, (28, 28): cells that are masked by half or more."""
    inside = np.asarray(mask).astype(bool).astype(np.float32)
    cells = cv2.resize(inside, (GRID, GRID), interpolation=cv2.INTER_AREA)
    # The mean of zeros and ones is rounded.
    return np.asarray(cells > 0.5 - 1e-4)


@functools.lru_cache(maxsize=8)
def center_map(size: Size) -> Values:
    """A map that only falls off from the middle: its cuts are centered boxes.

    ``h = 1 - max(|x - cx| / (W / 2), |y - cy| / (H / 2))`` at pixel centers, so that a cut at level l
    gives about the box whose sides are 1 - l times the canvas'.

    Args:
        size: Canvas (w, h).

    Returns:
        (H, W), read-only.
    """
    # Integers before the division, so that mirrored pixels are exactly equal.
    x, y = (np.abs(2 * np.arange(length) + 1 - length) / length for length in size)
    heat = 1 - np.maximum(x[None, :], y[:, None])
    heat.flags.writeable = False
    return heat


def centered_boxes(size: Size, shares: tuple[float, ...] = CENTER_SHARES) -> Values:
    """Boxes about the middle of a canvas (w, h) with these shares of its sides, (n, 4)."""
    side = np.asarray(size, dtype=np.float64)
    half = np.asarray(shares)[:, None] * side / 2
    return np.concatenate([side / 2 - half, side / 2 + half], axis=1)


def box_overlaps(boxes: FloatArray, truth: FloatArray) -> Values:
    """Intersection over union of boxes, (n, 4), with one box, (4,); returns (n,)."""
    corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    target = np.asarray(truth, dtype=np.float64)
    shared = np.minimum(corners[:, 2:], target[2:]) - np.maximum(corners[:, :2], target[:2])
    both = shared.clip(min=0).prod(axis=1)
    own = (corners[:, 2:] - corners[:, :2]).clip(min=0).prod(axis=1)
    union = own + (target[2:] - target[:2]).prod() - both
    return np.divide(both, union, out=np.zeros_like(both), where=union > 0)
