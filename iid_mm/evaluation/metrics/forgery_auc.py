# SPDX-License-Identifier: Apache-2.0
"""Metric of deepfake detection: AUC, EER, AP and accuracy of frames and videos."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from mmengine.dist import broadcast_object_list
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from iid_mm.errors import InputError
from iid_mm.evaluation.functional import flat_metrics, format_table, per_method, scored_set
from iid_mm.evaluation.scores import FrameScore, FrameScores, write_scores
from iid_mm.registry import METRICS

_SAMPLE_KEYS = ('gt_label', 'pred_score', 'video_key', 'frame', 'dataset', 'method')


@METRICS.register_module()
class ForgeryAUC(BaseMetric):
    """AUC, EER, AP and accuracy of frames and videos, overall and for every manipulation.

    Every manipulation is compared with all genuine videos of its data set. The score of a video is
    the mean of its frames' probabilities of fake. Only scalars are kept of each sample, and faces
    that a distributed sampler repeats are removed exactly, so any number of processes gives the
    same metrics.

    Metrics (fractions of 1, with the prefix ``forgery/``): ``frame_auc``, ``video_auc``,
    ``frame_ap``, ``video_ap``, ``frame_eer``, ``video_eer``, ``frame_acc``, ``video_acc``,
    ``num_videos``, and ``frame_auc/<method>``, ``video_auc/<method>`` for every manipulation. With
    several data sets in one run ``<dataset>/<method>`` takes the place of ``<method>``, and
    ``<dataset>`` is added.

    Args:
        collect_device: 'cpu' or 'gpu', where results of several processes meet.
        prefix: Takes the place of 'forgery' in the metrics' names.
        collect_dir: Folder that all processes share, for ``collect_device='cpu'``; None: one is
            made in the working directory.
        scores_file: The main process writes the scores of all frames to this Parquet file, see
            :func:`~iid_mm.evaluation.scores.read_scores`; None: no file.
        threshold: A probability >= this counts as fake in the accuracies.
        print_table: Log the table of all figures.
    """

    default_prefix = 'forgery'

    def __init__(
        self,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
        scores_file: str | os.PathLike[str] | None = None,
        threshold: float = 0.5,
        print_table: bool = True,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        if not 0.0 <= threshold <= 1.0:
            raise InputError(f'threshold={threshold} is no probability; give a value from 0 to 1')
        self.scores_file = None if scores_file is None else Path(scores_file)
        self.threshold = threshold
        self.print_table = print_table
        self._size: int | None = None

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Keep the score and the name of every sample of a batch.

        Args:
            data_batch: Not used.
            data_samples: Dictionaries with ``gt_label`` (1,), ``pred_score`` (2,) probabilities of
                genuine and fake, ``video_key``, ``frame``, ``dataset``, ``method`` and, where
                known, ``img_path``.

        Raises:
            InputError: A sample lacks one of these.
        """
        if not data_samples:
            return
        for sample in data_samples:
            missing = [key for key in _SAMPLE_KEYS if sample.get(key) is None]
            if missing:
                raise InputError(
                    f'ForgeryAUC: a data sample has no {", ".join(missing)}; the test pipeline '
                    'must pack them (meta_keys), and the model must set pred_score'
                )
        # One transfer a batch: reading values one by one would wait for the device each time.
        scores = torch.stack([sample['pred_score'].detach()[1] for sample in data_samples])
        labels = torch.stack([torch.as_tensor(sample['gt_label']).view(-1)[0] for sample in data_samples])
        columns = zip(data_samples, scores.double().tolist(), labels.tolist(), strict=True)
        for sample, score, label in columns:
            self.results.append(
                FrameScore(
                    # Equal names share one string however many frames there are.
                    video_key=sys.intern(str(sample['video_key'])),
                    frame=int(sample['frame']),
                    image=str(sample.get('img_path') or ''),
                    dataset=sys.intern(str(sample['dataset'])),
                    method=sys.intern(str(sample['method'])),
                    label=int(label),
                    score=score,
                )
            )

    def evaluate(self, size: int) -> dict[str, float]:
        """Collect the results of all processes and compute the metrics.

        Args:
            size: Number of samples in the data set.

        Returns:
            The metrics, equal in every process.

        Raises:
            InputError: See :meth:`calculate`; raised in every process, so that none waits for
                another.
        """
        # MMEngine cuts the collected list to `size`, which removes padding only for its own
        # sampler's order. All results are taken instead and repeated faces removed by name.
        self._size = size
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

    def compute_metrics(self, results: list[FrameScore]) -> dict[str, float]:
        """Compute the metrics of all collected results.

        Args:
            results: Results of all processes in any order, with repeated ones.

        Returns:
            The metrics without prefix.
        """
        # MMEngine hands named tuples on as plain ones.
        frames = FrameScores.from_records(map(FrameScore._make, results))
        if self._size is not None and len(frames) != self._size:
            print_log(
                f'ForgeryAUC: {len(frames)} different faces were scored, the data set has '
                f'{self._size} samples; samples of equal video_key, frame and image count once',
                logger='current',
                level=logging.WARNING,
            )
        if self.scores_file is not None:
            # Before the figures: scores of a long run outlive an error such as a missing class.
            write_scores(frames, self.scores_file)
            print_log(f'scores of {len(frames)} faces: {self.scores_file}', logger='current')
        scored = scored_set(frames.score, frames.label, frames.video_key, frames.method, frames.dataset)
        rows = per_method(scored, threshold=self.threshold)
        if self.print_table:
            print_log('\n' + format_table(rows), logger='current')
        return flat_metrics(rows)

    @staticmethod
    def calculate(
        scores: npt.ArrayLike,
        labels: npt.ArrayLike,
        video_keys: npt.ArrayLike,
        methods: npt.ArrayLike,
        datasets: npt.ArrayLike | None = None,
        *,
        how: str = 'mean',
        threshold: float = 0.5,
    ) -> dict[str, float]:
        """Compute the metrics of plain arrays, without a runner.

        Args:
            scores: (N,) probability of fake of every frame.
            labels: (N,) 0 = genuine, 1 = fake.
            video_keys: (N,) ``dataset/method/compression/video``.
            methods: (N,) manipulation of a fake frame; anything for a genuine one.
            datasets: (N,) data set of each frame; None: all belong to one.
            how: How frames make a video: 'mean', 'median' or 'max'.
            threshold: A score >= this counts as fake.

        Returns:
            The metrics without prefix.

        Raises:
            InputError: Empty input, unequal lengths, NaN or infinite scores, or a video with two
                labels.
            OneClassError: The set, or one of its data sets, has no genuine or no fake videos.
        """
        scored = scored_set(scores, labels, video_keys, methods, datasets, how=how)
        return flat_metrics(per_method(scored, threshold=threshold))
