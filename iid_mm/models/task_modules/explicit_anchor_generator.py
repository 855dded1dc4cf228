# SPDX-License-Identifier: Apache-2.0
"""Anchors whose sizes are given in pixels, level by level."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.models.task_modules.prior_generators import AnchorGenerator

from iid_mm.errors import InputError
from iid_mm.registry import TASK_UTILS


@TASK_UTILS.register_module()
class ExplicitAnchorGenerator(AnchorGenerator):
    """Anchors of explicit width and height centered on the cells of each level.

    Cell (i, j) (row, column) of a level with step s has its anchors at ((j + 0.5) s, (i + 0.5) s), in
    the order in which their sizes are given. Anchors run level by level, row by row.

    Args:
        strides: Step of each level in pixels.
        sizes: For each level the (width, height) of its anchors in pixels.

    Raises:
        InputError: If the two do not name the same number of levels, or a size is not positive.
    """

    def __init__(self, strides: Sequence[int], sizes: Sequence[Sequence[tuple[float, float]]]) -> None:
        if len(strides) != len(sizes):
            raise InputError(
                f'strides names {len(strides)} levels and sizes {len(sizes)}; give one list of '
                '(width, height) for each stride'
            )
        for level, level_sizes in enumerate(sizes):
            if not level_sizes or any(w <= 0 or h <= 0 for w, h in level_sizes):
                raise InputError(
                    f'sizes[{level}] is {level_sizes}; give at least one (width, height) above 0'
                )
        self.sizes = [[(float(w), float(h)) for w, h in level] for level in sizes]
        super().__init__(strides=list(strides), ratios=[1.0], scales=[1])

    def gen_base_anchors(self) -> list[torch.Tensor]:
        """Make the anchors of the first cell of each level.

        Returns:
            For each level an (A, 4) tensor, xyxy in pixels.
        """
        base_anchors = []
        for (step_x, step_y), level_sizes in zip(self.strides, self.sizes, strict=True):
            half = torch.tensor(level_sizes) / 2
            center = torch.tensor([step_x / 2, step_y / 2])
            base_anchors.append(torch.cat([center - half, center + half], dim=1))
        return base_anchors

    def __repr__(self) -> str:
        return f'{type(self).__name__}(strides={self.strides}, sizes={self.sizes})'
