# SPDX-License-Identifier: Apache-2.0
"""Read a donor for a blended image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from mmcv.transforms.utils import cache_randomness

from iid_mm.datasets.functional.geometry import check_landmarks, warp_image
from iid_mm.datasets.transforms import LoadForgeryPair
from iid_mm.datasets.transforms.face_transform import FaceTransform
from iid_mm.errors import InputError
from iid_mm.registry import TRANSFORMS
from iid_mm.utils.typing import PointsArray, Results


@TRANSFORMS.register_module()
class LoadDonor(FaceTransform):
    """Read another person's face for a genuine sample and warp it onto the sample's.

    Comes after :class:`~iid_mm.datasets.transforms.AlignFace`. Fakes pass unchanged.

    Required Keys:

    - img: aligned canvas
    - landmarks: on the canvas
    - gt_label
    - target_id
    - donors: of a :class:`DonorForgeryDataset`

    Added Keys:

    - donor_img (of genuine samples that get one): warped onto the landmarks of the sample by the best affine
      map

    Args:
        prob: Share of the genuine samples that get a donor.
        candidates: The donor is the most similar of this many random faces.
        cache_mib: As in :class:`~iid_mm.datasets.transforms.LoadForgeryPair`.
    """

    def __init__(self, prob: float = 0.5, candidates: int = 50, cache_mib: int = 0) -> None:
        if not 0 <= prob <= 1:
            raise InputError(f'prob={prob!r}: must be between 0 and 1')
        if candidates < 1:
            raise InputError(f'candidates={candidates!r}: must be at least 1')
        self.prob = prob
        self.candidates = candidates
        self.cache_mib = cache_mib
        self._loader = LoadForgeryPair(with_source=False, cache_mib=cache_mib)

    @cache_randomness
    def _draw(self) -> npt.NDArray[np.int64] | None:
        """Draw the candidates; None: no donor."""
        if np.random.rand() >= self.prob:
            return None
        return np.random.randint(0, 2**62, self.candidates)

    def transform(self, results: Results) -> Results:
        """Add the donor's face.

        Raises:
            InputError: If the dataset gives no donors.
        """
        if results['gt_label'] != 0:
            return results
        if (donors := results.get('donors')) is None:
            raise InputError("no donors: LoadDonor needs dataset=dict(type='DonorForgeryDataset')")
        numbers = self._draw()
        if numbers is None:
            return results
        check_landmarks(results['landmarks'])
        donor = donors.choose(results['landmarks'], results.get('target_id'), numbers)
        height, width = results['img'].shape[:2]
        matrix = fit_affine(donor['landmarks'][:68], results['landmarks'][:68])
        # As AlignFace does: another way to resample would mark a donor without any seam.
        results['donor_img'] = warp_image(self._loader(donor)['img'], matrix, (width, height))
        return results


def fit_affine(source: PointsArray, target: PointsArray) -> npt.NDArray[np.float64]:
    """Least-squares affine matrix (2, 3) that takes (n, 2) points to (n, 2) points."""
    known = np.c_[source, np.ones(len(source))].astype(np.float64)
    solution, *_ = np.linalg.lstsq(known, target.astype(np.float64), rcond=None)
    return np.asarray(solution.T)
