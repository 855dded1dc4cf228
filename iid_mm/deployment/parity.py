# SPDX-License-Identifier: Apache-2.0
"""Comparing an exported model with the PyTorch one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch

from iid_mm.deployment.export_graph import ExportGraph
from iid_mm.deployment.faces import Faces
from iid_mm.deployment.onnx_detector import OnnxDetector
from iid_mm.evaluation.functional.roc import area_under_roc
from iid_mm.utils.typing import Size

BATCH = 8
"""Faces that go through a model at once."""


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
        parts = [f'{self.images} images', f'probability {self.probability:.2g}']
        if self.box is not None and self.score is not None:
            parts += [f'boxes {self.box:.2g} px', f'artifact scores {self.score:.2g}']
        text = f'largest difference to PyTorch, {parts[0]}: {", ".join(parts[1:])}'
        if self.auc_before is not None and self.auc_after is not None:
            text += f'; frame AUC {100 * self.auc_before:.2f} before, {100 * self.auc_after:.2f} after'
        return text


def random_batches(size: Size, seed: int = 0) -> list[torch.Tensor]:
    """Made-up images of several kinds, in batches of one and of three.

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


def compare(graph: ExportGraph, detector: OnnxDetector, batches: Sequence[torch.Tensor]) -> Comparison:
    """Compare the two on batches of images.

    Probabilities of the PyTorch model are those of its ``test_step``, with its data preprocessor.

    Args:
        graph: What was exported.
        detector: The exported file.
        batches: Batches (N, 3, H, W), raw 0-255 BGR.

    Returns:
        The differences.
    """
    return _compare(graph, detector, batches)[0]


def compare_on_faces(graph: ExportGraph, detector: OnnxDetector, faces: Faces) -> Comparison:
    """Compare the two on faces with labels.

    Args:
        graph: What was exported.
        detector: The exported file.
        faces: The faces.

    Returns:
        The differences, with the AUC of both where there are faces of both classes.
    """
    found, before, after = _compare(graph, detector, list(_batches(faces.images)))
    if len(set(faces.labels.tolist())) < 2:
        return found
    aucs = [area_under_roc(scores, faces.labels) for scores in (before, after)]
    return Comparison(found.images, found.probability, found.box, found.score, aucs[0], aucs[1])


def _compare(
    graph: ExportGraph, detector: OnnxDetector, batches: Sequence[torch.Tensor]
) -> tuple[Comparison, np.ndarray, np.ndarray]:
    """The differences and both models' probabilities of fake, (N,)."""
    differences: dict[str, list[float]] = {}
    before, after = [], []
    for batch in batches:
        expected, wanted = _run_pytorch(graph, batch)
        outputs = detector.run(batch.numpy().astype(np.float32))
        found = torch.from_numpy(outputs['logits']).softmax(dim=1)[:, 1].numpy()
        before.append(expected)
        after.append(found)
        for name, values in wanted.items():
            differences.setdefault(name, []).append(float(np.abs(values - outputs[name]).max()))
    joined = np.concatenate(before), np.concatenate(after)
    scores = differences.get('scores', []) + differences.get('score_factors', [])
    comparison = Comparison(
        images=len(joined[0]),
        probability=float(np.abs(joined[0] - joined[1]).max()),
        # numpy's maximum, unlike Python's, keeps what is no number.
        box=float(np.max(differences['boxes'])) if scores else None,
        score=float(np.max(scores)) if scores else None,
    )
    return comparison, *joined


def _run_pytorch(graph: ExportGraph, batch: torch.Tensor) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Probabilities of fake, (N,), and the outputs of the graph by name."""
    with torch.no_grad():
        samples: Any = graph.network.test_step({'inputs': list(batch), 'data_samples': None})
        outputs = graph(batch.float())
    named = zip(graph.output_names, outputs, strict=True)
    wanted = {name: values.numpy() for name, values in named if name != 'logits'}
    return torch.stack([sample.pred_score for sample in samples])[:, 1].numpy(), wanted


def _batches(images: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
    for start in range(0, len(images), BATCH):
        yield torch.stack(list(images[start : start + BATCH]))
