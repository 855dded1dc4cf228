# SPDX-License-Identifier: Apache-2.0
"""People who appear in one place in turn are told apart by their looks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from iid_mm.faces.analyzers.base import Face, FaceAnalyzer
from iid_mm.faces.appearance import SAME_PERSON, describe, difference
from iid_mm.faces.tracking import link_tracks
from iid_mm.preparation.faces import FaceFinder
from iid_mm.preparation.settings import Settings
from support.drawn_people import draw_person, draw_scene, frame

A, B, SCENE, OTHER = 3, 8, 0, 1
Shot = list[tuple[np.ndarray, list[Face]]]


def follow(shot: Shot) -> list[dict[int, int]]:
    """Tracks in the order of their first frame."""
    tracks = link_tracks([faces for _, faces in shot], [describe(image, faces) for image, faces in shot])
    return sorted(tracks, key=min)


def frames_of(shot: Shot) -> list[list[int]]:
    return [sorted(track) for track in follow(shot)]


def moving(scene: int, person: int, count: int) -> Shot:
    """A person who moves and turns a little."""
    shot: Shot = []
    for i in range(count):
        image = draw_scene(scene)
        center = (120 + 6 * np.sin(i), 90 + 4 * np.cos(1.3 * i))
        face = draw_person(image, person, center, 80 + 3 * np.sin(0.7 * i), 0.05 * np.sin(0.5 * i))
        shot.append((image, [face]))
    return shot


def test_a_cut_between_two_people() -> None:
    assert frames_of(moving(SCENE, A, 16) + moving(OTHER, B, 8)) == [list(range(16)), list(range(16, 24))]


@pytest.mark.parametrize('people', [(1, 2), (4, 5), (6, 7), (9, 10)])
def test_an_interview_that_cuts_back_and_forth(people: tuple[int, int]) -> None:
    """A B A B, each in a scene of their own: the parts of each are found again."""
    first, second = people
    shot: Shot = []
    for _ in range(2):
        shot += moving(SCENE, first, 4) + moving(OTHER, second, 4)
    assert frames_of(shot) == [[0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]]


def test_a_face_replaced_where_nothing_else_changes() -> None:
    assert frames_of(moving(SCENE, A, 6) + moving(SCENE, B, 3) + moving(SCENE, A, 6)) == [
        [0, 1, 2, 3, 4, 5, 9, 10, 11, 12, 13, 14],
        [6, 7, 8],
    ]


def test_somebody_else_comes_after_a_long_while() -> None:
    empty: Shot = [(draw_scene(SCENE), []) for _ in range(10)]
    assert frames_of(moving(SCENE, A, 5) + empty + moving(SCENE, B, 5)) == [
        list(range(5)),
        list(range(15, 20)),
    ]


@pytest.mark.parametrize('steps', [1, 2, 5, 20])
def test_a_cross_fade_leads_to_nobody_else(steps: int) -> None:
    shot = moving(SCENE, A, 6)
    (last, before), (first, after) = frame(SCENE, A), frame(OTHER, B)
    for i in range(1, steps + 1):
        weight = i / (steps + 1)
        shot.append((cv2.addWeighted(last, 1 - weight, first, weight, 0), before if weight < 0.5 else after))
    shot += moving(OTHER, B, 6)
    for track in follow(shot):
        assert not (min(track) < 6 and max(track) >= 6 + steps)


def test_two_people_who_swap_places_stay_themselves() -> None:
    shot = [frame(SCENE, A, B)] * 3 + [frame(SCENE, B, A)] * 3
    for track in follow(shot):
        assert len({face if number < 3 else 1 - face for number, face in track.items()}) == 1


def change(shot: Shot, number: int, alter: object) -> Shot:
    image, faces = shot[number]
    shot[number] = (alter(image), faces)  # type: ignore[operator]
    return shot


@pytest.mark.parametrize('person', [A, B, 11, 12])
def test_one_person_stays_one(person: int) -> None:
    shot = moving(SCENE, person, 24)
    assert frames_of(shot) == [list(range(24))]
    # Frames far apart, and gaps.
    assert frames_of(shot[::5]) == [list(range(5))]
    hidden: Shot = [(image, [] if i in (3, 4, 9) else faces) for i, (image, faces) in enumerate(shot)]
    assert frames_of(hidden) == [[i for i in range(24) if i not in (3, 4, 9)]]
    # Increasing brightness, strong compression, a pan.
    brighter = [(np.uint8(np.clip(image * (0.7 + 0.02 * i), 0, 255)), f) for i, (image, f) in enumerate(shot)]
    assert len(frames_of(brighter)) == 1
    squeezed = [
        (cv2.imdecode(cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], 1), faces)
        for image, faces in shot
    ]
    assert len(frames_of(squeezed)) == 1
    panned = [
        (
            np.roll(image, 3 * i, axis=1),
            [Face(f.box + np.tile(step, 2), f.score, f.landmarks + step)],
        )
        for i, (image, (f,)) in enumerate(shot[:10])
        for step in [np.float32([3 * i, 0])]
    ]
    assert len(frames_of(panned)) == 1


def test_a_hand_and_a_flash_begin_no_second_person() -> None:
    def hand(image: np.ndarray) -> np.ndarray:
        covered = image.copy()
        cv2.rectangle(covered, (90, 105), (150, 150), (120, 150, 190), -1)
        return covered

    def flash(image: np.ndarray) -> np.ndarray:
        return np.uint8(np.clip(image * 1.3 + 30.0, 0, 255))

    for alter in (hand, flash):
        assert frames_of(change(moving(SCENE, A, 10), 5, alter)) == [list(range(10))]


def test_preparation_keeps_two_people_apart() -> None:
    """Who is missing in a frame is not found again in the face of somebody else."""
    shot = moving(SCENE, A, 8) + moving(OTHER, B, 4)
    images = [image for image, _ in shot]

    class Known(FaceAnalyzer):
        def analyze(self, image: Any, hint_box: Any = None, *, where: Any = None) -> list[Face]:
            return next(faces for known, faces in shot if known is image)

    finder = FaceFinder(Settings('folder', 'c23', None, 'x', ''), Known())
    record: Any = SimpleNamespace(cropped=False)
    found = finder.find(record, iter(enumerate(images)))
    assert [sorted(track.faces) for track in found.tracks] == [list(range(8)), list(range(8, 12))]
    missing = [(number, images[number]) for number in range(8, 12)]
    for others in (found.tracks, []):
        finder.retry(record, iter(missing), found.tracks[0], others)
        assert sorted(found.tracks[0].faces) == list(range(8))
    # The person's own face is.
    del found.tracks[0].faces[3]
    finder.retry(record, iter([(3, images[3])]), found.tracks[0], found.tracks)
    assert sorted(found.tracks[0].faces) == list(range(8))


def test_difference_of_faces_that_cannot_be_compared() -> None:
    image, faces = frame(SCENE, A)
    (look,) = describe(image, faces)
    (white,) = describe(np.full_like(image, 255), faces)
    assert look is not None
    assert white is not None
    assert difference(look, look) == 0
    assert difference(look, white) is None
    (other,) = describe(*frame(SCENE, B))
    assert other is not None
    found = difference(look, other)
    assert found is not None
    assert found > SAME_PERSON
    # Landmarks in one point cannot be aligned, and those outside of the image cannot be cut out.
    assert describe(image, [Face(faces[0].box, 0.9, np.zeros((68, 2), np.float32) + 50)]) == [None]
    assert describe(image, []) == []
