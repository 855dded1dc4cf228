# SPDX-License-Identifier: Apache-2.0
"""Metric of deepfake detection: AUC, EER, AP and accuracy of frames and videos."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from mmengine.logging import print_log

from iid_mm.datasets.sample_table import SampleTable
from iid_mm.errors import InputError
from iid_mm.evaluation.functional.inputs import check_both_classes
from iid_mm.evaluation.functional.per_method import flat_metrics, format_table, per_method, scored_set
from iid_mm.evaluation.metrics.whole_set_metric import WholeSetMetric
from iid_mm.evaluation.scores import FrameScores, write_scores
from iid_mm.registry import METRICS

_NAME = pa.dictionary(pa.int32(), pa.string())
_COLUMNS = pa.schema(
    [
        ('dataset', _NAME),
        ('method', _NAME),
        ('video_key', _NAME),
        ('frame', pa.int32()),
        ('label', pa.int8()),
        ('score', pa.float64()),
        ('image', pa.string()),
        ('target_id', _NAME),
    ]
)
"""What is kept of a frame: about 30 bytes and the path of its image."""
_BATCHES_PER_CHUNK = 256


@METRICS.register_module()
class ForgeryAUC(WholeSetMetric):
    """AUC, EER, AP and accuracy of frames and videos, overall and for every manipulation.

    Every manipulation is compared with all genuine videos of its dataset. The score of a video is
    the mean of its frames' probabilities of fake. Only the score and names of each sample are kept, in
    columns (about 100 bytes, most of them the path of the image), and faces that a distributed sampler
    repeats are removed exactly, so the metrics do not depend on the number of processes.

    Metrics (fractions of 1, with the prefix ``forgery/``): ``frame_auc``, ``video_auc``,
    ``frame_ap``, ``video_ap``, ``frame_eer``, ``video_eer``, ``frame_acc``, ``video_acc``,
    ``num_videos``, and ``frame_auc/<method>``, ``video_auc/<method>`` for every manipulation. With
    several datasets in one run ``<dataset>/<method>`` replaces ``<method>``, and ``<dataset>`` is added.

    Args:
        scores_file: The main process writes the scores of all frames to this Parquet file, see
            :func:`~iid_mm.evaluation.scores.read_scores`; None: no file.
        threshold: A probability >= this counts as fake in the accuracies.
        split: Recorded in the scores file; None: unknown.
        **options: Of :class:`~iid_mm.evaluation.metrics.whole_set_metric.WholeSetMetric`.

    Raises:
        InputError: ``threshold`` is no probability.
    """

    default_prefix = 'forgery'

    def __init__(
        self,
        scores_file: str | os.PathLike[str] | None = None,
        threshold: float = 0.5,
        split: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if not 0.0 <= threshold <= 1.0:
            raise InputError(f'threshold={threshold} is no probability; give a value from 0 to 1')
        self.scores_file = None if scores_file is None else Path(scores_file)
        self.threshold = threshold
        self.split = split
        self._size: int | None = None

    def check_dataset(self, dataset: Any, name: str) -> None:
        """Refuse data of a single class before they are scored.

        With a scores file nothing is refused: the scores themselves are the purpose of the test.

        Args:
            dataset: What will be scored, a :class:`~iid_mm.datasets.forgery_dataset.ForgeryDataset` or
                wrappers of some; datasets of unknown labels pass.
            name: What the message calls the data loader.

        Raises:
            OneClassError: One of the datasets in it is all fake or all genuine.
        """
        if self.scores_file is not None:
            return
        files = getattr(dataset, 'ann_files', None)
        source = f' in split {dataset.split!r} of {", ".join(files)}' if files else ''
        for part, labels in dataset_labels(dataset).items():
            check_both_classes(labels, name=f'{name}: set {part!r}{source}')

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
        self.check_samples(data_samples)
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
        arrays = {name: pa.array(columns[name], _COLUMNS.field(name).type) for name in _COLUMNS.names}
        self.results.append(pa.table(arrays))
        # Small tables cost more than their content. Chunks are not merged again, so memory never doubles.
        newest = self.results[-_BATCHES_PER_CHUNK:]
        if len(newest) == _BATCHES_PER_CHUNK and len(newest[0]) <= max(len(table) for table in newest[1:]):
            self.results[-_BATCHES_PER_CHUNK:] = [_merged(newest)]

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
        self.results[:] = [_merged(self.results)]
        return super().evaluate(size)

    def compute_metrics(self, results: list[pa.Table]) -> dict[str, float]:
        """Compute the metrics of all collected results.

        Args:
            results: Tables of all processes in any order, with repeated samples.

        Returns:
            The metrics without prefix.
        """
        table = _merged(results)
        columns = {name: table[name] for name in table.column_names}
        # Frees memory before the metrics need it.
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
            # Before the metrics, so that the scores of a long run survive an error such as a missing class.
            write_scores(frames, self.scores_file)
            print_log(f'scores of {len(frames)} faces: {self.scores_file}', logger='current')
        # The message names which of several sets it is.
        name = 'the set' if self.scores_file is None else f'scores file {self.scores_file}'
        rows = per_method(frames.by_video(name=name), threshold=self.threshold)
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
            how: How frames make a video, see :func:`~iid_mm.evaluation.functional.aggregate.video_scores`.
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


def _merged(tables: Sequence[pa.Table]) -> pa.Table:
    """Merge tables into one chunk, in which each name is stored once."""
    if not tables:
        return _COLUMNS.empty_table()
    return pa.concat_tables(tables).unify_dictionaries().combine_chunks()


def dataset_labels(dataset: Any) -> dict[str, npt.NDArray[np.int64]]:
    """Labels of all samples, by the names of the datasets that they come from.

    Args:
        dataset: A dataset, or MMEngine's wrappers of some.

    Returns:
        0 for genuine and 1 for fake, (N,) each; empty if the dataset does not say.
    """
    inner = [dataset.dataset] if hasattr(dataset, 'dataset') else getattr(dataset, 'datasets', None)
    if inner is not None:
        parts = [dataset_labels(part) for part in inner]
        names = dict.fromkeys(name for part in parts for name in part)
        return {name: np.concatenate([part[name] for part in parts if name in part]) for name in names}
    samples = getattr(dataset, 'data_list', None)
    if isinstance(samples, SampleTable):
        return samples.labels()
    if not isinstance(samples, list) or not all(
        'gt_label' in sample and 'dataset' in sample for sample in samples
    ):
        return {}
    names = dict.fromkeys(str(sample['dataset']) for sample in samples)
    return {
        name: np.array([int(sample['gt_label']) for sample in samples if sample['dataset'] == name])
        for name in names
    }
