# SPDX-License-Identifier: Apache-2.0
"""Faces of other people for blended images.

Li et al., "Face X-ray for More General Face Forgery Detection", CVPR 2020, section 3.2: training fakes are
made of genuine images only, of a face and another person's whose landmarks lie alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness

from iid_mm.datasets.forgery_dataset import ForgeryDataset
from iid_mm.datasets.functional.geometry import check_landmarks, warp_image
from iid_mm.datasets.storage import LmdbStorage
from iid_mm.datasets.transforms import LoadForgeryPair
from iid_mm.errors import InputError
from iid_mm.registry import DATASETS, TRANSFORMS
from iid_mm.utils.typing import ImageArray, PointsArray, Results

_POINTS = 68


class Donors:
    """The genuine faces of a dataset that can be blended into others.

    Args:
        samples: All samples of the set.
        storages: What ``storage`` of a sample, a number, stands for.

    Raises:
        InputError: If the genuine ones are of one person only, or one does not say whose it is.
    """

    def __init__(
        self, samples: Sequence[dict[str, Any]], storages: Sequence[LmdbStorage | None] = ()
    ) -> None:
        self._samples, self._storages = samples, storages
        rows, shapes, people = [], [], []
        for row, sample in enumerate(samples):
            if sample['gt_label'] != 0:
                continue
            if sample['target_id'] is None:
                raise InputError(
                    f'genuine sample {sample["img_path"]!r} names no target_id: a donor must be known to be '
                    'another person; prepare the set with a layout that knows people, or do without LoadDonor'
                )
            rows.append(row)
            shapes.append(_shape(sample['landmarks']))
            people.append(sample['target_id'])
        self._people = {name: number for number, name in enumerate(sorted(set(people)))}
        if len(self._people) < 2:
            raise InputError(
                f'the genuine samples of the set are of {len(self._people)} person(s), and donors need two '
                'at least; check split, frames_per_video and paired_only of the dataset'
            )
        self._rows = np.array(rows)
        self._shapes = np.stack(shapes)
        self._person = np.array([self._people[name] for name in people])

    def choose(
        self, landmarks: PointsArray, target_id: str | None, numbers: npt.NDArray[np.int64]
    ) -> dict[str, Any]:
        """Of some candidates, the one whose landmarks lie most alike.

        Args:
            landmarks: (K, 2) pixels of the face that is to be changed.
            target_id: Who that is; the donor is somebody else.
            numbers: (n,) any integers; each stands for a candidate among the others' faces.

        Returns:
            The sample.
        """
        person = self._people.get(target_id, -1) if target_id is not None else -1
        others = np.flatnonzero(self._person != person)
        chosen = others[numbers % len(others)]
        distance = ((self._shapes[chosen] - _shape(landmarks)) ** 2).sum((1, 2))
        sample = dict(self._samples[int(self._rows[chosen[int(distance.argmin())]])])
        if 'storage' in sample:
            sample['storage'] = self._storages[sample['storage']]
        return sample


def _shape(landmarks: PointsArray) -> npt.NDArray[np.float32]:
    """Landmarks without place and size."""
    points = landmarks[:_POINTS] - landmarks[:_POINTS].mean(0)
    return np.asarray(points / np.sqrt((points**2).sum()), np.float32)


def fit_affine(source: PointsArray, target: PointsArray) -> npt.NDArray[np.float64]:
    """Least-squares affine matrix (2, 3) that takes (n, 2) points to (n, 2) points."""
    known = np.c_[source, np.ones(len(source))].astype(np.float64)
    solution, *_ = np.linalg.lstsq(known, target.astype(np.float64), rcond=None)
    return np.asarray(solution.T)


@DATASETS.register_module()
class DonorForgeryDataset(ForgeryDataset):
    """A :class:`ForgeryDataset` whose samples know the genuine faces of all people of the split.

    Adds ``donors``, a :class:`Donors`, to every sample, for :class:`LoadDonor`. All arguments are those of
    :class:`ForgeryDataset`; the donors are the genuine samples that they leave in the set.

    Raises:
        InputError: See :class:`Donors`.
    """

    donors: Donors | None = None

    def full_init(self) -> None:
        """Load the samples, and gather the donors."""
        if not self._fully_initialized:
            super().full_init()
            self.donors = Donors(self.data_list, self.storages)

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """Get a sample, before the pipeline."""
        return {**super().get_data_info(idx), 'donors': self.donors}


@TRANSFORMS.register_module()
class LoadDonor(BaseTransform):
    """Read another person's face for a genuine sample, and lay it over the sample's.

    Stands after :class:`~iid_mm.datasets.transforms.AlignFace`. Fakes pass unchanged.

    Required Keys:

    - img: aligned canvas
    - landmarks: on the canvas
    - gt_label
    - target_id
    - donors: of a :class:`DonorForgeryDataset`

    Added Keys:

    - donor_img (of genuine samples that get one): warped so that its landmarks come to lie on the sample's
      as well as an affine map can

    Args:
        prob: Share of the genuine samples that get a donor.
        candidates: The donor is the most alike of so many random faces.
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
        image = self._loader(donor)['img']
        results['donor_img'] = self._lay_over(image, donor['landmarks'], results)
        return results

    @staticmethod
    def _lay_over(image: ImageArray, landmarks: PointsArray, results: Results) -> ImageArray:
        height, width = results['img'].shape[:2]
        matrix = fit_affine(landmarks[:_POINTS], results['landmarks'][:_POINTS])
        # As AlignFace does: another way to resample would tell a donor from a face without any seam.
        return warp_image(image, matrix, (width, height))

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(prob={self.prob}, candidates={self.candidates}, '
            f'cache_mib={self.cache_mib})'
        )
