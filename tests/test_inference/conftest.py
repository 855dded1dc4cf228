# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from iid_mm.faces.analyzers.base import Face, FaceAnalyzer
from iid_mm.faces.cropping import landmarks_box
from iid_mm.registry import MODELS
from support.media import write_video

FACE_SIDE = 90


def face_landmarks(left: float, top: float, side: float) -> np.ndarray:
    """68 points of an upright face in a square, (68, 2)."""
    t = np.linspace(0, np.pi, 17)
    points = np.full((68, 2), 0.5)
    points[:17] = np.stack([0.5 - 0.5 * np.cos(t), 0.3 + 0.7 * np.sin(t)], axis=1)
    points[17:27] = np.stack([np.linspace(0.1, 0.9, 10), np.full(10, 0.0)], axis=1)
    points[30] = (0.5, 0.5)
    points[36:42], points[42:48] = (0.28, 0.2), (0.72, 0.2)
    points[48:68] = np.stack([np.linspace(0.35, 0.65, 20), np.full(20, 0.75)], axis=1)
    points[48], points[54] = (0.35, 0.75), (0.65, 0.75)
    return (points * side + (left, top)).astype(np.float32)


class SquareAnalyzer(FaceAnalyzer):
    """Detects bright squares as faces."""

    def __init__(self) -> None:
        super().__init__()
        self.hints: list[np.ndarray] = []
        self.calls = 0

    def analyze(self, image: Any, hint_box: Any = None, *, where: Any = None) -> list[Face]:
        self.calls += hint_box is None
        if hint_box is not None:
            self.hints.append(hint_box)
        # Dim faces are found by a search at a place only.
        low = 100 if hint_box is None else 50
        mask = (image[..., 1].astype(int) - image[..., 0] > low).astype(np.uint8)
        count, _, stats, _ = cv2.connectedComponentsWithStats(mask)
        faces = []
        for x, y, w, _, area in stats[1:count]:
            if area < 100:
                continue
            points = face_landmarks(x, y, float(w))
            faces.append(Face(landmarks_box(points), 0.9, points))
        return sorted(faces, key=lambda face: -float(face.box[2] - face.box[0]))


def draw_frame(
    faces: Sequence[tuple[int, int, int]], size: tuple[int, int] = (320, 240), dim: bool = False
) -> Any:
    """A dark image with green squares (left, top, side)."""
    image = np.full((size[1], size[0], 3), 30, np.uint8)
    for left, top, side in faces:
        image[top : top + side, left : left + side] = (20, 95 if dim else 220, 120)
    return image


@pytest.fixture
def analyzer() -> SquareAnalyzer:
    return SquareAnalyzer()


@pytest.fixture
def make_video(tmp_path: Path) -> Callable[..., Path]:
    """Write a video of squares; one list of faces for each frame."""

    def make(name: str, frames: Sequence[Sequence[tuple[int, int, int]]]) -> Path:
        return write_video(tmp_path / name, [draw_frame(faces) for faces in frames])

    return make


@pytest.fixture(scope='session')
def checkpoint(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint of the tiny detector, as MMEngine writes it, with its config inside."""
    from mmengine.registry import DefaultScope

    path = tmp_path_factory.mktemp('weights') / 'tiny.pth'
    cfg = Config.fromfile(str(tiny_config))
    torch.manual_seed(3)
    with DefaultScope.overwrite_default_scope('iid_mm'):
        model = MODELS.build(cfg.model)
        model.init_weights()
    # Spread the scores: a fresh linear layer says 50 % of everything.
    torch.nn.init.normal_(model.forgery_head.fc.weight, std=0.002)
    torch.save({'state_dict': model.state_dict(), 'meta': {'cfg': cfg.pretty_text}}, path)
    return path
