# SPDX-License-Identifier: Apache-2.0
"""Metric of localization: boxes and heat maps against manipulation masks."""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from mmengine.logging import print_log

from iid_mm.errors import InputError
from iid_mm.evaluation.localization.maps import (
    CENTER_SHARES,
    LEVELS,
    box_overlaps,
    center_map,
    centered_boxes,
    coarse_map,
    coarse_mask,
    map_metrics,
    mask_box,
)
from iid_mm.evaluation.localization.samples import (
    EMPTY_MASK,
    GENUINE,
    NO_MASK,
    SCORED,
    LocalizationSample,
    unique_samples,
    write_localization,
)
from iid_mm.evaluation.localization.table import (
    LocalizationRow,
    flat_metrics,
    format_localization,
    localization_rows,
)
from iid_mm.evaluation.metrics.whole_set_metric import WholeSetMetric
from iid_mm.registry import METRICS

Values = npt.NDArray[np.float64]


@METRICS.register_module()
class ArtifactLocalization(WholeSetMetric):
    """Boxes and heat maps against manipulation masks, beside chance and a centered guess.

    Masks and maps are reduced at once to about 2 kB per frame. Faces that a distributed sampler repeats are
    removed exactly, so the metrics do not depend on the number of processes. The true box of a fake is the
    bounding box of its mask on the canvas. Fakes without a mask, or with one that is empty on the canvas, are
    left out and counted. :func:`~iid_mm.evaluation.localization.table.localization_rows` defines the metrics.

    Metrics (with the prefix ``localization/``, fractions of 1): ``box_ap50``, ``box_ap`` (mean over
    overlaps of 0.5 to 0.95), each also ``_local``, ``_fakes`` and ``_local_fakes``; with heat maps
    ``pointing``, ``energy``, ``iou_half``, ``iou_best`` and ``best_level``; what to compare them with,
    ``genuine_...``, ``gain_...``, ``center_...`` and ``chance_...``; ``num_scored``,
    ``num_without_mask`` and other counts; and ``.../<method>`` of the main metrics. All rows, with
    intervals, are in ``rows`` of the main process after the evaluation.

    Args:
        num_resamples: Resamples of the bootstrap over videos; 0: no intervals.
        seed: Seed of the resampling.
        samples_file: The main process writes the metrics of all frames to this Parquet file, from which
            :func:`~iid_mm.evaluation.localization.samples.read_localization` and ``localization_rows`` give
            the same table; None: no file.
        **options: Of :class:`~iid_mm.evaluation.metrics.whole_set_metric.WholeSetMetric`.

    Raises:
        InputError: An argument is out of range.
    """

    default_prefix = 'localization'
    sample_keys = (*WholeSetMetric.sample_keys, 'pred_instances')

    def __init__(
        self,
        num_resamples: int = 1000,
        seed: int = 0,
        samples_file: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if num_resamples < 0 or seed < 0:
            raise InputError(f'num_resamples={num_resamples} and seed={seed} must not be negative')
        self.num_resamples = num_resamples
        self.seed = seed
        self.samples_file = None if samples_file is None else Path(samples_file)
        self.rows: list[LocalizationRow] = []

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Reduce a batch to numbers.

        Args:
            data_batch: Not used.
            data_samples: Dictionaries with ``video_key``, ``frame``, ``dataset``, ``method``,
                ``img_shape`` (h, w), ``gt_label`` (1,), ``pred_score`` (2,), ``pred_instances`` with
                ``bboxes`` (n, 4) and ``scores`` (n,); fakes ``gt_artifact_mask`` (H, W) where they have
                a mask; and ``pred_heat`` (H, W) if the model makes maps.

        Raises:
            InputError: A sample lacks one of these, or a map and its mask differ in size.
        """
        if not data_samples:
            return
        self.check_samples(data_samples)
        scores = _arrays([sample['pred_score'] for sample in data_samples])
        found = [sample['pred_instances'] for sample in data_samples]
        corners = _arrays([instances['bboxes'] for instances in found])
        box_scores = _arrays([instances['scores'] for instances in found])
        masks = _arrays_of(data_samples, 'gt_artifact_mask')
        heats = _arrays_of(data_samples, 'pred_heat')
        columns = zip(data_samples, scores, corners, box_scores, strict=True)
        for number, (sample, score, boxes, own) in enumerate(columns):
            reduced = self._reduce(sample, float(score[1]), boxes, own, masks.get(number), heats.get(number))
            self.results.append(reduced)

    def _reduce(
        self,
        sample: Mapping[str, Any],
        score: float,
        boxes: npt.NDArray[Any],
        box_scores: npt.NDArray[Any],
        mask: npt.NDArray[Any] | None,
        heat: npt.NDArray[Any] | None,
    ) -> LocalizationSample:
        fake = int(torch.as_tensor(sample['gt_label']).view(-1)[0]) == 1
        height, width = (int(side) for side in sample['img_shape'][:2])
        truth = None if mask is None or not fake else mask_box(mask)
        state = GENUINE if not fake else NO_MASK if mask is None else EMPTY_MASK if truth is None else SCORED
        corners = boxes.astype(np.float64).reshape(-1, 4)
        area = (corners[:, 2:] - corners[:, :2]).clip(min=0).prod(axis=1) / (height * width)
        iou: Values = np.zeros(len(corners))
        center: Values = np.zeros(len(CENTER_SHARES))
        maps: Values = np.empty((0, 2 + len(LEVELS)))
        mask_grid = b''
        if truth is not None and mask is not None:
            iou = box_overlaps(corners, truth)
            center = box_overlaps(centered_boxes((width, height)), truth)
            maps = _map_vectors(mask, heat)
            mask_grid = np.packbits(coarse_mask(mask)).tobytes()
        return LocalizationSample(
            video_key=sys.intern(str(sample['video_key'])),
            frame=int(sample['frame']),
            image=self.image_name(sample),
            dataset=sys.intern(str(sample['dataset'])),
            method=sys.intern(str(sample['method'])),
            target_id=sys.intern(str(sample.get('target_id') or '')),
            state=state,
            score=score,
            boxes=np.stack([box_scores.astype(np.float64), iou, area], axis=1),
            maps=maps,
            center=center,
            grid=b'' if heat is None or state not in (GENUINE, SCORED) else coarse_map(heat).tobytes(),
            mask_grid=mask_grid,
        )

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """Compute the metrics of all collected results.

        Args:
            results: Results of all processes in any order, with repeated ones.

        Returns:
            The metrics without prefix.
        """
        # MMEngine hands named tuples on as plain ones.
        samples = unique_samples([LocalizationSample._make(result) for result in results])
        if self.samples_file is not None:
            write_localization(samples, self.samples_file)
            print_log(f'localization of {len(samples)} faces: {self.samples_file}', logger='current')
        self.rows = localization_rows(samples, num_resamples=self.num_resamples, seed=self.seed)
        counts = self.rows[-1].counts
        if left_out := counts['without_mask'] + counts['empty_masks']:
            print_log(
                f'ArtifactLocalization: {left_out} of {counts["fakes"]} fakes are left out: '
                f'{counts["without_mask"]} have no mask, {counts["empty_masks"]} an empty one',
                logger='current',
                level=logging.WARNING,
            )
        if self.print_table:
            print_log('\nlocalization, percent\n' + format_localization(self.rows), logger='current')
        return flat_metrics(self.rows)

    @staticmethod
    def calculate(samples: Sequence[LocalizationSample], **options: Any) -> dict[str, float]:
        """Compute the metrics without a runner.

        Args:
            samples: Frames; repeated ones count once.
            **options: Of :func:`~iid_mm.evaluation.localization.table.localization_rows`.

        Returns:
            The metrics without prefix.
        """
        return flat_metrics(localization_rows(unique_samples(samples), **options))


def _map_vectors(mask: npt.NDArray[Any], heat: npt.NDArray[Any] | None) -> Values:
    """Metrics of the predicted map, of the center map and of the flat map, (3, 2 + L)."""
    height, width = mask.shape
    own: Values = np.full(2 + len(LEVELS), math.nan)
    if heat is not None:
        own = map_metrics(heat, mask).as_vector()
    center = map_metrics(center_map((width, height)), mask).as_vector()
    flat = np.full(2 + len(LEVELS), np.count_nonzero(mask) / mask.size)
    return np.stack([own, center, flat])


def _arrays(tensors: Sequence[torch.Tensor]) -> list[npt.NDArray[Any]]:
    """Bring tensors of one type to the CPU in one transfer."""
    there = [tensor.detach() for tensor in tensors]
    if any(tensor.device.type != 'cpu' for tensor in there):
        flat = torch.cat([tensor.reshape(-1) for tensor in there]).cpu()
        parts = flat.split([tensor.numel() for tensor in there])
        there = [part.view(tensor.shape) for part, tensor in zip(parts, there, strict=True)]
    return [tensor.numpy() for tensor in there]


def _arrays_of(samples: Sequence[Mapping[str, Any]], key: str) -> dict[int, npt.NDArray[Any]]:
    """Arrays of those samples, by number, that have a key."""
    numbers = [number for number, sample in enumerate(samples) if sample.get(key) is not None]
    return dict(zip(numbers, _arrays([samples[number][key] for number in numbers]), strict=True))
