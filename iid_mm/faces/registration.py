# SPDX-License-Identifier: Apache-2.0
"""Registration of a genuine crop to a fake one, and whether both show the same scene.

Datasets that are published as crops do not use one window for a fake and its genuine frame. The
surroundings of the manipulated face are the same in both, so the crops differ by a small affine map. It is
estimated by maximizing the enhanced correlation coefficient (Evangelidis and Psarakis, TPAMI 2008) outside
of the face.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from iid_mm.datasets.functional.geometry import hull_mask
from iid_mm.faces.cropping import FOREHEAD

if TYPE_CHECKING:
    from iid_mm.utils.typing import ImageArray, PointsArray

MIN_CORRELATION = 0.9
"""Registered crops reach 0.97 and more if they show the same moment."""
MIN_LIKENESS = 0.94
"""Scene correlation of a fake and its genuine frame is 0.99 and more, that of portraits of two people 0.9 at
most."""
MIN_LAID_LIKENESS = 0.97
"""The same after registration: 0.977 and more for 36 pairs of FaceForensics++ that were cropped a few pixels
apart, 0.962 at most for 462 pairs of two people, which the map makes more alike."""
FLAT = 3.0
"""Surroundings whose gray values deviate less than this are flat: their correlation means nothing."""
BLENDING = 0.06
"""Width of the blended edge of forgeries, relative to the height of the face."""
STILL = 0.1
"""A map that moves no corner by more than this many pixels is not applied, to avoid resampling."""
_CRITERIA = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-5)


def scene_correlation(fake: ImageArray, genuine: ImageArray, points: PointsArray) -> float:
    """Correlation of thumbnails of two crops outside of the face.

    Args:
        fake: (H, W, 3) uint8.
        genuine: (H, W, 3) uint8 crop of the same window.
        points: (K, 2) landmarks, pixels of the crops.

    Returns:
        Pearson's correlation of the gray values of 64 x 64 px thumbnails; 1 or 0 for flat surroundings
        of the same or of another brightness, 1 if the face fills the crop.
    """
    outside = cv2.resize(_outside(fake, points), (64, 64), interpolation=cv2.INTER_AREA) > 250
    values = [
        cv2.resize(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), (64, 64), interpolation=cv2.INTER_AREA)[outside]
        for image in (fake, genuine)
    ]
    if not outside.any():
        return 1.0
    first, second = (value.astype(np.float64) for value in values)
    if first.std() < FLAT and second.std() < FLAT:
        return float(abs(first.mean() - second.mean()) < 4 * FLAT)
    if min(first.std(), second.std()) == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def register_crop(
    fake: ImageArray, genuine: ImageArray, fake_points: PointsArray, genuine_points: PointsArray
) -> ImageArray | None:
    """Register a genuine crop to a fake one.

    Args:
        fake: (H, W, 3) uint8.
        genuine: (h, w, 3) uint8 crop of the same moment.
        fake_points: (K, 2) landmarks in the fake crop, from which the estimate starts.
        genuine_points: (K, 2) landmarks in the genuine crop.

    Returns:
        (H, W, 3) uint8 genuine crop in the geometry of the fake; None if the two do not match.
    """
    count = min(len(fake_points), len(genuine_points))
    start, _ = cv2.estimateAffinePartial2D(fake_points[:count], genuine_points[:count], method=cv2.LMEDS)
    if start is None:
        return None
    height, width = fake.shape[:2]
    if _moves(np.asarray(start), width, height) < 3 and fake.shape == genuine.shape:
        # Nearly the same window, which is then known better than the landmarks of a fake.
        start = np.eye(2, 3)
    # The face is where the images differ.
    outside = _outside(genuine, genuine_points)
    grays = [
        cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), (5, 5), 0) for image in (fake, genuine)
    ]
    try:
        correlation, matrix = cv2.findTransformECC(
            grays[0], grays[1], np.asarray(start, np.float32), cv2.MOTION_AFFINE, _CRITERIA, outside, 1
        )
    except cv2.error:  # It does not converge: the images have nothing in common.
        return None
    if correlation < MIN_CORRELATION:
        return None
    if _moves(np.asarray(matrix), width, height) < STILL and fake.shape == genuine.shape:
        return genuine
    warped = cv2.warpAffine(
        genuine,
        matrix,
        (width, height),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(warped, np.uint8)


def _outside(image: ImageArray, points: PointsArray) -> ImageArray:
    """255 outside of the face, its forehead and the blended edge, 0 inside."""
    height = float(np.ptp(points[:68, 1]))
    brows = points[17:27].copy()
    brows[:, 1] -= FOREHEAD * height
    face = hull_mask(np.concatenate([points[:68], brows]), (image.shape[1], image.shape[0]))
    outside = 255 * (1 - face)
    width = 2 * max(round(BLENDING * height), 1) + 1
    return np.asarray(cv2.erode(outside, np.ones((width, width), np.uint8)), np.uint8)


def _moves(matrix: np.ndarray, width: int, height: int) -> float:
    """Largest shift of a corner of the image by a map, pixels."""
    corners = np.array([(0, 0), (width, 0), (0, height), (width, height)], np.float64)
    moved = corners @ matrix[:, :2].T + matrix[:, 2]
    return float(np.abs(moved - corners).max())
