# SPDX-License-Identifier: Apache-2.0
"""Common to the analyzers: options, missing packages, parts of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from iid_mm.errors import InputError, MissingExtraError
from iid_mm.faces import analyzers
from iid_mm.faces.analyzers import AnalyzerOptions, check_analyzer
from iid_mm.faces.analyzers.base import Face, FaceAnalyzer
from iid_mm.faces.analyzers.regions import (
    MAX_PARTS,
    choose_near,
    cut_around,
    cut_window,
    keep_distinct,
    nested_parts,
    overlap,
    search_parts,
    square_parts,
)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (AnalyzerOptions('dlib'), r"analyzer='dlib' is unknown.*mediapipe, insightface, precomputed"),
        (AnalyzerOptions(device='tpu'), r"device='tpu' is unknown; choose from auto, cpu, cuda"),
        (AnalyzerOptions(device='cuda'), r"'mediapipe' runs on the CPU; leave --device out"),
        (AnalyzerOptions(max_faces=0), r'max_faces=0: give at least 1'),
        (AnalyzerOptions('precomputed', Path('m')), r"model_dir='m'.*leave --model-dir out"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        check_analyzer(options)


@pytest.mark.parametrize('name', ['mediapipe', 'insightface'])
def test_missing_packages(name, monkeypatch):
    def no_version(package):
        raise analyzers.PackageNotFoundError(package)

    monkeypatch.setattr(analyzers, 'version', no_version)
    with pytest.raises(MissingExtraError, match=rf"pip install 'iid-mm\[{name}\]'"):
        check_analyzer(AnalyzerOptions(name))


@pytest.mark.parametrize(('width', 'height'), [(64, 48), (1920, 1080), (1080, 1920), (300, 300)])
def test_square_parts_cover_the_image(width, height):
    seen = np.zeros((height, width), int)
    for x0, y0, x1, y1 in square_parts(width, height):
        assert x1 - x0 == y1 - y0
        assert x0 >= 0
        assert y0 >= 0
        assert x1 <= width
        assert y1 <= height
        seen[y0:y1, x0:x1] += 1
    assert seen.min() >= 1


def test_strips_have_no_parts():
    assert square_parts(2000, 3) == square_parts(3, 2000) == []
    assert square_parts(8, 1)


@pytest.mark.parametrize(
    ('max_side', 'min_side', 'shape', 'scale'),
    [(0, 0, (30, 40), 1), (20, 0, (15, 20), 0.5), (0, 50, (38, 50), 1.25), (0, 500, (60, 80), 2)],
)
def test_windows_and_back(max_side, min_side, shape, scale):
    image = np.zeros((100, 120, 3), np.uint8)
    image[:, :, 0] = np.arange(120)
    region = cut_window(image, (50, 20, 90, 50), max_side=max_side, min_side=min_side)
    assert region.image.shape[:2] == shape
    np.testing.assert_allclose(region.scale, scale, rtol=0.02)
    # Corners of the part, half a pixel beyond the first and last center, are corners of the window.
    corners = np.float32([[-0.5, -0.5], [shape[1] - 0.5, shape[0] - 0.5]])
    np.testing.assert_allclose(region.to_whole(corners), [[49.5, 19.5], [89.5, 49.5]], atol=1e-4)
    np.testing.assert_allclose(region.box_to_whole(corners.ravel()), [49.5, 19.5, 89.5, 49.5], atol=1e-4)
    # The image agrees: the value of a pixel is its column.
    x = shape[1] // 2
    assert abs(region.to_whole(np.float32([[x, 0]]))[0, 0] - region.image[0, x, 0]) <= 1
    assert cut_around(image, np.float32([300, 10, 320, 30]), 0.5) is None


def test_overlapping_detections():
    box = np.float32([0, 0, 10, 10])
    assert overlap(box, box) == 1
    assert overlap(box, np.float32([5, 0, 15, 10])) == pytest.approx(1 / 3)
    assert overlap(box, np.float32([10, 0, 20, 10])) == 0
    found = [(box, 0.5), (box + 1, 0.9), (box + 30, 0.6)]
    assert [score for _, score in keep_distinct(found)] == [0.9, 0.6]
    assert choose_near(found, np.float32([28, 28, 40, 40]))[1] == 0.6
    assert choose_near(found, np.float32([100, 0, 110, 10])) is None
    assert choose_near([], box) is None


def bright_squares(image: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """A detector of white squares that loses those under a tenth of what it looks at."""
    count, _, stats, _ = cv2.connectedComponentsWithStats((image[..., 0] > 127).astype(np.uint8))
    found = [(np.float32([x, y, x + w, y + h]), 0.7 + w / 8000) for x, y, w, h, _ in stats[1:count]]
    return [(box, score) for box, score in found if box[2] - box[0] >= min(image.shape[:2]) / 10]


@pytest.mark.parametrize('size', [(900, 900), (1600, 900), (3000, 2000)])
def test_small_faces_beside_a_large_one(size: tuple[int, int]) -> None:
    """Parts ask for more, not whether anything was found; each face is found once, and whole."""
    width, height = size
    image = np.zeros((height, width, 3), np.uint8)
    large = height // 3
    squares = [(width // 2 - large // 2, height // 2 - large // 2, large)]
    small = height // 12
    for x in np.linspace(2, width - small - 2, 6).round().astype(int):
        squares += [(int(x), 10, small), (int(x), height - small - 10, small)]
    for x, y, side in squares:
        image[y : y + side, x : x + side] = 255
    whole = bright_squares(image)
    assert len(whole) == 1
    found = search_parts(image, whole, nested_parts(width, height, 384), bright_squares)
    boxes = sorted(tuple(box.round().astype(int)) for box, _ in found)
    assert len(boxes) == len(squares)
    for (x, y, side), box in zip(sorted(squares), boxes, strict=True):
        np.testing.assert_allclose(box, (x, y, x + side, y + side), atol=4)


def test_parts_of_the_largest_photos_are_bounded() -> None:
    assert 100 < len(nested_parts(9248, 6936, 384)) <= MAX_PARTS
    assert len(nested_parts(100_000, 90_000, 384)) <= MAX_PARTS
    assert nested_parts(480, 480, 384) == square_parts(480, 480)
    assert nested_parts(2000, 3, 384) == []


def test_a_limit_is_reported() -> None:
    class Few(FaceAnalyzer):
        def analyze(self, image: Any, hint_box: Any = None, *, where: Any = None) -> list[Face]:
            found = [(np.float32([i, 0, i + 1, 1]), 1.0) for i in range(12)]
            return [Face(box, score, np.zeros((68, 2))) for box, score in self.limit(found, 4)]

    few = Few()
    assert len(few.analyze(None)) == 4
    assert few.take_problems() == '12 faces found, 4 analyzed'
    assert few.take_problems() == ''
    assert len(few.limit([(np.zeros(4), 1.0)] * 12, None)) == 12
    assert few.take_problems() == ''
