# SPDX-License-Identifier: Apache-2.0
"""Dataset in which the label depends on the person."""

from __future__ import annotations

from typing import Any

from identity_leakage.confounding import check_confound, confounded_rows, identity_groups
from iid_mm.datasets.forgery_dataset import ForgeryDataset
from iid_mm.errors import InputError
from iid_mm.registry import DATASETS


@DATASETS.register_module()
class ConfoundedForgeryDataset(ForgeryDataset):
    """Samples of a :class:`ForgeryDataset`, chosen so that identity predicts the label to a known degree.

    Half of the people are seen mostly in fakes, the others mostly in genuine videos: a shortcut (implicit
    identity leakage) of the requested strength. The number of samples, the balance of the labels and the
    number of samples a person do not depend on it. See :mod:`identity_leakage.confounding`.

    Args:
        confound: Correlation c of label and group, -1 to 1; 0: identity is uninformative.
        group_seed: Seed of the division into groups and of the choice of samples.
        **kwargs: Of :class:`ForgeryDataset`.

    Raises:
        InputError: ``confound`` is out of range, a sample has no ``target_id``, fakes connect all people, or
            there are too few fakes.
    """

    def __init__(self, *args: Any, confound: float = 0.0, group_seed: int = 0, **kwargs: Any) -> None:
        check_confound(confound)
        self.confound = confound
        self.group_seed = group_seed
        self.groups: dict[str, bool] = {}
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read the indices, select the samples and divide the people into :attr:`groups`."""
        samples = super().load_data_list()
        if nameless := [sample['img_path'] for sample in samples if sample['target_id'] is None]:
            raise InputError(
                f'{len(nameless)} of {len(samples)} samples name no target_id (e.g. {nameless[0]!r}), so '
                'their label cannot be made to depend on a person; use a set whose layout knows people'
            )
        self.groups = identity_groups(
            ((sample['target_id'], sample['source_id']) for sample in samples), self.group_seed
        )
        rows = confounded_rows(
            [sample['gt_label'] for sample in samples],
            [sample['target_id'] for sample in samples],
            self.groups,
            self.confound,
            self.group_seed,
        )
        return [samples[row] for row in rows]
