# SPDX-License-Identifier: Apache-2.0
"""The web page of projects/web_demo over HTTP: uploads, results and refusals."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from iid_mm.toy import ToyConfig
from iid_mm.utils.cli import run_tool

from .web_client import Client, FixedAnalyzer, image_bytes, until

pytest.importorskip('fastapi', reason="the extra 'web' is not installed")
pytest.importorskip('uvicorn', reason="the extra 'web' is not installed")
pytest.importorskip('httpx', reason="the test client of FastAPI needs httpx, of the extra 'dev'")


def long_video(path: Path, seconds: int) -> Path:
    """A video with a frame a minute."""
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('mpeg4', rate=Fraction(1, 60))
        stream.pix_fmt, stream.width, stream.height = 'yuv420p', 64, 64
        frame = np.full((64, 64, 3), 99, np.uint8)
        for _ in range(seconds // 60):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format='bgr24')))
        container.mux(stream.encode())
    return path


def test_the_page_states_the_limits_and_loads_nothing_from_elsewhere(
    server: Any, make_client: Callable[..., Client]
) -> None:
    client = make_client(limits=server.Limits(20, 600))
    answer = client.http.get('/')
    assert 'Up to 20 MiB; videos up to 10:00 min, of which 4 evenly spaced frames' in answer.text
    assert 'Model: tiny.pth, not calibrated.' in answer.text
    assert 'example' not in answer.text
    assert "default-src 'none'" in answer.headers['content-security-policy']
    assert answer.headers['x-content-type-options'] == 'nosniff'
    assert answer.headers['x-frame-options'] == 'DENY'
    for address in re.findall(r'(?:src|href)="([^"]+)"', answer.text):
        assert address == 'data:,' or client.http.get(address).status_code == 200
    assert not re.search(r'https?://|//\w+\.\w', answer.text)


def test_a_video(client: Client, analyzer: FixedAnalyzer, clip: Path) -> None:
    analyzer.gate.clear()
    key = client.begin(clip, 'My clip.mp4')
    until(lambda: analyzer.frames)
    status = client.status(key)
    assert (status['state'], status['name'], status['ahead']) == ('running', 'My clip.mp4', 0)
    assert len(client.files()) == 1
    assert client.http.get(f'/api/analyses/{key}/report').status_code == 409
    analyzer.gate.set()
    status = client.wait(key)
    assert (status['state'], status['done'], status['total']) == ('done', 4, 4)
    assert client.files() == []
    report = client.report(key)
    assert status['headline'] in report
    assert 'My clip.mp4' in report
    # Whole frame, timeline, four views of the face.
    assert report.count('<img ') == 1 + 1 + 4 * 2
    content = client.http.get(f'/api/analyses/{key}/json')
    assert content.headers['content-disposition'] == 'attachment; filename="My_clip.json"'
    assert content.json()['source'] == 'My clip.mp4'
    assert content.json()['frames']['analyzed'] == 4
    assert str(client.temporary) not in content.text + report
    download = client.http.get(f'/api/analyses/{key}/report?download=true')
    assert download.headers['content-disposition'] == 'attachment; filename="My_clip_report.html"'
    assert download.text == report
    assert 'sandbox' in download.headers['content-security-policy']


def test_an_image_without_a_face(client: Client) -> None:
    key = client.begin(image_bytes(20, '.png'), 'dark.png')
    assert client.wait(key)['headline'] == 'No face found'
    assert 'This says nothing about whether the image is genuine' in client.report(key)


@pytest.mark.parametrize('content', [image_bytes()[:-300], b'\0\0\0\x18ftypisom' + bytes(500)])
def test_damaged_files_get_a_result(client: Client, content: bytes) -> None:
    key = client.begin(content, 'broken')
    assert client.wait(key)['headline'] == 'The input could not be read'
    assert client.files() == []


@pytest.mark.parametrize(
    ('content', 'name', 'says'),
    [
        (
            b'just words',
            'clip.mp4',
            '"clip.mp4" is not an image or video in a supported format. Supported are JPEG',
        ),
        (b'%PDF-1.7', 'scan.jpg', '"scan.jpg" is a PDF document.'),
        (b'#EXTM3U\nfile:///etc/passwd', 'clip.mp4', 'a playlist; upload the video itself'),
        (b'ffconcat version 1.0\nfile /etc/passwd', 'clip.mkv', 'a playlist'),
        (b'<!DOCTYPE html>', 'a.png', 'a web page'),
        (b'\0\0\0\x18ftypheic', 'IMG_1.HEIC', 'a HEIC photo, which is not supported; save it as JPEG'),
        (b'II*\0....', 'a.tif', 'a TIFF'),
        (b'RIFF\0\0\0\0WAVEfmt ', 'a.wav', 'an audio file'),
        (b'PK\x03\x04', 'clips.zip', 'an archive'),
    ],
)
def test_unsupported_types(client: Client, content: bytes, name: str, says: str) -> None:
    assert says in client.refused(415, content, name)


def test_an_empty_file(client: Client) -> None:
    assert (
        client.refused(400, b'') == '"clip.mp4" is empty (0 bytes). Was it copied or downloaded completely?'
    )


@pytest.mark.parametrize(
    ('name', 'note'),
    [
        ('holiday.jpg', 'the name ends in .jpg, but the file is an MP4 or QuickTime video'),
        ('holiday.mov', ''),
        ('Mr. Smith', ''),
        ('clip', ''),
    ],
)
def test_a_wrong_suffix(client: Client, clip: Path, name: str, note: str) -> None:
    key = client.begin(clip, name)
    assert client.wait(key)['done'] == 4
    assert client.http.get(f'/api/analyses/{key}/json').json()['kind'] == 'video'
    report = client.report(key)
    assert (note in report) if note else ('Problems with the input' not in report)


def test_an_image_with_the_name_of_a_video(client: Client) -> None:
    key = client.begin(image_bytes(), 'clip.mp4')
    assert client.wait(key)['state'] == 'done'
    assert 'but the file is a JPEG image' in client.report(key)


def test_too_large(server: Any, make_client: Callable[..., Client], clip: Path) -> None:
    client = make_client(limits=server.Limits(max_mib=1))
    big = bytes(2 * 2**20)
    assert '"clip.mp4" is too large: 2 MiB; the limit is 1 MiB.' in client.refused(413, big)
    # A sender that does not announce the size.
    chunks = (bytes(2**19) for _ in range(10))
    answer = client.http.post('/api/analyses', params={'name': 'a.mp4'}, content=chunks)
    assert answer.status_code == 413
    assert client.files() == []
    assert client.wait(client.begin(clip))['state'] == 'done'


def test_a_video_of_two_hours(client: Client, tmp_path: Path) -> None:
    file = long_video(tmp_path / 'long.mp4', 2 * 3600)
    message = client.refused(413, file, 'film.mp4')
    assert message.startswith('"film.mp4" is too long: 2:00:00 h; the limit is 10:00 min.')
    assert 'ffmpeg -ss' in message
    assert client.wait(client.begin(long_video(tmp_path / 'short.mp4', 540)))['state'] == 'done'


@pytest.mark.parametrize(
    ('name', 'shown', 'file'),
    [
        ('../../../etc/passwd.jpg', 'passwd.jpg', 'passwd.json'),
        ('C:\\Users\\me\\a.jpg', 'a.jpg', 'a.json'),
        ('/etc/cron.d/job', 'job', 'job.json'),
        ('..', '..', 'answer.json'),
        ('<b onload="x">\r\nX-A: 1.jpg', '<b onload="x">X-A: 1.jpg', 'b_onload_x_X-A_1.json'),
        ('Größe.jpg', 'Größe.jpg', 'Gr_e.json'),
        ('n' * 300 + '.jpg', 'n' * 80 + '…' + 'n' * 15 + '.jpg', 'n' * 80 + '_' + 'n' * 15 + '.json'),
        ('', 'upload', 'upload.json'),
    ],
)
def test_names_are_shown_and_never_paths(
    client: Client, analyzer: FixedAnalyzer, name: str, shown: str, file: str
) -> None:
    analyzer.gate.clear()
    key = client.begin(image_bytes(), name)
    (folder,) = client.files()
    assert [path.name for path in folder.iterdir()] == ['input.jpg']
    analyzer.gate.set()
    assert client.wait(key)['name'] == shown
    assert '<b onload' not in client.report(key)
    content = client.http.get(f'/api/analyses/{key}/json')
    assert content.headers['content-disposition'] == f'attachment; filename="{file}"'
    assert content.json()['source'] == shown


def test_other_sites_are_refused(server: Any, client: Client) -> None:
    address = '/api/analyses'
    for origin, status in (
        ('http://evil.example', 403),
        ('http://127.0.0.1:1', 403),
        ('null', 403),
        ('http://127.0.0.1:7860', 202),
    ):
        answer = client.http.post(address, content=image_bytes(), headers={'Origin': origin})
        assert answer.status_code == status
    assert client.http.get('/', headers={'Host': 'evil.example'}).status_code == 400
    assert client.http.get('/', headers={'Host': 'localhost:7860'}).status_code == 200
    assert server.is_local('::1')
    assert server.is_local('127.0.0.2')
    assert not server.is_local('0.0.0.0')
    assert not server.is_local('example.org')


@pytest.mark.parametrize(
    'address',
    [
        '/page/../server.py',
        '/page/%2e%2e/%2e%2e/server.py',
        '/page/..%2findex.html.j2',
        '/page//etc/passwd',
        '/api/analyses/..%2f..%2fetc',
        '/api/analyses/unknown/report',
        '/api/examples/0/thumbnail',
        '/docs',
        '/openapi.json',
    ],
)
def test_unknown_addresses(client: Client, address: str) -> None:
    assert client.http.get(address).status_code == 404


def test_examples(make_client: Callable[..., Client]) -> None:
    toy = ToyConfig(
        num_identities=2, frames=2, size=96, methods=('FaceSwap',), split_fractions=(1.0, 0.0, 0.0)
    )
    client = make_client(toy=toy)
    found = until(lambda: client.http.get('/api/examples').json(), lambda found: found['ready'])
    words = [example['words'] for example in found['examples']]
    assert words == ['untouched video', 'face swap, video', 'face swap, image']
    assert 'try an example' in client.http.get('/').text
    for number, kind in enumerate(('video', 'video', 'image')):
        data = np.frombuffer(client.http.get(f'/api/examples/{number}/thumbnail').content, np.uint8)
        assert cv2.imdecode(data, cv2.IMREAD_COLOR).shape == (96, 96, 3)
        key = client.http.post(f'/api/examples/{number}').json()['id']
        assert client.wait(key)['state'] == 'done'
        assert client.http.get(f'/api/analyses/{key}/json').json()['kind'] == kind
    # They can be analyzed again.
    assert client.http.post('/api/examples/1').status_code == 202
    assert client.http.post('/api/examples/3').status_code == 404


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (['--checkpoint', 'gone.pth', '--port', '0'], 'checkpoint gone.pth does not exist'),
        (['--checkpoint', 'x', '--port', '70000'], '--port 70000: give a number from 0 to 65535'),
        (['--checkpoint', 'x', '--port', 'TAKEN'], 'cannot be bound (Address already in use)'),
        (['--checkpoint', 'x', '--max-mib', '0'], 'max_mib=0.0: give a number above 0'),
        (['--checkpoint', 'x', '--max-seconds', '-1'], 'max_seconds=-1.0: give a number above 0'),
        (['--checkpoint', 'x', '--port', '0', '--frames', '0'], 'frames=0: give at least 1'),
    ],
)
def test_wrong_arguments(
    server: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    says: str,
) -> None:
    import app

    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        monkeypatch.setattr(sys, 'argv', ['app.py', *(port if a == 'TAKEN' else a for a in arguments)])
        assert run_tool(app.main) == 1
    assert says in capsys.readouterr().err
