# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from iid_mm.faces.analyzers import Face
from iid_mm.faces.tracking import box_distance, link_tracks, nearest_face


def face(x, y, side, score=0.9):
    return Face(np.array([x, y, x + side, y + side], np.float32), score, np.zeros((68, 2), 'f4'))


def test_box_distance():
    box = face(0, 0, 10).box
    assert box_distance(box, box) == 0
    assert box_distance(box, face(10, 0, 10).box) == pytest.approx(1.0)
    # Same center, sides 10 and 20: only the sizes differ.
    assert box_distance(box, face(-5, -5, 20).box) == pytest.approx(0.5)


def test_nearest_face():
    near, far = face(2, 0, 10), face(30, 0, 10)
    assert nearest_face([far, near], face(0, 0, 10).box) is near
    assert nearest_face([far], face(0, 0, 10).box) is None
    assert nearest_face([], face(0, 0, 10).box) is None


def test_one_face():
    assert link_tracks([[face(0, 0, 10)], [face(2, 0, 10)]]) == [{0: 0, 1: 0}]
    assert link_tracks([]) == []
    assert link_tracks([[], []]) == []


def test_the_face_that_runs_through_wins_over_a_short_large_one():
    steady = [face(10 + t, 10, 30) for t in range(6)]
    large = face(100, 0, 60)
    frames = [[f] for f in steady]
    frames[2] = [large, steady[2]]
    assert link_tracks(frames) == [{0: 0, 1: 0, 2: 1, 3: 0, 4: 0, 5: 0}, {2: 0}]


def test_larger_of_two_steady_faces_wins_in_any_order():
    big, small = face(0, 0, 40), face(100, 0, 20, score=0.99)
    tracks = link_tracks([[small, big], [big, small], [small, big]])
    assert tracks == [{0: 1, 1: 0, 2: 1}, {0: 0, 1: 1, 2: 0}]


def test_gap_is_bridged_and_left_empty():
    steady = [face(10, 10, 30) for _ in range(3)]
    assert link_tracks([[steady[0]], [], [steady[2]]]) == [{0: 0, 2: 0}]
