# SPDX-License-Identifier: Apache-2.0
"""From the model's canvas back to the frame."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from iid_mm.faces.cropping import Window

Polygons = npt.NDArray[np.float64]


def canvas_to_frame(
    boxes: npt.ArrayLike, warp_matrix: npt.ArrayLike, window: Window, crop_size: tuple[int, int]
) -> Polygons:
    """Bring boxes on the canvas into the frame.

    Boxes are in pixel edges, an image of width w covers x from 0 to w; matrices move pixel centers, the
    first of which is 0 (see :mod:`iid_mm.faces.cropping`).

    Args:
        boxes: (n, 4) x0, y0, x1, y1 on the canvas.
        warp_matrix: (2, 3) affine matrix from the crop to the canvas.
        window: Where the crop was cut out of the frame.
        crop_size: Width and height of the crop, which may be smaller than its window.

    Returns:
        (n, 4, 2) corners x, y in pixels of the frame: upper left, upper right, lower right, lower left of
        each box, turned back.
    """
    corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)[:, [0, 1, 2, 1, 2, 3, 0, 3]]
    points = corners.reshape(-1, 2) - 0.5
    matrix = np.asarray(warp_matrix, dtype=np.float64)[:2]
    on_crop = np.linalg.solve(matrix[:, :2], (points - matrix[:, 2]).T).T + 0.5
    x0, y0, x1, y1 = window
    scale = np.array([(x1 - x0) / crop_size[0], (y1 - y0) / crop_size[1]])
    return np.asarray((on_crop * scale + (x0, y0)).reshape(-1, 4, 2), dtype=np.float64)
