# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from dataclasses import replace

import pytest

from iid_mm.evaluation.statistics.calibration import TemperatureFit
from iid_mm.inference.calibration import Calibration
from iid_mm.inference.results import Artifact, FaceScore, MediaResult, PersonTrack


def face(frame: int, probability: float, **options: object) -> FaceScore:
    return FaceScore(frame, frame / 25, (10, 20, 50, 70), 0.9, probability, **options)  # type: ignore[arg-type]


def make_result(*tracks: list[float], **options: object) -> MediaResult:
    people = [PersonTrack(n, [face(i, p) for i, p in enumerate(values)]) for n, values in enumerate(tracks)]
    times = {i: i / 25 for i in range(max(len(t) for t in tracks))}
    return MediaResult('a.mp4', 'a', 'video', 'scored', (64, 48), 9, 25.0, times, people, **options)  # type: ignore[arg-type]


def test_the_mean_of_the_frames() -> None:
    result = make_result([0.2, 0.4, 0.9])
    assert result.probability == pytest.approx(0.5)
    assert result.is_fake


@pytest.mark.parametrize(('aggregation', 'expected'), [('median', 0.4), ('max', 0.9), ('topk', 0.65)])
def test_other_aggregations(aggregation: str, expected: float) -> None:
    track = PersonTrack(
        0, [face(i, p) for i, p in enumerate([0.2, 0.4, 0.9])], aggregation=aggregation, top_k=2
    )
    assert track.probability == pytest.approx(expected)


def test_people_who_count() -> None:
    result = make_result([0.1] * 8, [0.3] * 2, [0.99])
    assert [track.number for track in result.main_tracks] == [0, 1]
    assert result.decisive is result.tracks[1]


@pytest.mark.parametrize(
    ('genuine', 'fake', 'counts'),
    # A quarter of 20 is 5; 4 frames are a twentieth of up to 80.
    [
        (20, 4, True),
        (20, 3, False),
        (76, 4, True),
        (96, 4, False),
        (95, 5, True),
        (8, 2, True),
        (8, 1, False),
    ],
)
def test_a_short_part_counts(genuine: int, fake: int, counts: bool) -> None:
    """One after the other, as at a cut."""
    result = make_result([0.1] * genuine, [])
    result.tracks[1].faces = [face(genuine + i, 0.99) for i in range(fake)]
    result.times = {i: i / 25 for i in range(genuine + fake)}
    assert result.is_fake == counts
    assert any('does not count' in note for note in result.notes()) != counts


def test_calibrated_by_kind() -> None:
    fits = [TemperatureFit(t, 2, 1, 0.0, 0.0, 0.0, 0.0) for t in (1.0, 2.0)]
    result = make_result([0.9], calibration=Calibration(fits[0], fits[1], 'data'))
    assert result.calibrated(0.9) == pytest.approx(0.75)
    result.kind = 'image'
    assert result.calibrated(0.9) == pytest.approx(0.9)
    assert make_result([0.9]).calibrated(0.9) == 0.9


def test_plain_data() -> None:
    artifact = Artifact(((11.0, 22.0), (31.0, 21.0), (32.0, 41.0), (12.0, 42.0)), 0.77777)
    result = make_result([0.25])
    result.tracks[0].faces[0] = face(0, 0.25, artifacts=(artifact,))
    result.times[3] = 0.12
    content = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert content['verdict'] == {
        'label': 'genuine',
        'probability': 0.25,
        'calibrated_probability': None,
        'threshold': 0.5,
        'track': 0,
    }
    assert content['frames'] == {
        'width': 64,
        'height': 48,
        'total': 9,
        'rate': 25.0,
        'analyzed': 2,
        'without_face': [3],
    }
    (found,) = content['tracks'][0]['faces'][0]['artifacts']
    assert found == {
        'box': [11.0, 21.0, 32.0, 42.0],
        'polygon': [[11.0, 22.0], [31.0, 21.0], [32.0, 41.0], [12.0, 42.0]],
        'score': 0.7778,
    }


def test_suspicious_people_who_do_not_count_are_noted() -> None:
    result = make_result([0.1] * 32, [0.2] * 9, [0.98, 0.996])
    assert result.is_fake is False
    assert result.notes() == [
        'person 3, seen in 2 of 32 frames, scores 99 % and does not count for the verdict: too few frames'
    ]
    result.threshold = 0.99
    assert result.notes() == []
    assert make_result([0.1] * 32, [0.9] * 9).notes() == []


@pytest.mark.parametrize('aggregation', ['mean', 'median', 'max', 'topk'])
def test_scores_in_two_groups_are_noted(aggregation: str) -> None:
    result = make_result([0.02, 0.03, 0.0, 0.01] * 4 + [1.0, 0.99] * 3 + [0.04, 0.02])
    result.tracks[0].aggregation = aggregation
    assert result.notes() == [
        'person 1: 6 of 24 frames score above 90 %, the others below 10 % (between 0.64 s and 0.84 s)'
    ]


def test_groups_need_not_be_extreme() -> None:
    (note,) = make_result([0.1, 0.25, 0.15, 0.2, 0.1, 0.2] * 2 + [0.7, 0.85, 0.8]).notes()
    assert '3 of 15 frames score above 70 %, the others below 30 %' in note


@pytest.mark.parametrize(
    'scores',
    [
        [0.1] * 20,
        # A single frame can be chance.
        [0.01] * 23 + [0.99],
        [i / 23 for i in range(24)],
        [0.3, 0.5] * 10,
        [0.0, 1.0],
        [0.9],
    ],
)
def test_scores_in_one_group(scores: list[float]) -> None:
    assert make_result(scores).notes() == []


def spread(result: MediaResult, step: int) -> MediaResult:
    """As if every ``step``-th frame had been analyzed."""
    for track in result.tracks:
        faces = [replace(face, frame=face.frame * step, time=face.time * step) for face in track.faces]
        track.faces = faces
    result.times = {number * step: seconds * step for number, seconds in result.times.items()}
    result.total_frames = len(result.times) * step
    return result


def test_one_frame_that_stands_for_others_is_noted() -> None:
    result = spread(make_result([0.05] * 16 + [1.0] + [0.05] * 15), 12)
    assert result.is_fake is False
    assert result.notes() == ['person 1: 1 of 32 frames scores 100 %, against 5 % (at 7.68 s)']


def test_fake_frames_among_noisy_ones_are_noted() -> None:
    scores = [0.0, 0.15, 0.3, 0.45] * 7 + [0.95, 0.85]
    assert make_result(scores).notes() == [
        'person 1: 2 of 30 frames score up to 95 %, against 30 % (between 1.12 s and 1.16 s)'
    ]


def test_gaps_are_noted_for_genuine_verdicts() -> None:
    text = '4 of 120 frames were analyzed, up to 1.2 s apart: a shorter manipulation can be missed'
    assert spread(make_result([0.1] * 4), 30).notes() == [text]
    assert spread(make_result([0.9] * 4), 30).notes() == []
    assert spread(make_result([0.1] * 4), 10).notes() == []
    unseen = spread(make_result([0.1] * 4), 30)
    unseen.tracks = []
    assert unseen.notes() == [text]


def test_long_frames_are_no_gaps() -> None:
    result = make_result([0.1] * 4)
    result.times = {number: 2.0 * number for number in range(4)}
    result.total_frames, result.rate = 4, 0.5
    assert result.notes() == []
