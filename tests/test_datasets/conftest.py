# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mmengine.registry import DefaultScope

from iid_mm.datasets.functional import alignment, geometry
from iid_mm.datasets.index import make_video_key, write_index
from iid_mm.utils.typing import ImageArray
from support.landmarks import draw_landmarks

SIDE = 160


@pytest.fixture(autouse=True)
def _scope() -> Any:
    with DefaultScope.overwrite_default_scope('iid_mm'):
        yield


def draw_pair(side: int = SIDE, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A genuine image and a fake that differs from it in and around the face."""
    rng = np.random.default_rng(seed)
    genuine = cv2.resize(rng.integers(60, 190, (12, 12, 3), dtype=np.uint8), (side, side))
    other = cv2.resize(rng.integers(40, 220, (20, 20, 3), dtype=np.uint8), (side, side))
    mask = np.zeros((side, side, 1), dtype=np.float32)
    cv2.ellipse(mask, (side // 2, side // 2), (int(side * 0.36), int(side * 0.44)), 0, 0, 360, 1, -1)
    fake = (mask * (0.5 * genuine + 0.5 * other) + (1 - mask) * genuine).astype(np.uint8)
    return genuine, fake


@pytest.fixture
def landmarks() -> np.ndarray:
    return draw_landmarks(SIDE)


@pytest.fixture
def aligned() -> dict[str, Any]:
    """An aligned fake sample of 224 px with its genuine frame."""
    genuine, fake = draw_pair()
    points = draw_landmarks(SIDE)
    matrix = geometry.fit_similarity(alignment.five_points(points), alignment.template((224, 224)))
    return {
        'img': geometry.warp_image(fake, matrix, (224, 224)),
        'source_img': geometry.warp_image(genuine, matrix, (224, 224)),
        'landmarks': geometry.transform_points(points, matrix),
        'gt_label': 1,
    }


def make_rows(root: Path, split: str, ids: list[str], frames: int, side: int = SIDE) -> list[dict[str, Any]]:
    """Write crops of one genuine and two fake videos a person; return their rows."""
    rows = []
    for number, video in enumerate(ids):
        for frame in range(frames):
            pair = draw_pair(side, seed=97 * number + frame)
            genuine_path = f'frames/ffpp/youtube/c23/{video}/{frame:05d}.png'
            for method, image in zip(('youtube', 'Deepfakes', 'FaceSwap'), (*pair, pair[1]), strict=True):
                name = video if method == 'youtube' else f'{video}_999'
                path = f'frames/ffpp/{method}/c23/{name}/{frame:05d}.png'
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(root / path), image)
                fake = method != 'youtube'
                rows.append(
                    {
                        'image': path,
                        'source_image': genuine_path if fake else None,
                        'landmarks': draw_landmarks(side).ravel(),
                        'label': int(fake),
                        'dataset': 'ffpp',
                        'method': method,
                        'compression': 'c23',
                        'video_key': make_video_key('ffpp', method, 'c23', name),
                        'frame': frame,
                        'split': split,
                        'target_id': video,
                        'source_id': '999' if fake else None,
                        'crop_window': [0, 0, side, side],
                        'detector_score': 1.0,
                        'mask': None,
                    }
                )
    return rows


@pytest.fixture(scope='session')
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder: 2 people with 4 frames in train, 1 person with 4 frames in test, no val."""
    root = tmp_path_factory.mktemp('prepared')
    rows = make_rows(root, 'train', ['000', '001'], 4) + make_rows(root, 'test', ['002'], 4)
    write_index(rows, root / 'index.parquet')
    return root


@pytest.fixture
def photo() -> ImageArray:
    """An image with structure at all scales, 96 x 128 px."""
    rng = np.random.RandomState(0)
    image = np.full((96, 128, 3), 110, np.float32)
    for cells in (4, 12, 40):
        grid = rng.uniform(-35, 35, (cells, cells, 3)).astype(np.float32)
        image += cv2.resize(grid, (128, 96), interpolation=cv2.INTER_CUBIC)
    return np.clip(image, 0, 255).astype(np.uint8)
