# SPDX-License-Identifier: Apache-2.0
"""Videos with several people, missed faces, crops of others: an analyzer that knows where the faces are."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from iid_mm.faces.analyzers.base import Face, FaceAnalyzer
from iid_mm.faces.cropping import landmarks_box
from iid_mm.faces.tracking import nearest_face
from iid_mm.media.sources import SourceOpener
from iid_mm.preparation.group import GroupProcessor
from iid_mm.preparation.records import VideoGroup
from iid_mm.preparation.settings import Settings
from iid_mm.preparation.writer import CropWriter
from iid_mm.structures.video_record import ImageFiles, VideoRecord
from support import drawn_people
from support.media import face_points, make_frame, write_image

COUNT = 6
SIZE = (96, 48)
# Left edges of two people's faces; the left one is larger.
LEFT, RIGHT = (10.0, 24.0), (64.0, 16.0)


def make_face(left, side, top=14.0):
    points = face_points(left, top, side)
    return Face(landmarks_box(points), 0.9, points)


class KnownFaces(FaceAnalyzer):
    """Both faces in every frame, but for the frames in which the search misses one."""

    searches = True

    def __init__(self, missed=(), lost=()):
        super().__init__()
        self.missed, self.lost, self.calls = set(missed), set(lost), []

    def check_video(self, record):
        return ''

    def analyze(self, image, hint_box=None, *, where=None):
        self.calls.append((where.record.method, where.frame, hint_box is not None))
        faces = [make_face(*person) for person in (LEFT, RIGHT)]
        place = (where.record.method, where.frame)
        if place in self.lost:
            return []
        if hint_box is not None:
            near = nearest_face(faces, hint_box)
            return [Face(near.box, 0.0, near.landmarks)] if near else []
        return [] if place in self.missed else faces


def still_frame(number, size=SIZE):
    """A frame of a video in which nobody moves."""
    return np.roll(make_frame(number, size=size), -number, axis=1)


def write_clip(folder: Path, change=None, size=SIZE, count=COUNT) -> ImageFiles:
    """Images of a video; ``change`` is the person whose face a manipulation inverts."""
    names = []
    for number in range(count):
        image = still_frame(number, size)
        if change:
            left, side = change
            hull = cv2.convexHull(face_points(left, 14.0, side)[:68].astype(np.int32))
            inside = cv2.fillConvexPoly(np.zeros(image.shape[:2], np.uint8), hull, 1) == 1
            image[inside] = 255 - image[inside]
        names.append(f'{number:03d}.png')
        write_image(folder / names[-1], image)
    return ImageFiles(folder, tuple(names), tuple(range(count)))


def make_record(source, method, *, label=1, mask=None, cropped=False):
    return VideoRecord(
        source,
        'set',
        method,
        'native',
        'v',
        f'set/{method}/native/v',
        label,
        'train',
        pair='set/real/native/v' if label else None,
        mask=mask,
        cropped=cropped,
    )


@pytest.fixture
def process(tmp_path):
    def process(group, analyzer=None, **choices):
        settings = Settings('ffpp', 'native', None, 'stub', '1', **{'frames': 3, 'margin': 0.0, **choices})
        writer = CropWriter(settings, tmp_path / 'out')
        opener = SourceOpener(tmp_path / 'scratch')
        return GroupProcessor(settings, analyzer or KnownFaces(), opener, writer).process(group)

    return process


@pytest.fixture
def real(tmp_path):
    return make_record(write_clip(tmp_path / 'real'), 'real', label=0)


def rows_of(result, method):
    return [row for row in result.rows if row['method'] == method]


# The larger face's box is 10..34 x 14..38, with forehead 10..34 x 6.8..38: side 31.2 around (22.5, 22.9).
LEFT_WINDOW = [7, 7, 38, 38]
# The other's 64..80 x 14..30, with forehead from 9.2: side 20.8 around (72.5, 20.1).
RIGHT_WINDOW = [62, 10, 83, 30]


def test_each_fake_follows_the_person_it_manipulates(tmp_path, real, process):
    left = make_record(write_clip(tmp_path / 'l', LEFT), 'left')
    right = make_record(write_clip(tmp_path / 'r', RIGHT), 'right')
    result = process(VideoGroup(real.key, real, (left, right)))
    assert [row['crop_window'] for row in rows_of(result, 'left')] == [LEFT_WINDOW] * 3
    assert [row['crop_window'] for row in rows_of(result, 'right')] == [RIGHT_WINDOW] * 3
    # As many fakes manipulate the one as the other: the genuine samples show the larger face.
    assert [row['crop_window'] for row in rows_of(result, 'real')] == [LEFT_WINDOW] * 3
    pairs = [row['source_image'] for row in rows_of(result, 'left')]
    assert pairs == [row['image'] for row in rows_of(result, 'real')]
    pairs = [row['source_image'] for row in rows_of(result, 'right')]
    assert pairs == [f'frames/set/real/native/v/{n:05d}_person1.webp' for n in (1, 3, 5)]
    for row in result.rows:
        x0, y0, x1, y1 = row['crop_window']
        image = cv2.imread(str(tmp_path / 'out' / row['image']))
        assert image.shape == (y1 - y0, x1 - x0, 3)
        if row['source_image']:
            genuine = still_frame(row['frame'])[y0:y1, x0:x1]
            np.testing.assert_array_equal(cv2.imread(str(tmp_path / 'out' / row['source_image'])), genuine)


def test_genuine_samples_show_the_person_most_fakes_manipulate(tmp_path, real, process):
    right = make_record(write_clip(tmp_path / 'r', RIGHT), 'right')
    result = process(VideoGroup(real.key, real, (right,)))
    assert [row['crop_window'] for row in result.rows] == [RIGHT_WINDOW] * 6
    assert [row['source_image'] for row in rows_of(result, 'right')] == [
        f'frames/set/real/native/v/{n:05d}.webp' for n in (1, 3, 5)
    ]


def write_masks(folder: Path, x0: int, x1: int, size=SIZE) -> ImageFiles:
    mask = np.zeros((size[1], size[0], 3), np.uint8)
    mask[size[1] // 5 : size[1] // 5 * 4, x0:x1] = 255
    names = tuple(f'{number:03d}.png' for number in range(COUNT))
    for name in names:
        write_image(folder / name, mask)
    return ImageFiles(folder, names, tuple(range(COUNT)))


def test_a_mask_decides_against_the_difference(tmp_path, real, process):
    mask = write_masks(tmp_path / 'masks', 64, 80)
    fake = make_record(write_clip(tmp_path / 'f', LEFT), 'fake', mask=mask)
    result = process(VideoGroup(real.key, real, (fake,)), masks=True)
    rows = rows_of(result, 'fake')
    assert [row['crop_window'] for row in rows] == [RIGHT_WINDOW] * 3
    stored = cv2.imread(str(tmp_path / 'out' / rows[0]['mask']), cv2.IMREAD_UNCHANGED)
    # x 62..83 of the frame: masked from 64 to 80.
    assert stored.shape == (20, 21)
    assert (stored[5] == [0] * 2 + [255] * 16 + [0] * 3).all()


def test_a_mask_of_half_the_size_is_enlarged_and_one_of_another_shape_is_not_used(tmp_path, real, process):
    half = write_masks(tmp_path / 'half', 32, 40, (48, 24))
    fake = make_record(write_clip(tmp_path / 'f', LEFT), 'fake', mask=half)
    result = process(VideoGroup(real.key, real, (fake,)), masks=True)
    assert rows_of(result, 'fake')[0]['crop_window'] == RIGHT_WINDOW
    other = write_masks(tmp_path / 'other', 32, 40, (48, 48))
    fake = make_record(write_clip(tmp_path / 'f2', LEFT), 'fake', mask=other)
    result = process(VideoGroup(real.key, real, (fake,)), masks=True)
    assert rows_of(result, 'fake')[0]['crop_window'] == LEFT_WINDOW
    assert rows_of(result, 'fake')[0]['mask'] is None
    assert '3 frames have no mask' in result.videos[1].problems[0]


def test_a_mask_chooses_the_person_of_a_fake_without_its_genuine_video(tmp_path, process):
    mask = write_masks(tmp_path / 'masks', 64, 80)
    fake = make_record(write_clip(tmp_path / 'f'), 'fake', mask=mask)
    result = process(VideoGroup(fake.pair, None, (fake,)))
    assert [row['crop_window'] for row in result.rows] == [RIGHT_WINDOW] * 3
    assert result.videos[0].problems == ['its genuine video is missing or unusable: stored without pairs']


def test_missed_faces_are_looked_for_again_where_the_neighbors_are(tmp_path, real, process):
    fake = make_record(write_clip(tmp_path / 'f', LEFT), 'fake')
    analyzer = KnownFaces(missed={('real', 3)}, lost={('real', 5), ('fake', 1)})
    result = process(VideoGroup(real.key, real, (fake,)), analyzer)
    assert [row['frame'] for row in rows_of(result, 'real')] == [1, 3]
    assert [row['frame'] for row in rows_of(result, 'fake')] == [3]
    genuine, other = result.videos
    assert (genuine.found, genuine.given_up, other.given_up) == (2, [5], [1, 5])
    assert genuine.problems == ['no face in 1 of 3 frames']
    assert other.problems == [
        '1 frames have no face in the genuine video: [5]',
        'no face in 2 of 3 frames',
    ]
    assert ('real', 3, True) in analyzer.calls


def test_whole_frames_are_kept_on_request(tmp_path, real, process):
    fake = make_record(write_clip(tmp_path / 'f', LEFT), 'fake')
    process(VideoGroup(real.key, real, (fake,)), keep_frames=True)
    for method, change in (('real', None), ('fake', True)):
        for n in (1, 3, 5):
            kept = cv2.imread(str(tmp_path / f'out/whole_frames/set/{method}/native/v/{n:05d}.webp'))
            image = cv2.imread(str(tmp_path / ('f' if change else 'real') / f'{n:03d}.png'))
            np.testing.assert_array_equal(kept, image)


def test_what_an_earlier_run_left_is_deleted(tmp_path, real, process):
    stale = tmp_path / 'out/frames/set/real/native/v/.00001.webp.77.tmp'
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b'half an image')
    process(VideoGroup(real.key, real))
    assert sorted(path.name for path in stale.parent.iterdir()) == ['00001.webp', '00003.webp', '00005.webp']


def test_frame_numbers_of_images_need_not_be_those_of_the_genuine_video(tmp_path, real, process):
    clip = write_clip(tmp_path / 'f', LEFT)
    some = make_record(ImageFiles(clip.folder, clip.names[:4], (2, 4, 5, 40)), 'some')
    other = make_record(ImageFiles(clip.folder, clip.names[:2], (30, 40)), 'other')
    result = process(VideoGroup(real.key, real, (other, some)))
    assert [row['frame'] for row in rows_of(result, 'some')] == [2, 4, 5]
    assert all(row['source_image'] for row in rows_of(result, 'some'))
    assert [row['frame'] for row in rows_of(result, 'other')] == [30, 40]
    assert result.videos[1].problems == [
        'its genuine video has no frame numbers in common: stored without pairs'
    ]


def test_unreadable_images_are_reported(tmp_path, real, process):
    (tmp_path / 'real' / '003.png').write_bytes(b'nonsense')
    result = process(VideoGroup(real.key, real))
    assert [row['frame'] for row in result.rows] == [1, 5]
    assert '1 of 3 images cannot be read (003.png' in result.videos[0].problems[0]


def test_crops_of_others_are_kept_whole_and_laid_over_each_other(tmp_path, process):
    rng = np.random.default_rng(0)
    scene = cv2.resize(rng.uniform(0, 255, (20, 30, 3)).astype(np.float32), (160, 110))
    scene = np.clip(cv2.resize(scene, (160, 110), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)
    manipulated = scene.copy()
    manipulated[45:65, 70:90] = 255 - manipulated[45:65, 70:90]
    for name, image, (x, y) in (('real', scene, (20, 10)), ('fake', manipulated, (23, 8))):
        for number in range(COUNT):
            write_image(tmp_path / name / f'{number:03d}.png', image[y : y + 96, x : x + 96])
    names = tuple(f'{number:03d}.png' for number in range(COUNT))

    class Moved(KnownFaces):
        def analyze(self, image, hint_box=None, *, where=None):
            return [make_face(*((37.0, 40.0, 32.0) if where.record.label else (40.0, 40.0, 30.0)))]

    source = {name: ImageFiles(tmp_path / name, names, tuple(range(COUNT))) for name in ('real', 'fake')}
    real = make_record(source['real'], 'real', label=0, cropped=True)
    fake = make_record(source['fake'], 'fake', cropped=True)
    result = process(VideoGroup(real.key, real, (fake,)), Moved())
    for row in result.rows:
        assert row['crop_window'] == [0, 0, 96, 96]
    for row in rows_of(result, 'fake'):
        assert row['source_image'] == f'frames/set/fake/native/v/{row["frame"]:05d}_genuine.webp'
        laid = cv2.imread(str(tmp_path / 'out' / row['source_image'])).astype(int)
        wanted = scene[8:104, 23:119].astype(int)
        # The frame of the crop is made up where the genuine crop ends.
        assert np.abs(laid - wanted)[4:-4, 4:-4].mean() < 1.0
    # Another person's crops do not fit.
    for number in range(COUNT):
        noise = cv2.resize(rng.uniform(0, 255, (10, 10, 3)).astype(np.float32), (96, 96)).astype(np.uint8)
        write_image(tmp_path / 'real' / f'{number:03d}.png', noise)
    result = process(VideoGroup(real.key, real, (fake,)), Moved())
    assert [row['source_image'] for row in rows_of(result, 'fake')] == [None] * 3
    assert '3 frames do not fit' in result.videos[1].problems[0]


# Frames that do not pair.


def fake_with(tmp_path, numbers, name='f', change=LEFT):
    clip = write_clip(tmp_path / name, change, count=len(numbers))
    return make_record(ImageFiles(clip.folder, clip.names, tuple(numbers)), name)


def test_frames_that_the_genuine_video_lacks_are_kept_unpaired(tmp_path, process):
    clip = write_clip(tmp_path / 'real', count=4)
    real = make_record(ImageFiles(clip.folder, clip.names, (0, 12, 25, 38)), 'real', label=0)
    fake = fake_with(tmp_path, (0, 9, 19, 29))
    result = process(VideoGroup(real.key, real, (fake,)), frames=32)
    rows = rows_of(result, 'f')
    assert [row['frame'] for row in rows] == [0, 9, 19, 29]
    assert [row['source_image'] is not None for row in rows] == [True, False, False, False]
    assert [row['crop_window'] for row in rows] == [LEFT_WINDOW] * 4
    assert [row['frame'] for row in rows_of(result, 'real')] == [0, 12, 25, 38]
    report = result.videos[1]
    assert (report.asked, report.found, report.paired) == (4, 4, 1)
    assert report.problems == [
        '3 frames have no counterpart in the genuine video: stored without pairs: [9, 19, 29]'
    ]
    for row in rows:
        assert cv2.imread(str(tmp_path / 'out' / row['image'])) is not None


def test_an_unpaired_frame_shows_the_person_of_the_paired_ones(tmp_path, process):
    clip = write_clip(tmp_path / 'real', count=4)
    real = make_record(ImageFiles(clip.folder, clip.names, (0, 1, 2, 3)), 'real', label=0)
    fake = fake_with(tmp_path, (1, 2, 7, 8), change=RIGHT)
    result = process(VideoGroup(real.key, real, (fake,)), frames=32)
    assert [row['crop_window'] for row in rows_of(result, 'f')] == [RIGHT_WINDOW] * 4


# Clips with a cut: one person, then another in the same place.


def write_people(folder, people, change=None):
    """A frame for each person of the list; ``change`` is the one whose face a manipulation makes redder."""
    names = []
    for number, person in enumerate(people):
        image, (face,) = drawn_people.frame(person, person)
        if person == change:
            hull = cv2.convexHull(face.landmarks.astype(np.int32))
            inside = cv2.fillConvexPoly(np.zeros(image.shape[:2], np.uint8), hull, 1) == 1
            image[inside] = (0.8 * image[inside] + 0.2 * np.array([60, 60, 200])).astype(np.uint8)
        names.append(f'{number:03d}.png')
        write_image(folder / names[-1], image)
    return ImageFiles(folder, tuple(names), tuple(range(len(people))))


class DrawnFaces(KnownFaces):
    """The face that is drawn in the middle of every frame."""

    def analyze(self, image, hint_box=None, *, where=None):
        return drawn_people.frame(0, 0)[1]


def test_frames_behind_a_cut_are_reported_as_another_person(tmp_path, process):
    people = [1] * 6 + [2] * 3
    real = make_record(write_people(tmp_path / 'real', people), 'real', label=0)
    fake = make_record(write_people(tmp_path / 'f', people, 1), 'fake')
    alone = make_record(write_people(tmp_path / 'g', people), 'alone', label=0)
    result = process(VideoGroup(real.key, real, (fake,)), DrawnFaces(), frames=9)
    result.videos += process(VideoGroup(alone.key, alone), DrawnFaces(), frames=9).videos
    assert [row['frame'] for row in result.rows] == [*range(6), *range(6)]
    for report in result.videos:
        assert report.given_up == [6, 7, 8]
        assert report.problems == ['3 of 9 frames show another person and are left out: [6, 7, 8]']


def test_frames_without_a_counterpart_are_not_those_of_another_person(tmp_path, process):
    real = make_record(write_people(tmp_path / 'real', [1] * 4), 'real', label=0)
    fake = make_record(write_people(tmp_path / 'f', [1] * 6 + [2] * 3, 1), 'fake')
    result = process(VideoGroup(real.key, real, (fake,)), DrawnFaces(), frames=9)
    assert [row['frame'] for row in rows_of(result, 'fake')] == [0, 1, 2, 3, 4, 5]
    assert result.videos[1].problems == [
        '2 frames have no counterpart in the genuine video: stored without pairs: [4, 5]',
        '3 of 9 frames show another person and are left out: [6, 7, 8]',
    ]


@pytest.mark.parametrize(
    ('numbers', 'frames', 'expected'),
    [
        # As many in common as are wanted: those alone, as ever.
        (range(12), 3, [1, 3, 5]),
        # Too few: all of them, and evenly spaced others.
        ([0, 1, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29], 4, [0, 1, 22, 27]),
        ([20, 21, 22], 2, [20, 22]),
    ],
)
def test_chosen_frames(tmp_path, real, process, numbers, frames, expected):
    fake = fake_with(tmp_path, numbers)
    result = process(VideoGroup(real.key, real, (fake,)), frames=frames)
    assert [row['frame'] for row in rows_of(result, 'f')] == expected


def test_crops_of_others_without_counterparts_are_told(tmp_path, process):
    clip = write_clip(tmp_path / 'real', count=4)
    real = make_record(ImageFiles(clip.folder, clip.names, (0, 1, 2, 3)), 'real', label=0, cropped=True)
    clip = write_clip(tmp_path / 'f', LEFT, count=4)
    fake = make_record(ImageFiles(clip.folder, clip.names, (0, 1, 7, 8)), 'f', cropped=True)
    result = process(VideoGroup(real.key, real, (fake,)), frames=32)
    rows = rows_of(result, 'f')
    assert [(row['frame'], row['source_image'] is not None) for row in rows] == [
        (0, True),
        (1, True),
        (7, False),
        (8, False),
    ]
    assert result.videos[1].problems == [
        '2 frames have no counterpart in the genuine video: stored without pairs: [7, 8]'
    ]


def write_cut_frames(tmp_path, *, same_scene=True, grow=0):
    """A scene and its fake, each frame cut out on its own, and where its face is."""
    rng = np.random.default_rng(1)
    scenes = {}
    for name in ('real', 'fake'):
        if name == 'real' or not same_scene:
            coarse = rng.uniform(0, 255, (24, 34, 3)).astype(np.float32)
            scene = cv2.resize(coarse, (200, 150), interpolation=cv2.INTER_CUBIC)
        scenes[name] = np.clip(scene, 0, 255).astype(np.uint8)
    scenes['fake'] = scenes['fake'].copy()
    hull = cv2.convexHull(face_points(80.0, 60.0, 32.0)[:68].astype(np.int32))
    inside = cv2.fillConvexPoly(np.zeros((150, 200), np.uint8), hull, 1) == 1
    scenes['fake'][inside] = 255 - scenes['fake'][inside]
    places = {}
    for name, scene in scenes.items():
        for number in range(COUNT):
            x, y = rng.integers(20, 27, 2)
            width = 150 + (grow if name == 'fake' else 0)
            write_image(tmp_path / name / f'{number:03d}.png', scene[y : y + 110, x : x + width])
            places[name, number] = (80.0 - x, 60.0 - y)
    names = tuple(f'{number:03d}.png' for number in range(COUNT))
    source = {name: ImageFiles(tmp_path / name, names, tuple(range(COUNT))) for name in scenes}
    return make_record(source['real'], 'real', label=0), make_record(source['fake'], 'fake'), places, scenes


class CutFaces(KnownFaces):
    """One face, where it lies in each cut frame."""

    def __init__(self, places):
        super().__init__()
        self.places = places

    def analyze(self, image, hint_box=None, *, where=None):
        x, y = self.places[where.record.method, where.frame]
        return [make_face(x, 32.0, top=y)]


@pytest.mark.parametrize('grow', [0, 6])
def test_frames_that_others_have_cut_are_laid_over_each_other(tmp_path, process, grow):
    real, fake, places, scenes = write_cut_frames(tmp_path, grow=grow)
    result = process(VideoGroup(real.key, real, (fake,)), CutFaces(places), frames=COUNT, margin=0.6)
    rows = rows_of(result, 'fake')
    assert [row['frame'] for row in rows] == list(range(COUNT))
    for row in rows:
        assert row['source_image'] == f'frames/set/fake/native/v/{row["frame"]:05d}_genuine.webp'
        laid = cv2.imread(str(tmp_path / 'out' / row['source_image'])).astype(int)
        x0, y0, x1, y1 = row['crop_window']
        left, top = (round(v) for v in places['fake', row['frame']])
        wanted = scenes['real'][60 - top + y0 : 60 - top + y1, 80 - left + x0 : 80 - left + x1].astype(int)
        assert np.abs(laid - wanted)[8:-8, 8:-8].mean() < 2.0
    assert result.videos[1].paired == COUNT
    (problem,) = result.videos[1].problems
    assert f'genuine crops are laid over those of {COUNT} of {COUNT} frames' in problem


def test_frames_of_another_scene_are_not_laid_over_each_other(tmp_path, process):
    real, fake, places, _ = write_cut_frames(tmp_path, same_scene=False)
    result = process(VideoGroup(real.key, real, (fake,)), CutFaces(places), frames=COUNT, margin=0.6)
    assert [row['source_image'] for row in rows_of(result, 'fake')] == [None] * COUNT
    (problem,) = result.videos[1].problems
    assert problem.startswith('its frames do not show the scene of its genuine video (correlation ')
    assert problem.endswith('): stored without pairs')
