# SPDX-License-Identifier: Apache-2.0
"""Base of metrics that are computed from a whole test set."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mmengine.dist import broadcast_object_list
from mmengine.evaluator import BaseMetric

from iid_mm.errors import InputError


class WholeSetMetric(BaseMetric):
    """A metric that collects the results of all processes and removes repeated faces by name.

    MMEngine cuts the collected list to the size of the dataset, which removes the padding only in the order
    of its own sampler. Here all results are kept.

    Args:
        collect_device: 'cpu' or 'gpu', where the results of all processes are collected.
        prefix: Replaces the default prefix of the metrics' names.
        collect_dir: Folder that all processes share, for ``collect_device='cpu'``; None: one is made in the
            working directory.
        image_root: Folder that stored paths of images are relative to; None: paths stay as they are.
        print_table: Log the table of all metrics.
    """

    sample_keys: ClassVar[tuple[str, ...]] = (
        'gt_label',
        'pred_score',
        'video_key',
        'frame',
        'dataset',
        'method',
    )
    """What every data sample must hold."""

    def __init__(
        self,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
        image_root: str | os.PathLike[str] | None = None,
        print_table: bool = True,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        self.image_root = None if image_root is None else Path(image_root)
        self.print_table = print_table

    def check_samples(self, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Refuse a batch in which a sample lacks one of :attr:`sample_keys`.

        Raises:
            InputError: One does.
        """
        for sample in data_samples:
            missing = [key for key in self.sample_keys if sample.get(key) is None]
            if missing:
                raise InputError(
                    f'{type(self).__name__}: a data sample has no {", ".join(missing)}; the test pipeline '
                    'must pack the columns of the index (meta_keys), and the model must set pred_score and, '
                    'with an artifact_head, pred_instances'
                )

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
