# SPDX-License-Identifier: Apache-2.0
"""Comparison of an exported model with the PyTorch one, on random images and on faces."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from iid_mm.datasets.on_index import dataset_on_index
from iid_mm.deployment.export_graph import ExportGraph
from iid_mm.deployment.onnx_detector import OnnxDetector
from iid_mm.errors import InputError
from iid_mm.evaluation.functional.roc import area_under_roc
from iid_mm.registry import DATASETS, SCOPE
from iid_mm.utils.sampling import evenly_spaced
from iid_mm.utils.typing import Size

BATCH = 8
"""Faces that go through a model at once."""


@dataclass(frozen=True)
class Faces:
    """Faces of one split.

    Attributes:
        images: N tensors (3, H, W) uint8, BGR, after the test pipeline.
        labels: (N,) int64, 1 = fake.
        paths: Image file of each.
    """

    images: list[torch.Tensor]
    labels: np.ndarray
    paths: list[str]

    def batches(self) -> list[torch.Tensor]:
        """The images, (n, 3, H, W) each, n up to :data:`BATCH`."""
        starts = range(0, len(self.images), BATCH)
        return [torch.stack(self.images[start : start + BATCH]) for start in starts]


def load_faces(
    cfg: Config, index: str | os.PathLike[str], *, split: str, count: int, without: Sequence[str] = ()
) -> Faces:
    """Load faces of an index by the test pipeline of a config, half of them genuine, evenly spaced.

    Args:
        cfg: The config.
        index: Index, or the folder with an ``index.parquet``.
        split: ``train``, ``val`` or ``test``.
        count: Number of faces, or all if the split has fewer.
        without: Image files to leave out.

    Returns:
        The faces.

    Raises:
        FileNotFoundError: If there is no such index.
        InputError: If the index or the split has no faces, or none are left.
    """
    if count < 2:
        raise InputError(f'{count} faces: take at least 2')
    init_default_scope(cfg.get('default_scope', SCOPE))
    dataset = DATASETS.build(dataset_on_index(cfg, index, split=split))
    infos = map(dataset.get_data_info, range(len(dataset)))
    faces = [(int(info['gt_label']), str(info['img_path'])) for info in infos]
    left_out = set(without)
    chosen: list[int] = []
    for wanted in (0, 1):
        members = [
            number for number, (label, path) in enumerate(faces) if label == wanted and path not in left_out
        ]
        chosen += [members[place] for place in evenly_spaced(len(members), count // 2)]
    if not chosen:
        raise InputError(
            f'--index {index}: no face of split {split!r} is left for calibration beside those for the '
            'check; choose different splits, or fewer faces'
        )
    return Faces(
        images=[dataset[number]['inputs'] for number in chosen],
        labels=np.array([faces[number][0] for number in chosen], dtype=np.int64),
        paths=[faces[number][1] for number in chosen],
    )


def random_batches(size: Size, seed: int = 0) -> list[torch.Tensor]:
    """Random images, smooth ones and noise, in batches of one and of three.

    Args:
        size: (w, h).
        seed: Seed of the images.

    Returns:
        Batches (N, 3, h, w) uint8.
    """
    generator = np.random.default_rng(seed)
    width, height = size
    noise = [generator.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(2)]
    coarse = [generator.integers(0, 256, (6, 6, 3), dtype=np.uint8) for _ in range(2)]
    smooth = [cv2.resize(image, size, interpolation=cv2.INTER_CUBIC) for image in coarse]
    images = [torch.from_numpy(image.transpose(2, 0, 1).copy()) for image in (*smooth, *noise)]
    return [torch.stack(images[:1]), torch.stack(images[1:])]


@dataclass(frozen=True)
class Comparison:
    """Largest differences between two models on the same images.

    Attributes:
        images: Number of images.
        probability: Of the probability of fake.
        box: Of a corner of any anchor's box, in pixels; None without an artifact head.
        score: Of any anchor's probability of artifact; None without an artifact head.
        auc_before: Frame AUC of the PyTorch model; None where there are no labels of both classes.
        auc_after: Frame AUC of the exported one.
    """

    images: int
    probability: float
    box: float | None
    score: float | None
    auc_before: float | None = None
    auc_after: float | None = None

    def __str__(self) -> str:
        text = f'largest difference to PyTorch, {self.images} images: probability {self.probability:.2g}'
        if self.box is not None and self.score is not None:
            text += f', boxes {self.box:.2g} px, artifact scores {self.score:.2g}'
        if self.auc_before is not None and self.auc_after is not None:
            text += f'; frame AUC {100 * self.auc_before:.2f} before, {100 * self.auc_after:.2f} after'
        return text


def compare(
    graph: ExportGraph,
    detector: OnnxDetector,
    batches: Sequence[torch.Tensor],
    labels: np.ndarray | None = None,
) -> Comparison:
    """Compare an exported model with the PyTorch one.

    Probabilities of the PyTorch model are those of its ``test_step``, with its data preprocessor.

    Args:
        graph: The exported graph.
        detector: The exported file.
        batches: Batches (N, 3, H, W), raw 0-255 BGR.
        labels: Class of every image, 1 = fake; of both classes they give the AUC of both models.

    Returns:
        The differences.
    """
    differences: dict[str, list[float]] = {}
    before, after = [], []
    for batch in batches:
        expected, wanted = _run_pytorch(graph, batch)
        outputs = detector.run(batch.numpy().astype(np.float32))
        before.append(expected)
        after.append(torch.from_numpy(outputs['logits']).softmax(dim=1)[:, 1].numpy())
        for name, values in wanted.items():
            differences.setdefault(name, []).append(float(np.abs(values - outputs[name]).max()))
    joined = np.concatenate(before), np.concatenate(after)
    scores = differences.get('scores', []) + differences.get('score_factors', [])
    aucs: list[float | None] = [None, None]
    if labels is not None and len(np.unique(labels)) == 2:
        aucs = [area_under_roc(probabilities, labels) for probabilities in joined]
    return Comparison(
        images=len(joined[0]),
        probability=float(np.abs(joined[0] - joined[1]).max()),
        # numpy's maximum, unlike Python's, keeps NaN.
        box=float(np.max(differences['boxes'])) if scores else None,
        score=float(np.max(scores)) if scores else None,
        auc_before=aucs[0],
        auc_after=aucs[1],
    )


def _run_pytorch(graph: ExportGraph, batch: torch.Tensor) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Probabilities of fake, (N,), and the outputs of the graph by name."""
    with torch.no_grad():
        samples: Any = graph.network.test_step({'inputs': list(batch), 'data_samples': None})
        outputs = graph(batch.float())
    named = zip(graph.output_names, outputs, strict=True)
    wanted = {name: values.numpy() for name, values in named if name != 'logits'}
    return torch.stack([sample.pred_score for sample in samples])[:, 1].numpy(), wanted
