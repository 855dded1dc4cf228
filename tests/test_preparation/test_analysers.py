# SPDX-License-Identifier: Apache-2.0
"""What the analysers have in common: options, missing packages, points of the mesh, parts of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from iid_mm.errors import InputError, MissingExtraError
from iid_mm.preparation import analysers
from iid_mm.preparation.analysers import AnalyserOptions, check_analyser
from iid_mm.preparation.analysers.mesh68 import MESH_TO_68, MIRROR_68
from iid_mm.preparation.analysers.regions import (
    choose_near,
    cut_around,
    cut_window,
    keep_distinct,
    overlap,
    square_parts,
)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (AnalyserOptions('dlib'), r"analyser='dlib' is unknown.*mediapipe, insightface, precomputed"),
        (AnalyserOptions(device='tpu'), r"device='tpu' is unknown; choose from auto, cpu, cuda"),
        (AnalyserOptions(device='cuda'), r"'mediapipe' runs on the CPU; leave --device out"),
        (AnalyserOptions('precomputed', Path('m')), r"model_dir='m'.*leave --model-dir out"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        check_analyser(options)


@pytest.mark.parametrize('name', ['mediapipe', 'insightface'])
def test_missing_packages(name, monkeypatch):
    def no_version(package):
        raise analysers.PackageNotFoundError(package)

    monkeypatch.setattr(analysers, 'version', no_version)
    with pytest.raises(MissingExtraError, match=rf"pip install 'iid-mm\[{name}\]'"):
        check_analyser(AnalyserOptions(name))


def test_mesh_table():
    assert MESH_TO_68.shape == (68,)
    assert len(set(MESH_TO_68.tolist())) == 68
    assert MESH_TO_68.max() < 468
    # Mirroring twice is nothing; the middle line stays.
    np.testing.assert_array_equal(MIRROR_68[MIRROR_68], np.arange(68))
    middle = np.flatnonzero(np.arange(68) == MIRROR_68).tolist()
    assert middle == [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]


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
    # Corners of the part, half a pixel beyond the first and last centre, are corners of the window.
    corners = np.float32([[-0.5, -0.5], [shape[1] - 0.5, shape[0] - 0.5]])
    np.testing.assert_allclose(region.to_whole(corners), [[49.5, 19.5], [89.5, 49.5]], atol=1e-4)
    np.testing.assert_allclose(region.box_to_whole(corners.ravel()), [49.5, 19.5, 89.5, 49.5], atol=1e-4)
    # The picture says the same: the value of a pixel is its column.
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
