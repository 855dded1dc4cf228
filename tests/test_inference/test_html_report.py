# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from iid_mm.errors import InputError
from iid_mm.evaluation.statistics.calibration import TemperatureFit, scale_probabilities
from iid_mm.inference.calibration import Calibration
from iid_mm.inference.html_report import (
    MAX_PEOPLE,
    _clock,
    _of_hundred,
    _percent,
    render_html_report,
    verdict_of,
    write_html_report,
)
from iid_mm.inference.results import (
    NO_FACE,
    SCORED,
    UNREADABLE,
    Artifact,
    FaceScore,
    FaceView,
    MediaResult,
    PersonTrack,
)
from support.media import write_video

NASTY = '<script>alert(1)</script>&"\'.mp4'
VOID = {'meta', 'img', 'br', 'hr', 'link', 'input'}
FACTS = {
    'config': '/home/jane/secret/tiny.py',
    'checkpoint': 'tiny.pth',
    'sha256': 'ab' * 32,
    'backend': 'pytorch',
    'analyzer': 'mediapipe',
    'version': '9.8.7',
}
FIT = TemperatureFit(2.0, 280, 140, 0.5, 0.4, 0.112, 0.031)
CALIBRATION = Calibration(FIT, replace(FIT, temperature=4.0, samples=70, fakes=35), '70 videos of split val')


class Page(HTMLParser):
    """Text, images and addresses of a page; fails on unbalanced tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.parts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []
        self.text = ' '.join(' '.join(self.parts).split())
        self.images = [address for address in self.addresses if address.startswith('data:image/')]

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        if tag == 'img':
            assert dict(attrs)['alt']
        self.addresses += [value for name, value in attrs if name in ('src', 'href', 'srcset', 'action')]
        assert not any(name.startswith('on') for name, _ in attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if 'style' not in self.open:
            self.parts.append(data)


def face(frame: int, probability: float) -> FaceScore:
    artifact = Artifact(((40, 40), (60, 40), (60, 60), (40, 60)), 0.8)
    return FaceScore(frame, frame / 10, (30, 20, 80, 90), 0.9, probability, (artifact,))


def view(score: FaceScore, *, heat: bool = True) -> FaceView:
    image = np.full((64, 64, 3), 90, np.uint8)
    boxes = np.array([[10.0, 10.0, 30.0, 30.0]])
    return FaceView(score, image, boxes, np.eye(64) if heat else None)


def person(number: int, *probabilities: float, heat: bool = True) -> PersonTrack:
    faces = [face(frame, probability) for frame, probability in enumerate(probabilities)]
    ordered = sorted(faces, key=lambda item: -item.probability)
    return PersonTrack(number, faces, [view(item, heat=heat) for item in ordered[:6]])


def scored(*tracks: PersonTrack, kind: str = 'video', source: str = 'clip.mp4', **more: Any) -> MediaResult:
    frames = {item.frame: item.time for track in tracks for item in track.faces}
    total = 1 if kind == 'image' else 100
    rate = 0.0 if kind == 'image' else 10.0
    return MediaResult(
        source, 'x', kind, SCORED, (120, 100), total, rate, frames, list(tracks), model=FACTS, **more
    )


def read(result: MediaResult, original: Path | None = None) -> Page:
    return Page(render_html_report(result, original))


EVERY_STATE = {
    'video': scored(person(0, 0.9, 0.8), person(1, 0.1, 0.2), calibration=CALIBRATION),
    'uncalibrated': scored(person(0, 0.9, 0.8, heat=False)),
    'image': scored(person(0, 0.3), kind='image', source='photo.jpg'),
    'camera': scored(person(0, 0.3, 0.4), kind='camera', source='camera 0'),
    'no face': MediaResult('clip.mp4', 'x', 'video', NO_FACE, (9, 9), 5, 5.0, {0: 0.0}, model=FACTS),
    'unreadable': MediaResult('a.jpg', 'x', 'image', UNREADABLE, problems=['cannot be read']),
}


@pytest.mark.parametrize('state', EVERY_STATE)
def test_pages_load_nothing_from_elsewhere(state: str) -> None:
    html = render_html_report(EVERY_STATE[state])
    page = Page(html)
    assert page.images == page.addresses
    assert not set(page.tags) & {'script', 'link', 'iframe', 'object', 'base', 'form'}
    without_images = re.sub(r'base64,[\w+/=]+', '', html)
    assert not re.search(r'https?:|url\(|@import|//[a-z]', without_images)
    assert "default-src 'none'" in html
    assert 'How this page was made' in page.text


@pytest.mark.parametrize('state', EVERY_STATE)
def test_names_and_messages_are_escaped(state: str) -> None:
    result = replace(EVERY_STATE[state], problems=[NASTY + 'p'], model={**FACTS, 'checkpoint': NASTY + 'c'})
    if result.kind != 'camera':
        result = replace(result, source=f'/tmp/{NASTY[:8]}{NASTY[9:]}')
    if result.calibration:
        result = replace(result, calibration=replace(CALIBRATION, data=NASTY + 'd'))
    html = render_html_report(result)
    assert '<script>' not in html
    page = Page(html)
    assert 'script' not in page.tags
    assert NASTY + 'p' in page.text
    assert NASTY + 'c' in page.text
    assert (NASTY + 'd' in page.text) == bool(result.calibration)


def test_paths_stay_private() -> None:
    text = render_html_report(replace(EVERY_STATE['video'], source='/home/jane/secret/clip.mp4'))
    assert 'jane' not in text
    assert 'tiny.py' in text


@pytest.mark.parametrize(
    ('score', 'tone', 'headline'),
    [
        # Odds of 19 to the power of 1/4 are 2.09, of 9999 10, of 100 3.2.
        (0.95, 'unclear', 'Unclear, leaning toward manipulated'),
        (0.9999, 'fake', 'Very likely manipulated'),
        (0.99, 'fake', 'Probably manipulated'),
        (0.05, 'unclear', 'Unclear, leaning toward genuine'),
        (0.01, 'genuine', 'Probably not manipulated'),
        (0.0001, 'genuine', 'No sign of manipulation found'),
    ],
)
def test_words_follow_the_calibrated_probability(score: float, tone: str, headline: str) -> None:
    found = verdict_of(scored(person(0, score), calibration=CALIBRATION))
    assert (found.tone, found.headline) == (tone, headline)
    assert found.value == pytest.approx(scale_probabilities([score], 4.0)[0])


def test_images_take_the_calibration_of_frames() -> None:
    result = scored(person(0, 0.9), kind='image', calibration=CALIBRATION)
    # The square root of odds of 9 is 3.
    assert verdict_of(result).value == pytest.approx(0.75)
    text = read(result).text
    assert 'Probability of manipulation: 75 %' in text
    assert 'of 100 images with this value, about 75 are manipulated' in text
    assert 'images 280, 140 of them manipulated' in text
    assert 'temperature 2.000' in text


def test_no_more_is_claimed_than_the_calibration_data_supports() -> None:
    """A score of 1 with the calibration of 18 genuine and 54 fake videos."""
    fit = TemperatureFit(0.05, 72, 54, 0.1, 0.1, 0.0, 0.0)
    old = scored(person(0, 1.0, 0.999), calibration=Calibration(fit, fit, '72 videos'))
    text = read(old).text
    assert 'calibrated by an older version' in text
    assert 'about 100 are manipulated' in text
    counted = replace(fit, genuine_videos=18, fake_videos=54)
    text = read(replace(old, calibration=Calibration(counted, counted, '72 videos'))).text
    assert 'Probability of manipulation: 95 %' in text
    assert 'about 95 are manipulated' in text
    assert 'The 18 genuine and 54 manipulated videos it was calibrated with support nothing below 5 %' in text
    assert 'nothing above 95 %' in text
    assert 'at the edge of the range that was searched' in text
    for claim in ('at least 99', 'above 99 %'):
        assert claim not in text.split('Over time')[0]


def test_without_calibration_nothing_is_called_likely() -> None:
    text = read(scored(person(0, 0.97, 0.95))).text
    assert 'The model calls it manipulated Score: 96 % (not calibrated)' in text
    assert 'The score is not a probability.' in text
    assert 'not calibrated: scores rank inputs' in text
    assert 'likely' not in text.split('What this means')[0]
    assert 'The model finds no manipulation' in read(scored(person(0, 0.1))).text


@pytest.mark.parametrize('more', [{}, {'calibration': CALIBRATION}])
@pytest.mark.parametrize(
    'people',
    [
        # Few frames of the person, and a person who is seen in few frames.
        [person(0, *[0.0001] * 30, 0.99, 0.99)],
        [person(0, *[0.0001] * 30), person(1, 0.99, 0.99)],
    ],
)
def test_no_sign_found_is_not_said_where_parts_look_fake(people: list[PersonTrack], more: Any) -> None:
    result = scored(*people, **more)
    assert result.is_fake is False
    found = verdict_of(result)
    assert (found.tone, found.headline) == ('unclear', 'Unclear: parts look manipulated')


def test_the_threshold_decides_and_is_on_the_scale_of_the_value() -> None:
    result = scored(person(0, 0.9), calibration=CALIBRATION, threshold=0.99)
    found = verdict_of(result)
    assert found.headline == 'Unclear, leaning toward genuine'
    assert found.mark == pytest.approx(scale_probabilities([0.99], 4.0)[0])
    assert 'manipulated from a score of 99 % on' in read(result).text


def test_a_video_with_two_people() -> None:
    page = read(EVERY_STATE['video'])
    assert '2 people were tracked; the most suspicious one, person 1, decides.' in page.text
    # Timeline, and two people with two frames each, boxes and heat.
    assert len(page.images) == 1 + 2 * 2 * 2
    assert page.text.index('Person 1: probability') < page.text.index('Person 2: probability')
    assert 'Seen in 2 of the 2 analyzed frames, from 0.0 s to 0.1 s.' in page.text
    assert 'Not every frame was analyzed (2 of 100 frames, 10.0 s long)' in page.text
    assert 'calibration error on these 11 % before, 3 % after' in page.text
    assert 'score of a person mean of the scores of all frames' in page.text


def test_people_who_do_not_count_or_are_not_shown() -> None:
    people = [person(i, *[0.5 + i / 100] * 8) for i in range(MAX_PEOPLE + 2)]
    page = read(scored(*people, person(99, 0.99)))
    assert '1 more face was seen too briefly to count' in page.text
    assert f'Images are shown of the {MAX_PEOPLE} most suspicious people' in page.text
    assert page.tags.count('tr') == 1 + MAX_PEOPLE + 2
    assert len(page.images) == 1 + MAX_PEOPLE * 6 * 2


def test_pages_without_a_face_or_image_give_no_verdict() -> None:
    text = read(EVERY_STATE['no face']).text
    assert 'No face found' in text
    assert 'none was found in this video (1 of 5 frames, 1.0 s long)' in text
    assert 'This says nothing about whether the video is genuine.' in text
    assert 'What this means' not in text
    text = read(EVERY_STATE['unreadable']).text
    assert 'The input could not be read' in text
    assert 'Problems with the input cannot be read' in text
    assert 'analyzed nothing' in text
    assert 'threshold' not in text


def test_problems_of_a_scored_input() -> None:
    text = read(scored(person(0, 0.9), problems=['ends early'])).text
    assert 'Problems with the input ends early The verdict is based on what could be read.' in text


def test_a_calibration_made_for_another_aggregation() -> None:
    track = person(0, 0.9, 0.8)
    track.aggregation, track.top_k = 'topk', 5
    text = read(scored(track, calibration=CALIBRATION)).text
    assert 'calibrated for another aggregation' in text
    assert 'mean of the 5 highest scores' in text
    assert 'calibrated for another aggregation' not in read(EVERY_STATE['video']).text


def decode(address: str) -> np.ndarray:
    data = np.frombuffer(base64.b64decode(address.split(',')[1]), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


def test_the_image_is_shown_with_its_faces(tmp_path: Path) -> None:
    file = tmp_path / 'photo.png'
    cv2.imwrite(str(file), np.full((100, 120, 3), 200, np.uint8))
    result = scored(person(0, 0.9), kind='image', source=str(file))
    page = read(result)
    assert len(page.images) == 1 + 2
    shown = decode(page.images[0])
    assert shown.shape == (100, 120, 3)
    # The face's box in vermilion, and nothing where there is no face.
    assert shown[55, 30].astype(int).tolist() == pytest.approx([0, 94, 213], abs=40)
    assert shown[95, 110].tolist() == pytest.approx([200] * 3, abs=4)
    # The original may lie elsewhere under another name.
    moved = replace(result, source='holiday.png')
    assert len(read(moved).images) == 2
    assert read(moved, file).images == page.images
    assert 'holiday.png' in read(moved, file).text


def test_the_frame_shown_of_a_video_is_the_most_suspicious_one(tmp_path: Path) -> None:
    frames = [np.full((100, 120, 3), 20 + 20 * i, np.uint8) for i in range(10)]
    file = write_video(tmp_path / 'clip.mp4', frames)
    result = scored(person(0, 0.1, 0.2, 0.1, 0.7, 0.3), source=str(file))
    page = read(result)
    # Videos are written with 25 frames a second.
    assert 'The most suspicious moment Frame 3, at 0.1 s.' in page.text
    assert decode(page.images[0])[95, 110].tolist() == pytest.approx([80] * 3, abs=6)


def test_large_images_are_shrunk(tmp_path: Path) -> None:
    file = tmp_path / 'photo.png'
    cv2.imwrite(str(file), np.zeros((1800, 1200, 3), np.uint8))
    page = read(scored(person(0, 0.9), kind='image', source=str(file)))
    assert decode(page.images[0]).shape == (900, 600, 3)


def test_writing(tmp_path: Path) -> None:
    path = tmp_path / 'new' / 'page.html'
    write_html_report(EVERY_STATE['video'], path)
    assert 'Deepfake analysis of' in path.read_text(encoding='utf-8')
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(InputError, match=r'page\.html cannot be written .*; choose another folder'):
        write_html_report(EVERY_STATE['video'], path / 'page.html')


def test_numbers_in_words() -> None:
    assert [_percent(v) for v in (0, 0.001, 0.005, 0.994, 0.996, 1)] == [
        '0 %',
        'below 1 %',
        '0 %',
        '99 %',
        'above 99 %',
        '100 %',
    ]
    assert [_of_hundred(v) for v in (0.001, 0.5, 0.999)] == ['at most 1', 'about 50', 'at least 99']
    assert [_clock(v) for v in (5.24, 59.97, 185, 3725)] == ['5.2 s', '1:00', '3:05', '1:02:05']


def test_names_of_any_bytes(tmp_path: Path) -> None:
    """Lone surrogates are not UTF-8; marks that reverse text disguise a name."""
    result = scored(person(0, 0.9), source='in/caf\udce9\u202egpj\x1b.mp4')
    result.problems.append('a\udce9\nb')
    write_html_report(result, tmp_path / 'page.html')
    text = (tmp_path / 'page.html').read_text(encoding='utf-8')
    assert 'caf%E9%E2%80%AEgpj%1B.mp4' in text
    assert 'a%E9%0Ab' in text
    assert all(line.isprintable() for line in text.splitlines())
