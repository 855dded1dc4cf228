# SPDX-License-Identifier: Apache-2.0
"""Scoring of faces with the test pipeline of a config."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope

from iid_mm.errors import InputError
from iid_mm.faces.cropping import canvas_to_frame
from iid_mm.inference.faces import FoundFace
from iid_mm.inference.results import Artifact, FaceScore, FaceView
from iid_mm.inference.sampling import TimedFrame
from iid_mm.registry import SCOPE, TRANSFORMS
from iid_mm.structures import ForgeryDataSample
from iid_mm.utils.config import datasets_of, without_loaders

MIN_SCORE = 0.3
"""Artifact boxes with a smaller score are not reported."""
MAX_ARTIFACTS = 5


class Detector(Protocol):
    """A model that scores batches: :class:`~iid_mm.models.IIDDetector` or an exported one."""

    def test_step(self, data: dict[str, Any]) -> Sequence[ForgeryDataSample]:
        """Predict a collated batch."""


def face_pipeline(cfg: Config) -> Any:
    """The test pipeline of a config, without the transforms that read files.

    Raises:
        InputError: The config has no test pipeline.
    """
    datasets = datasets_of(cfg, 'test_dataloader')
    if not datasets or not datasets[0].get('pipeline'):
        raise InputError(
            'the config has no test_dataloader.dataset.pipeline, which defines the alignment of faces; '
            'use the config that the model was trained with'
        )
    init_default_scope(cfg.get('default_scope', SCOPE))
    return Compose([TRANSFORMS.build(step) for step in without_loaders(datasets[0]['pipeline'])])


class FaceScorer:
    """Scores faces in batches.

    Args:
        model: The detector.
        pipeline: The pipeline of :func:`face_pipeline`.
    """

    def __init__(self, model: Detector, pipeline: Any) -> None:
        self.model = model
        self.pipeline = pipeline

    def prepare(self, frame: TimedFrame, found: FoundFace) -> dict[str, Any]:
        """Align a face as in training and test."""
        shape = found.crop.shape[:2]
        packed: dict[str, Any] = self.pipeline(
            {
                'img': found.crop,
                'landmarks': found.landmarks,
                'img_path': f'frame {frame.number}',
                'img_shape': shape,
                'ori_shape': shape,
                'frame': frame.number,
            }
        )
        return packed

    def score(
        self, items: Sequence[tuple[TimedFrame, FoundFace, dict[str, Any]]]
    ) -> list[tuple[FaceScore, FaceView]]:
        """Score a batch.

        Args:
            items: Frame, face, and its packed input from :meth:`prepare`.

        Returns:
            Score and view of each face.

        Raises:
            InputError: A score is not finite.
        """
        if not items:
            return []
        with torch.no_grad():
            samples = self.model.test_step(pseudo_collate([packed for _, _, packed in items]))
        if not all(torch.isfinite(sample.pred_score).all() for sample in samples):
            # Compared with a threshold, NaN would mean "genuine".
            raise InputError('the model gives scores that are not finite; its weights are damaged')
        return [
            self._result(frame, found, packed, sample.cpu())
            for (frame, found, packed), sample in zip(items, samples, strict=True)
        ]

    def _result(
        self, frame: TimedFrame, found: FoundFace, packed: dict[str, Any], sample: ForgeryDataSample
    ) -> tuple[FaceScore, FaceView]:
        boxes, scores = np.empty((0, 4)), np.empty(0)
        if 'pred_instances' in sample:
            scores = sample.pred_instances.scores.float().numpy()
            order = np.argsort(-scores, kind='stable')[:MAX_ARTIFACTS]
            order = order[scores[order] >= MIN_SCORE]
            boxes, scores = sample.pred_instances.bboxes.float().numpy()[order], scores[order]
        height, width = found.crop.shape[:2]
        matrix = packed['data_samples'].metainfo.get('warp_matrix', np.eye(2, 3))
        polygons = canvas_to_frame(boxes, matrix, found.window, (width, height))
        face = FaceScore(
            frame.number,
            frame.time,
            found.box,
            float(found.face.score),
            float(sample.pred_score[1]),
            tuple(
                Artifact(tuple((float(x), float(y)) for x, y in polygon), float(score))
                for polygon, score in zip(polygons, scores, strict=True)
            ),
        )
        image = np.ascontiguousarray(packed['inputs'].numpy().transpose(1, 2, 0))
        heat = sample.pred_heat.numpy() if 'pred_heat' in sample else None
        return face, FaceView(face, image, boxes, heat)
