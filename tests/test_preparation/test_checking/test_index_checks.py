# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from iid_mm.errors import InputError


@pytest.fixture
def good(tiny):
    """Three pairs, one a split: nothing is wrong but what is missing of the official set."""
    tiny.pair('000', '003', 'train')
    tiny.pair('001', '004', 'val')
    tiny.pair('002', '005', 'test')
    return tiny


def test_a_good_set_has_nothing_but_the_note_on_its_size(good, check):
    result = check(good.write())
    assert [finding.check for finding in result.findings] == ['fewer-videos-than-official']
    assert result.decoded == 12
    assert not result.failed()
    assert result.failed(strict=True)


def test_a_folder_stands_for_its_index(good, check):
    good.write()
    assert [prepared.rows for prepared in check(good.root, images=False).sets] == [12]


def test_an_empty_index_is_an_error(tiny, check, find):
    result = check(tiny.write(report=''))
    assert find(result, 'empty-index')[0].severity == 'error'
    assert result.failed()
    assert result.to_dict()['indexes'][0]['rows'] == 0


def test_a_hostile_index_is_refused_and_the_others_are_checked(good, make_tiny, check, find):
    hostile = make_tiny('hostile')
    hostile.pair()
    path = hostile.write()
    table = pq.read_table(path)
    names = table.column('image').to_pylist()
    names[0] = '../../etc/passwd'
    table = table.set_column(0, table.schema.field(0), [names])
    pq.write_table(table, path)
    result = check(path, good.write(), images=False)
    (finding,) = find(result, 'invalid-index')
    assert finding.severity == 'error'
    assert "must be a relative path with '/'" in finding.message
    assert '../../etc/passwd' in finding.message
    assert [prepared.rows for prepared in result.sets] == [12]


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_landmarks_that_are_no_numbers_are_refused(good, check, find, value):
    path = good.write()
    table = pq.read_table(path)
    at = table.column_names.index('landmarks')
    lists = table.column('landmarks').to_pylist()
    lists[3][5] = value
    field = table.schema.field(at)
    pq.write_table(table.set_column(at, field, pa.array(lists, field.type)), path)
    (finding,) = find(check(path, images=False), 'invalid-index')
    assert "row 3, column 'landmarks': every value must be a finite number" in finding.message


@pytest.mark.parametrize(
    ('values', 'words'),
    [
        (pa.array(['x'] * 12), 'type string, expected list'),
        (pa.array([[1.0, 2.0]] * 12, pa.list_(pa.float32())), 'needs 136 or 162 values'),
        (pa.array([None] * 12, pa.list_(pa.float32())), 'must not be null'),
    ],
)
def test_landmarks_of_another_kind_are_refused(good, check, find, values, words):
    path = good.write()
    table = pq.read_table(path)
    at = table.column_names.index('landmarks')
    pq.write_table(table.set_column(at, 'landmarks', values), path)
    (finding,) = find(check(path, images=False), 'invalid-index')
    assert words in finding.message


def test_a_damaged_index_is_refused(good, check, find):
    path = good.write()
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : 2 * len(data) // 3] = b'x' * (2 * len(data) // 3 - len(data) // 3)
    path.write_bytes(data)
    assert find(check(path, images=False), 'invalid-index')


def test_arguments(good, check, tmp_path):
    path = good.write()
    with pytest.raises(InputError, match='only once'):
        check(path, path)
    with pytest.raises(InputError, match='sample=0'):
        check(path, sample=0)
    with pytest.raises(InputError, match='num_workers=-1'):
        check(path, num_workers=-1)
    with pytest.raises(InputError, match='deep compares'):
        check(path, images=False, deep=True)
    with pytest.raises(FileNotFoundError, match='does not exist'):
        check(tmp_path / 'nothing.parquet')


def test_fakes_without_pair(good, check, find):
    good.video('FaceSwap', '000_003', target='000', source='003')
    good.rows[2]['source_image'] = None
    mixed, alone = find(check(good.write(), images=False), 'fake-without-pair')
    assert (mixed.severity, mixed.count) == ('warning', 1)
    assert mixed.where.endswith(': ffpp/Deepfakes/c23')
    assert mixed.message == '1 of 6 fake frames without a genuine counterpart'
    assert mixed.examples == ('frames/ffpp/Deepfakes/c23/000_003/00000.png',)
    assert (alone.severity, alone.message) == ('note', '2 of 2 fake frames without a genuine counterpart')


def test_genuine_frame_with_a_pair(good, check, find):
    good.rows[0]['source_image'] = good.rows[1]['image']
    (finding,) = find(check(good.write(), images=False), 'genuine-with-pair')
    assert (finding.severity, finding.count) == ('warning', 1)


def test_pair_that_is_no_sample(good, check, find):
    good.rows = [row for row in good.rows if row['image'] != good.path('youtube', '000', 1)]
    (finding,) = find(check(good.write()), 'pair-not-listed')
    assert (finding.severity, finding.count) == ('note', 1)
    assert finding.examples == (good.path('Deepfakes', '000_003', 1),)


def test_pair_that_is_a_fake_or_the_image_itself(good, check, find):
    fakes = [row for row in good.rows if row['label']]
    fakes[0]['source_image'] = fakes[1]['image']
    fakes[2]['source_image'] = fakes[2]['image']
    (finding,) = find(check(good.write(), images=False), 'pair-is-fake')
    assert (finding.severity, finding.count) == ('error', 2)


def test_pair_in_another_split(good, check, find):
    for row in good.rows:
        if row['video_key'].endswith('/001'):
            row['split'] = 'test'
    result = check(good.write(), images=False)
    (finding,) = find(result, 'pair-in-other-split')
    assert (finding.severity, finding.count) == ('error', 2)
    assert result.failed()


def test_pair_of_another_frame(good, check, find):
    good.rows[2]['source_image'] = good.path('youtube', '000', 1)
    (finding,) = find(check(good.write(), images=False), 'pair-of-other-frame')
    assert (finding.severity, finding.count) == ('warning', 1)


def test_one_image_in_two_rows(good, check, find):
    first, second, *_ = good.rows
    second['image'] = first['image']
    result = check(good.write(), images=False)
    (finding,) = find(result, 'image-listed-twice')
    assert (finding.severity, finding.count) == ('warning', 1)
    assert finding.examples == (first['image'],)
    assert not find(result, 'image-in-two-roles')


@pytest.mark.parametrize('other', [2, 4])
def test_one_image_with_both_labels_or_in_two_splits(good, check, find, other):
    good.rows[other]['image'] = good.rows[0]['image']
    result = check(good.write(), images=False)
    (finding,) = find(result, 'image-in-two-roles')
    assert (finding.severity, finding.count) == ('error', 1)
    assert not find(result, 'image-listed-twice')


def test_split_of_one_class(good, check, find):
    good.rows = [row for row in good.rows if not (row['split'] == 'test' and row['label'] == 0)]
    (finding,) = find(check(good.write(), images=False), 'one-class-only')
    assert finding.message == 'split test holds fake frames only: no AUC can be computed on it alone'


@pytest.mark.parametrize('window', [[4, 4, 4, 20], [0, 9, 20, 3], [-1, 0, 40, 40]])
def test_crop_window(good, check, find, window):
    good.rows[5]['crop_window'] = window
    (finding,) = find(check(good.write(), images=False), 'bad-crop-window')
    assert (finding.severity, finding.count) == ('error', 1)


def shifted(points, **changes):
    """Points moved or scaled about their mean."""
    middle = points.mean(axis=0)
    return (points - middle) * changes.get('scale', 1) + middle + changes.get('by', 0)


@pytest.mark.parametrize(
    ('changes', 'name', 'severity'),
    [
        # The circle spans 9.5 to 29.5 of 0 to 39.
        (dict(scale=0), 'degenerate-landmarks', 'error'),
        (dict(scale=(1, 0)), 'degenerate-landmarks', 'error'),
        (dict(by=(20.1, 0)), 'landmarks-outside', 'error'),
        (dict(by=(0, -20.1)), 'landmarks-outside', 'error'),
        (dict(by=(19.6, 0)), 'landmarks-far-out', 'warning'),
        (dict(scale=0.19), 'tiny-landmarks', 'warning'),
        (dict(by=(19.4, 0)), None, None),
        (dict(scale=0.21), None, None),
    ],
)
def test_landmarks(good, check, find, changes, name, severity):
    points = good.rows[0]['landmarks'].reshape(-1, 2)
    good.rows[0]['landmarks'] = shifted(points, **changes).astype(np.float32).ravel()
    result = check(good.write(), images=False)
    kinds = {'degenerate-landmarks', 'landmarks-outside', 'landmarks-far-out', 'tiny-landmarks'}
    found = [f for f in result.findings if f.check in kinds]
    assert [(f.check, f.severity, f.count) for f in found] == ([(name, severity, 1)] if name else [])


def test_landmarks_are_measured_on_the_stored_size(good, check, find):
    # A window of 400 px stored with 40: the points are right. Stored with 400, they fill a corner.
    for row in good.rows:
        row['crop_window'] = [0, 0, 400, 400]
    assert not find(check(good.write(settings=good.settings(max_side=40)), images=False), 'tiny-landmarks')
    path = good.write(settings=good.settings(max_side=400))
    assert find(check(path, images=False), 'tiny-landmarks')[0].count == 12
    # The images settle it.
    assert not find(check(path), 'tiny-landmarks')


def test_mixed_landmarks(good, check, find):
    extra = np.full(26, 15, np.float32)
    good.rows[7]['landmarks'] = np.concatenate([good.rows[7]['landmarks'], extra])
    (finding,) = find(check(good.write(), images=False), 'mixed-landmarks')
    assert finding.message == 'frames with 68 and with 81 landmarks in one index'
    assert finding.count == 1


def test_few_frames(good, check, find):
    path = good.write(settings=good.settings(frames=5))
    (finding,) = find(check(path, images=False), 'few-frames')
    assert finding.count == 6
    assert finding.examples[0] == 'ffpp/Deepfakes/c23/000_003: 2'
    assert not find(check(good.write(settings=good.settings(frames=4)), images=False), 'few-frames')


# Report


@pytest.fixture
def run(tiny, check, find):
    """Check a pair of videos with a changed report; findings of one check."""
    tiny.pair()

    def of(name, **changes):
        path = tiny.write(report=tiny.report(**changes))
        return [(f.severity, f.count, f.examples) for f in find(check(path, images=False), name)]

    return of


def test_nothing_to_report(tiny, check):
    tiny.pair()
    names = {finding.check for finding in check(tiny.write(), images=False).findings}
    assert names == {'fewer-videos-than-official'}


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('', 'there is no report.json'),
        ('{', 'cannot be read'),
        ('[' * 9999, 'cannot be read'),
        ('[]', 'is not the report of a preparation'),
    ],
)
def test_missing_or_unreadable_report_is_a_note(tiny, check, find, text, words):
    tiny.pair()
    path = tiny.write(report='')
    if text:
        (tiny.root / 'report.json').write_text(text)
    result = check(path, images=False)
    (finding,) = find(result, 'no-report')
    assert finding.severity == 'note'
    assert words in finding.message
    assert not result.failed()


def test_report_of_another_run(run):
    assert run('report-of-other-run', frames_found=9) == [('warning', 5, ())]
    assert run('report-of-other-run') == []


def test_videos_without_face(run):
    key = 'ffpp/Deepfakes/c23/005_006'
    found = run(
        'video-without-face',
        methods={'Deepfakes': {'videos_without_face': 2}, 'youtube': {'videos_without_face': 0}},
        given_up={key: [0, 7], 'ffpp/Deepfakes/c23/000_001': [3]},
        problems=[{'video': 'ffpp/youtube/c23/009', 'reason': 'truncated'}],
    )
    assert found == [('warning', 2, (key, 'ffpp/youtube/c23/009: truncated'))]


def test_videos_without_face_of_a_report_without_names(run):
    assert run('video-without-face', methods={'youtube': {'videos_without_face': 3}}) == [('warning', 3, ())]


def test_frames_given_up(run):
    given_up = {'ffpp/Deepfakes/c23/000_001': [3, 5]}
    example = ('ffpp/Deepfakes/c23/000_001: 3, 5',)
    assert run('frames-given-up', given_up=given_up, frames_asked=300) == [('note', 2, example)]
    assert run('frames-given-up', given_up=given_up, frames_asked=100) == [('warning', 2, example)]
    assert run('frames-given-up') == []


def test_frames_given_up_of_an_older_report(tiny, check, find):
    tiny.pair()
    report = tiny.report(frames_asked=8)
    for key in ('given_up', 'missing'):
        del report[key]
    (finding,) = find(check(tiny.write(report=report), images=False), 'frames-given-up')
    assert finding.message == '4 frames given up (50.00 % of 8)'


def test_listed_but_missing(run):
    found = run('listed-but-missing', missing=['YouTube-real/00171.mp4', 'YouTube-real/00170.mp4'])
    assert found == [('warning', 2, ('YouTube-real/00170.mp4', 'YouTube-real/00171.mp4'))]
    assert run('listed-but-missing') == []


def test_left_out(run):
    left_out = {'a.mp4': 'no split', 'b.mp4': 'no split', 'c.mp4': 'bad name'}
    assert run('left-out', left_out=left_out) == [('note', 3, ('2: no split', '1: bad name'))]


def test_problems(run):
    problems = [{'video': 'ffpp/youtube/c23/000', 'reason': 'truncated'}]
    assert run('problems', problems=problems) == [('note', 1, ('ffpp/youtube/c23/000: truncated',))]


def test_a_hostile_report_does_no_harm(run):
    odd = dict(
        frames_asked='many',
        frames_found=None,
        methods=[1],
        missing={'a': 1},
        given_up=['x'],
        problems=[{'video': 3}, 'text', None],
        left_out='all',
    )
    assert run('video-without-face', **odd) == []
