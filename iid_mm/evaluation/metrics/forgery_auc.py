# SPDX-License-Identifier: Apache-2.0
"""Metric of deepfake detection: AUC, EER, AP and accuracy of frames and videos."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pyarrow as pa
import torch
from mmengine.logging import print_log

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.inputs import check_both_classes, check_scores
from iid_mm.evaluation.functional.per_method import flat_metrics, format_table, per_method, scored_set
from iid_mm.evaluation.metrics.dataset_labels import dataset_labels
from iid_mm.evaluation.metrics.score_columns import append_columns, merge_columns, score_columns
from iid_mm.evaluation.metrics.whole_set_metric import WholeSetMetric
from iid_mm.evaluation.scores import FrameScores, write_scores
from iid_mm.registry import METRICS

_SAMPLE_KEYS = ('gt_label', 'pred_score', 'video_key', 'frame', 'dataset', 'method')


@METRICS.register_module()
class ForgeryAUC(WholeSetMetric):
    """AUC, EER, AP and accuracy of frames and videos, overall and for every manipulation.

    Every manipulation is compared with all genuine videos of its dataset. The score of a video is
    the mean of its frames' probabilities of fake. Only scores and names are kept of each sample, in
    columns (some 100 bytes, most of them the path of the image), and faces that a distributed sampler
    repeats are removed exactly, so any number of processes gives the same metrics.

    Metrics (fractions of 1, with the prefix ``forgery/``): ``frame_auc``, ``video_auc``,
    ``frame_ap``, ``video_ap``, ``frame_eer``, ``video_eer``, ``frame_acc``, ``video_acc``,
    ``num_videos``, and ``frame_auc/<method>``, ``video_auc/<method>`` for every manipulation. With
    several datasets in one run ``<dataset>/<method>`` takes the place of ``<method>``, and
    ``<dataset>`` is added.

    Args:
        collect_device: 'cpu' or 'gpu', where results of several processes meet.
        prefix: Takes the place of 'forgery' in the metrics' names.
        collect_dir: Folder that all processes share, for ``collect_device='cpu'``; None: one is
            made in the working directory.
        scores_file: The main process writes the scores of all frames to this Parquet file, see
            :func:`~iid_mm.evaluation.scores.read_scores`; None: no file.
        threshold: A probability >= this counts as fake in the accuracies.
        print_table: Log the table of all metrics.
        image_root: Folder that the images' paths in the scores file are relative to; None: as they are.
        split: Noted in the scores file; None: unknown.
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
        image_root: str | os.PathLike[str] | None = None,
        split: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix, collect_dir, image_root)
        if not 0.0 <= threshold <= 1.0:
            raise InputError(f'threshold={threshold} is no probability; give a value from 0 to 1')
        self.scores_file = None if scores_file is None else Path(scores_file)
        self.threshold = threshold
        self.print_table = print_table
        self.split = split
        self._size: int | None = None

    def check_dataset(self, dataset: Any, name: str) -> None:
        """Refuse data that hold one class only before anything is computed of them.

        With a scores file nothing is refused: the scores are what such a test is run for.

        Args:
            dataset: What will be scored, a :class:`~iid_mm.datasets.forgery_dataset.ForgeryDataset` or
                wrappers of some; of other datasets nothing is known.
            name: What the message calls the data loader.

        Raises:
            OneClassError: If one of the datasets in it is all fake or all genuine.
        """
        if self.scores_file is not None:
            return
        for part, labels in dataset_labels(dataset).items():
            check_both_classes(labels, name=f'{name}: set {part!r}{_source(dataset)}')

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
        names = ('dataset', 'method', 'video_key')
        columns: dict[str, list[Any]] = {
            **{name: [str(sample[name]) for sample in data_samples] for name in names},
            'frame': [int(sample['frame']) for sample in data_samples],
            'label': labels.tolist(),
            'score': scores.double().tolist(),
            'image': [self.image_name(sample) for sample in data_samples],
            'target_id': [sample.get('target_id') for sample in data_samples],
        }
        append_columns(self.results, score_columns(columns))

    def evaluate(self, size: int) -> dict[str, float]:
        """Collect the results of all processes and compute the metrics.

        Args:
            size: Number of samples in the dataset.

        Returns:
            The metrics, equal in every process.

        Raises:
            InputError: See :meth:`calculate`; raised in every process, so that none waits for
                another.
        """
        self._size = size
        # One table each: MMEngine collects item by item.
        self.results[:] = [merge_columns(self.results)]
        return super().evaluate(size)

    def compute_metrics(self, results: list[pa.Table]) -> dict[str, float]:
        """Compute the metrics of all collected results.

        Args:
            results: Tables of :func:`~.score_columns.score_columns` of all processes in any order, with
                repeated samples.

        Returns:
            The metrics without prefix.
        """
        table = merge_columns(results)
        columns = {name: table[name] for name in table.column_names}
        # Freed before the metrics need room.
        results.clear()
        if self.split is not None:
            columns['split'] = pa.repeat(self.split, table.num_rows)
        frames = FrameScores.from_columns(columns)
        if self._size is not None and len(frames) != self._size:
            print_log(
                f'ForgeryAUC: {len(frames)} different faces were scored, the dataset has '
                f'{self._size} samples; samples of equal video_key, frame and image count once',
                logger='current',
                level=logging.WARNING,
            )
        if self.scores_file is not None:
            # Before the metrics: scores of a long run outlive an error such as a missing class.
            write_scores(frames, self.scores_file)
            print_log(f'scores of {len(frames)} faces: {self.scores_file}', logger='current')
            # Of several sets, the message names the one.
            check_scores(frames.score, frames.label, name=f'scores file {self.scores_file}')
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
            datasets: (N,) dataset of each frame; None: all belong to one.
            how: How frames make a video, see :func:`~iid_mm.evaluation.functional.video_scores`.
            threshold: A score >= this counts as fake.

        Returns:
            The metrics without prefix.

        Raises:
            InputError: Empty input, unequal lengths, NaN or infinite scores, or a video with two
                labels.
            OneClassError: The set, or one of its datasets, has no genuine or no fake videos.
        """
        scored = scored_set(scores, labels, video_keys, methods, datasets, how=how)
        return flat_metrics(per_method(scored, threshold=threshold))


def _source(dataset: Any) -> str:
    files = getattr(dataset, 'ann_files', None)
    return f' in split {dataset.split!r} of {", ".join(files)}' if files else ''
