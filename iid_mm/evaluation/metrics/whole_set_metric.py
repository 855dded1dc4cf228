# SPDX-License-Identifier: Apache-2.0
"""What metrics that are computed from a whole test set have in common."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast_object_list
from mmengine.evaluator import BaseMetric

from iid_mm.errors import InputError


class WholeSetMetric(BaseMetric):
    """A metric that takes the results of all processes and removes repeated faces by name.

    MMEngine cuts the collected list to the size of the dataset, which removes padding only for its
    own sampler's order. Here all results are taken.

    Args:
        collect_device: 'cpu' or 'gpu', where results of several processes meet.
        prefix: Takes the place of the default prefix in the metrics' names.
        collect_dir: Folder that all processes share, for ``collect_device='cpu'``.
        image_root: Folder that the paths of images are given relative to; None keeps them.
    """

    def __init__(
        self,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
        image_root: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        self.image_root = None if image_root is None else Path(image_root)

    def image_name(self, sample: Mapping[str, Any]) -> str:
        """Path of a sample's image, relative to ``image_root`` and with ``/``; empty if unknown."""
        path = str(sample.get('img_path') or '')
        if self.image_root is None or not path:
            return path
        return os.path.relpath(path, self.image_root).replace(os.sep, '/')

    def evaluate(self, size: int) -> dict[str, float]:
        """Collect the results of all processes and compute the metrics.

        Args:
            size: Number of samples in the dataset; not used.

        Returns:
            The metrics, equal in every process.

        Raises:
            InputError: What ``compute_metrics`` raises; in every process, so that none waits for another.
        """
        try:
            metrics: Any = super().evaluate(sys.maxsize)
        except (InputError, OSError) as error:
            # Only the main process computes; the others are waiting for what it broadcasts.
            self.results.clear()
            broadcast_object_list([error])
            raise
        if isinstance(metrics, Exception):
            raise metrics
        return dict(metrics)
