# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iid_mm.errors import InputError
from iid_mm.faces.cropping import CropSettings
from iid_mm.inference.analysis import MAX_VIEWS, MediaAnalyzer
from iid_mm.inference.faces import FaceFollower, FoundFace
from iid_mm.inference.media import VIDEO, Media
from iid_mm.inference.results import NO_FACE, SCORED, UNREADABLE, FaceScore, FaceView
from iid_mm.inference.sampling import FrameStream, TimedFrame

from .conftest import SquareAnalyzer, draw_frame

MEDIA = Media(VIDEO, 'clip', 'clip.mp4', Path('clip.mp4'))


class Frames(FrameStream):
    def __init__(self, images: list[Any], problem: str = '') -> None:
        self.images = images
        self.total = self.expected = len(images)
        self.rate = 10.0
        self._problem = problem

    def __iter__(self) -> Iterator[TimedFrame]:
        for number, image in enumerate(self.images):
            yield TimedFrame(number, number / 10, image)

    @property
    def problem(self) -> str:
        return self._problem


class Scorer:
    """Scores a face by its left edge: 1 % a pixel."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def prepare(self, frame: TimedFrame, found: FoundFace) -> dict[str, Any]:
        return {}

    def score(self, items: Any) -> list[tuple[FaceScore, FaceView]]:
        if items:
            self.batches.append(len(items))
        scored = []
        for frame, found, _ in items:
            face = FaceScore(frame.number, frame.time, found.box, 0.9, found.window[0] / 100)
            scored.append((face, FaceView(face, found.crop, np.empty((0, 4)))))
        return scored


def analyze(
    images: list[Any], batch_size: int = 4, aggregation: str = 'mean', **options: Any
) -> tuple[Any, Scorer]:
    scorer: Any = Scorer()
    finder = SquareAnalyzer()
    analyzer = MediaAnalyzer(
        lambda: FaceFollower(finder, CropSettings(0.0)), scorer, batch_size, aggregation=aggregation
    )
    return analyzer.analyze(MEDIA, Frames(images), **options), scorer


def test_two_people_are_tracked() -> None:
    images = [draw_frame([(10 + 2 * i, 60, 40), (200 - 2 * i, 60, 40)]) for i in range(6)]
    result, scorer = analyze(images)
    assert result.status == SCORED
    assert [[face.frame for face in track.faces] for track in result.tracks] == [list(range(6))] * 2
    lefts = [[face.box[0] for face in track.faces] for track in result.tracks]
    assert (np.diff(lefts[0]) > 0).all()
    assert (np.diff(lefts[1]) < 0).all()
    assert scorer.batches == [4, 4, 4]
    assert list(result.times.items()) == [(i, i / 10) for i in range(6)]
    assert (result.size, result.total_frames, result.rate) == ((320, 240), 6, 10.0)


@pytest.mark.parametrize('batch_size', [1, 2, 3, 5, 100])
def test_the_batch_size_changes_nothing(batch_size: int) -> None:
    rows = [[(10 + i, 60, 40), (150, 90, 50)] if i % 3 else [] for i in range(11)]
    images = [draw_frame(row) for row in rows]
    seen: list[tuple[int, int]] = []
    result, _ = analyze(images, batch_size, on_frame=lambda f, faces: seen.append((f.number, len(faces))))
    expected, _ = analyze(images, 7)
    assert result.as_dict() == expected.as_dict()
    # Every frame comes once, in order, with all its faces.
    assert seen == [(i, len(row)) for i, row in enumerate(rows)]


def test_frames_without_faces_do_not_accumulate() -> None:
    alive: list[int] = []

    class Counting(Frames):
        def __iter__(self) -> Iterator[TimedFrame]:
            for frame in super().__iter__():
                alive.append(frame.number - len(done))
                yield frame

    done: list[int] = []
    images = [draw_frame([(10, 60, 40)])] + [draw_frame([])] * 60
    scorer: Any = Scorer()
    analyzer = MediaAnalyzer(lambda: FaceFollower(SquareAnalyzer(), CropSettings(0.0)), scorer, 8)
    analyzer.analyze(MEDIA, Counting(images), on_frame=lambda frame, _: done.append(frame.number))
    assert len(done) == 61
    assert max(alive) <= 10


def test_a_lost_face_is_searched_where_it_was() -> None:
    images = [draw_frame([(100, 60, 60)]), draw_frame([(104, 60, 60)], dim=True), draw_frame([(108, 60, 60)])]
    result, _ = analyze(images)
    assert [[face.frame for face in track.faces] for track in result.tracks] == [[0, 1, 2]]


def test_the_verdict_is_that_of_the_most_suspicious_person_who_counts() -> None:
    rows = [[(20, 60, 40), (120, 60, 40)] for _ in range(8)]
    rows[3].append((250, 150, 40))
    result, _ = analyze([draw_frame(row) for row in rows])
    probabilities = [round(track.probability, 2) for track in result.tracks]
    assert len(probabilities) == 3
    # The third is seen in one of eight frames, less than a quarter.
    assert max(probabilities) == probabilities[2] > result.probability == result.tracks[1].probability
    verdict = result.as_dict()['verdict']
    assert (verdict['label'], verdict['track']) == ('fake', 1)
    assert [track['counts_for_verdict'] for track in result.as_dict()['tracks']] == [True, True, False]


def test_images_of_the_most_suspicious_faces_are_kept() -> None:
    rows = [[(10 + 4 * (i * 7 % 20), 60, 60)] for i in range(20)]
    result, _ = analyze([draw_frame(row) for row in rows])
    (track,) = result.tracks
    views = [view.score.probability for view in track.views]
    assert views == sorted((face.probability for face in track.faces), reverse=True)[:MAX_VIEWS]


def test_equal_faces_keep_the_earliest() -> None:
    result, _ = analyze([draw_frame([(50, 60, 60)])] * (MAX_VIEWS + 4))
    assert [view.score.frame for view in result.tracks[0].views] == list(range(MAX_VIEWS))


def test_no_face_is_an_answer() -> None:
    result, _ = analyze([draw_frame([])] * 3)
    assert (result.status, result.probability, result.is_fake) == (NO_FACE, None, None)
    content = result.as_dict()
    assert content['verdict'] is None
    assert content['frames']['without_face'] == [0, 1, 2]


def test_nothing_to_read() -> None:
    scorer: Any = Scorer()
    analyzer = MediaAnalyzer(lambda: FaceFollower(SquareAnalyzer(), CropSettings(0.0)), scorer)
    result = analyzer.analyze(MEDIA, Frames([], problem='has no video stream'))
    assert (result.status, result.problems) == (UNREADABLE, ['has no video stream'])
    assert analyzer.analyze(MEDIA, Frames([])).problems == ['holds no frame']


def test_progress_and_aggregation() -> None:
    calls: list[tuple[int, int]] = []
    images = [draw_frame([(left, 60, 60)]) for left in (20, 30, 70)]
    result, _ = analyze(images, progress=lambda *now: calls.append(now), aggregation='max')
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert result.probability == max(face.probability for face in result.tracks[0].faces)


def test_small_faces_are_ignored() -> None:
    scorer: Any = Scorer()
    finder = SquareAnalyzer()
    analyzer = MediaAnalyzer(lambda: FaceFollower(finder, CropSettings(0.0), min_face=60), scorer)
    image = draw_frame([(20, 60, 30), (150, 60, 80)])
    result = analyzer.analyze(MEDIA, Frames([image, image]))
    assert len(result.tracks) == 1
    assert result.tracks[0].faces[0].box[0] == pytest.approx(150, abs=1)
    assert result.problems == ['faces smaller than 60 pixels were ignored in 2 of 2 frames']


def test_bad_batch_size() -> None:
    with pytest.raises(InputError, match='batch_size=0'):
        analyze([], 0)


def test_every_input_gets_a_new_follower(analyzer: SquareAnalyzer) -> None:
    made: list[Callable[[], FaceFollower]] = []

    def follower() -> FaceFollower:
        found = FaceFollower(analyzer, CropSettings(0.0))
        made.append(found)  # type: ignore[arg-type]
        return found

    scorer: Any = Scorer()
    media_analyzer = MediaAnalyzer(follower, scorer)
    for left in (20, 200):
        result = media_analyzer.analyze(MEDIA, Frames([draw_frame([(left, 60, 60)])]))
        assert [track.number for track in result.tracks] == [0]
    assert len(made) == 2


class Thorough(SquareAnalyzer):
    """Finds squares below 30 px only in thorough searches, and counts those."""

    def __init__(self) -> None:
        super().__init__()
        self.thorough: list[int] = []

    def analyze(self, image: Any, hint_box: Any = None, *, where: Any = None) -> list[Any]:
        found = super().analyze(image, hint_box)
        return found if hint_box is not None else [f for f in found if f.box[2] - f.box[0] >= 30]

    def analyze_all(self, image: Any) -> list[Any]:
        self.thorough.append(self.calls)
        return super().analyze(image)


def test_small_faces_are_searched_at_intervals_and_tracked_in_between() -> None:
    finder, scorer = Thorough(), Scorer()
    images = [draw_frame([(40, 60, 80), (250, 60, 20)]) for _ in range(20)]
    new = draw_frame([(40, 60, 80), (250, 60, 20)])
    new[new.max(axis=2) < 50] = (200, 120, 60)
    analyzer = MediaAnalyzer(lambda: FaceFollower(finder, CropSettings(0.0)), scorer)  # type: ignore[arg-type]
    result = analyzer.analyze(MEDIA, Frames([*images, new, new]))
    assert finder.thorough == [0, 8, 16, 20]
    # In each frame both are there, the small one too.
    assert sum(len(track.faces) for track in result.tracks) == 2 * 22
    assert [len(track.faces) for track in result.tracks[:2]] == [20, 20]


def test_two_people_in_one_place_are_distinguished_and_a_short_fake_one_is_noted() -> None:
    """The squares change their color with the scene, as people do at a cut."""

    def other(left: int) -> Any:
        image = draw_frame([(left, 60, 60)])
        square = image[60:120, left : left + 60]
        square[:] = (120, 255, 20)
        image[image.max(axis=2) < 50] = (150, 140, 90)
        return image

    genuine, fake = draw_frame([(40, 60, 60)]), other(60)
    result, _ = analyze([genuine] * 16 + [fake] * 8)
    assert [[face.frame for face in track.faces] for track in result.tracks] == [
        list(range(16)),
        list(range(16, 24)),
    ]
    assert result.is_fake
    assert result.problems == []
    result, _ = analyze([genuine] * 30 + [fake] * 2)
    assert not result.is_fake
    assert result.problems == [
        'person 2, seen in 2 of 32 frames, scores 52 % and does not count for the verdict: too few frames'
    ]


def test_limits_of_the_analyzer_are_reported() -> None:
    class Limited(SquareAnalyzer):
        def analyze(self, image: Any, hint_box: Any = None, *, where: Any = None) -> list[Any]:
            return self.limit(super().analyze(image, hint_box), 1)

    scorer: Any = Scorer()
    analyzer = MediaAnalyzer(lambda: FaceFollower(Limited(), CropSettings(0.0)), scorer)
    result = analyzer.analyze(MEDIA, Frames([draw_frame([(20, 60, 60), (150, 60, 60), (240, 150, 40)])]))
    assert result.problems == ['3 faces found, 1 analyzed']
