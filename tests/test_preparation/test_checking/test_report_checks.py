# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest


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
