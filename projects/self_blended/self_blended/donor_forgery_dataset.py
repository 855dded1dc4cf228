# SPDX-License-Identifier: Apache-2.0
"""A dataset whose samples can be blended with other people's faces.

Li et al., "Face X-ray for More General Face Forgery Detection", CVPR 2020, section 3.2: training fakes are
made of genuine images only: of a face and the face of another person with similar landmarks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from iid_mm.datasets.forgery_dataset import ForgeryDataset
from iid_mm.errors import InputError
from iid_mm.registry import DATASETS
from iid_mm.utils.typing import PointsArray

_POINTS = 68


class Donors:
    """The genuine faces of a dataset that can be blended into others.

    Args:
        samples: All samples of the set.

    Raises:
        InputError: If the genuine samples are of one person only, or one has no ``target_id``.
    """

    def __init__(self, samples: Sequence[dict[str, Any]]) -> None:
        self._samples = samples
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
        """Choose the candidate with the most similar landmarks.

        Args:
            landmarks: (K, 2) pixels of the face that is to be changed.
            target_id: The person of that face; the donor is somebody else.
            numbers: (n,) any integers; each selects a candidate among the faces of others.

        Returns:
            The sample.
        """
        person = self._people.get(target_id, -1) if target_id is not None else -1
        others = np.flatnonzero(self._person != person)
        chosen = others[numbers % len(others)]
        distance = ((self._shapes[chosen] - _shape(landmarks)) ** 2).sum((1, 2))
        return dict(self._samples[int(self._rows[chosen[int(distance.argmin())]])])


def _shape(landmarks: PointsArray) -> npt.NDArray[np.float32]:
    """Landmarks without position and size."""
    points = landmarks[:_POINTS] - landmarks[:_POINTS].mean(0)
    return np.asarray(points / np.sqrt((points**2).sum()), np.float32)


@DATASETS.register_module()
class DonorForgeryDataset(ForgeryDataset):
    """A dataset whose samples have access to the genuine faces of all people of the split.

    Adds ``donors``, a :class:`Donors`, to every sample, for :class:`~self_blended.LoadDonor`. All arguments
    are those of :class:`ForgeryDataset`; the donors are the genuine samples that it selects.

    Raises:
        InputError: See :class:`Donors`.
    """

    donors: Donors | None = None

    def full_init(self) -> None:
        """Load the samples and collect the donors."""
        if not self._fully_initialized:
            super().full_init()
            self.donors = Donors(self.data_list)

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """Get a sample, before the pipeline."""
        return {**super().get_data_info(idx), 'donors': self.donors}
