# SPDX-License-Identifier: Apache-2.0
"""The web page of projects/web_demo, over HTTP and in a browser."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import torch

from iid_mm.apis import IIDInferencer, init_model
from iid_mm.errors import InputError
from iid_mm.inference.sampling import Sampling
from iid_mm.preparation.analysers.base import Face, FaceAnalyser
from iid_mm.testing.media import write_video
from iid_mm.toy import ToyConfig
from iid_mm.utils.cli import run_tool

pytest.importorskip('fastapi', reason="the extra 'web' is not installed")
uvicorn = pytest.importorskip('uvicorn', reason="the extra 'web' is not installed")
pytest.importorskip('httpx', reason="the test client of FastAPI needs httpx, of the extra 'dev'")

TestClient: Any = pytest.importorskip('fastapi.testclient').TestClient

PROJECT = Path(__file__).resolve().parents[2] / 'projects/web_demo'
SECONDS = 30
"""How long an answer is waited for."""


class FixedAnalyser(FaceAnalyser):
    """Finds one face in every picture that is not dark; waits where it is told to."""

    searches = False

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.held_from = 1
        self.frames = 0
        self.fault: Exception | None = None

    def analyse(self, image: Any, hint_box: Any = None, *, where: Any = None) -> list[Face]:
        self.frames += 1
        assert self.frames < self.held_from or self.gate.wait(SECONDS)
        if self.fault is not None:
            raise self.fault
        if image.mean() < 40:
            return []
        t = np.linspace(0, np.pi, 17)
        points = np.full((68, 2), 0.5)
        points[:17] = np.stack([0.5 - 0.25 * np.cos(t), 0.45 + 0.3 * np.sin(t)], axis=1)
        points[36:42], points[42:48] = (0.38, 0.42), (0.62, 0.42)
        points[48:68] = np.stack([np.linspace(0.4, 0.6, 20), np.full(20, 0.65)], axis=1)
        points[48], points[54] = (0.4, 0.65), (0.6, 0.65)
        scaled = (points * min(image.shape[:2])).astype(np.float32)
        return [Face(np.concatenate([scaled.min(0), scaled.max(0)]), 0.9, scaled)]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module with the addresses; the folder of the project is on the path as when its script runs."""
    monkeypatch.syspath_prepend(str(PROJECT))
    from web_demo import server

    return server


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the service puts temporary files."""
    folder = tmp_path / 'temporary'
    folder.mkdir()
    monkeypatch.setattr('tempfile.tempdir', str(folder))
    return folder


@pytest.fixture(scope='module')
def inferencer(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> IIDInferencer:
    path = tmp_path_factory.mktemp('weights') / 'tiny.pth'
    torch.manual_seed(0)
    torch.save(dict(state_dict=init_model(tiny_config).state_dict(), meta={}), path)
    return IIDInferencer(tiny_config, path, 'cpu', analyser=FixedAnalyser(), show_progress=False)


@pytest.fixture
def analyser(inferencer: IIDInferencer) -> Iterator[FixedAnalyser]:
    found = inferencer.analyser
    assert isinstance(found, FixedAnalyser)
    found.frames, found.held_from, found.fault = 0, 1, None
    yield found
    found.gate.set()
    found.fault = None


class Client:
    """What a browser does, and what it finds."""

    def __init__(self, client: Any, temporary: Path) -> None:
        self.http = client
        self.temporary = temporary

    def send(self, content: bytes | Path, name: str = 'clip.mp4') -> Any:
        data = content.read_bytes() if isinstance(content, Path) else content
        return self.http.post('/api/analyses', params={'name': name}, content=data)

    def begin(self, content: bytes | Path, name: str = 'clip.mp4') -> str:
        answer = self.send(content, name)
        assert answer.status_code == 202, answer.text
        return str(answer.json()['id'])

    def refused(self, status: int, content: bytes | Path, name: str = 'clip.mp4') -> str:
        answer = self.send(content, name)
        assert answer.status_code == status, answer.text
        assert self.files() == []
        return str(answer.json()['detail'])

    def status(self, key: str) -> dict[str, Any]:
        answer = self.http.get(f'/api/analyses/{key}')
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def wait(self, key: str) -> dict[str, Any]:
        return until(lambda: self.status(key), lambda found: found['state'] in ('done', 'failed'))

    def report(self, key: str) -> str:
        answer = self.http.get(f'/api/analyses/{key}/report')
        assert answer.status_code == 200, answer.text
        return str(answer.text)

    def files(self) -> list[Path]:
        """Uploads that are still there."""
        return sorted(path for path in self.temporary.rglob('upload_*'))


def until(look: Callable[[], Any], good: Callable[[Any], bool] = bool) -> Any:
    """Look again and again until it is good."""
    end = time.monotonic() + SECONDS
    while not good(found := look()):
        assert time.monotonic() < end, found
        time.sleep(0.01)
    return found


@pytest.fixture
def make_client(
    server: Any, inferencer: IIDInferencer, analyser: FixedAnalyser, temporary: Path
) -> Iterator[Callable[..., Client]]:
    made: list[Any] = []

    def make(**options: Any) -> Client:
        app = server.create_app(inferencer, **{'sampling': Sampling(frames=4), 'toy': None, **options})
        client = TestClient(app, base_url='http://127.0.0.1:7860')
        client.__enter__()
        made.append(client)
        return Client(client, temporary)

    yield make
    analyser.gate.set()
    for client in made:
        client.__exit__(None, None, None)
    # Nothing is left behind, whatever a test has done.
    assert list(temporary.iterdir()) == []


@pytest.fixture
def client(make_client: Callable[..., Client]) -> Client:
    return make_client()


@pytest.fixture(scope='module')
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frames = [np.full((120, 160, 3), 90 + 10 * i, np.uint8) for i in range(6)]
    return write_video(tmp_path_factory.mktemp('clips') / 'clip.mp4', frames)


def picture(level: int = 120, suffix: str = '.jpg') -> bytes:
    image = np.random.default_rng(level).integers(level - 20, level + 20, (120, 160, 3), dtype=np.uint8)
    return bytes(cv2.imencode(suffix, image)[1])


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


def test_the_page_tells_the_limits_and_needs_nothing_from_outside(
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


def test_a_video(client: Client, analyser: FixedAnalyser, clip: Path) -> None:
    analyser.gate.clear()
    key = client.begin(clip, 'My clip.mp4')
    until(lambda: analyser.frames)
    status = client.status(key)
    assert (status['state'], status['name'], status['ahead']) == ('running', 'My clip.mp4', 0)
    assert len(client.files()) == 1
    assert client.http.get(f'/api/analyses/{key}/report').status_code == 409
    analyser.gate.set()
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
    assert content.json()['frames']['analysed'] == 4
    assert str(client.temporary) not in content.text + report
    download = client.http.get(f'/api/analyses/{key}/report?download=true')
    assert download.headers['content-disposition'] == 'attachment; filename="My_clip_report.html"'
    assert download.text == report
    assert 'sandbox' in download.headers['content-security-policy']


def test_a_picture_without_a_face(client: Client) -> None:
    key = client.begin(picture(20, '.png'), 'dark.png')
    assert client.wait(key)['headline'] == 'No face found'
    assert 'This says nothing about whether the picture is genuine' in client.report(key)


@pytest.mark.parametrize('content', [picture()[:-300], b'\0\0\0\x18ftypisom' + bytes(500)])
def test_what_is_damaged_is_an_answer(client: Client, content: bytes) -> None:
    key = client.begin(content, 'broken')
    assert client.wait(key)['headline'] == 'The input could not be read'
    assert client.files() == []


@pytest.mark.parametrize(
    ('content', 'name', 'says'),
    [
        (
            b'just words',
            'clip.mp4',
            '"clip.mp4" is no picture and no video that is known here. Taken are JPEG',
        ),
        (b'%PDF-1.7', 'scan.jpg', '"scan.jpg" is a PDF document.'),
        (b'#EXTM3U\nfile:///etc/passwd', 'clip.mp4', 'a playlist; upload the video itself'),
        (b'ffconcat version 1.0\nfile /etc/passwd', 'clip.mkv', 'a playlist'),
        (b'<!DOCTYPE html>', 'a.png', 'a web page'),
        (b'\0\0\0\x18ftypheic', 'IMG_1.HEIC', 'a HEIC photo, which is not read here; save it as JPEG'),
        (b'II*\0....', 'a.tif', 'a TIFF'),
        (b'RIFF\0\0\0\0WAVEfmt ', 'a.wav', 'a sound recording'),
        (b'PK\x03\x04', 'clips.zip', 'an archive'),
    ],
)
def test_what_is_neither_picture_nor_video(client: Client, content: bytes, name: str, says: str) -> None:
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
def test_a_name_that_lies(client: Client, clip: Path, name: str, note: str) -> None:
    key = client.begin(clip, name)
    assert client.wait(key)['done'] == 4
    assert client.http.get(f'/api/analyses/{key}/json').json()['kind'] == 'video'
    report = client.report(key)
    assert (note in report) if note else ('Problems with the input' not in report)


def test_a_picture_with_the_name_of_a_video(client: Client) -> None:
    key = client.begin(picture(), 'clip.mp4')
    assert client.wait(key)['state'] == 'done'
    assert 'but the file is a JPEG picture' in client.report(key)


def test_too_large(server: Any, make_client: Callable[..., Client], clip: Path) -> None:
    client = make_client(limits=server.Limits(max_mib=1))
    big = bytes(2 * 2**20)
    assert '"clip.mp4" is too large: 2 MiB, and 1 MiB are taken.' in client.refused(413, big)
    # A sender who does not tell how much will come.
    chunks = (bytes(2**19) for _ in range(10))
    answer = client.http.post('/api/analyses', params={'name': 'a.mp4'}, content=chunks)
    assert answer.status_code == 413
    assert client.files() == []
    assert client.wait(client.begin(clip))['state'] == 'done'


def test_a_video_of_two_hours(client: Client, tmp_path: Path) -> None:
    file = long_video(tmp_path / 'long.mp4', 2 * 3600)
    message = client.refused(413, file, 'film.mp4')
    assert message.startswith('"film.mp4" is too long: 2:00:00 h, and 10:00 min are taken.')
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
    client: Client, analyser: FixedAnalyser, name: str, shown: str, file: str
) -> None:
    analyser.gate.clear()
    key = client.begin(picture(), name)
    (folder,) = client.files()
    assert [path.name for path in folder.iterdir()] == ['input.jpg']
    analyser.gate.set()
    assert client.wait(key)['name'] == shown
    assert '<b onload' not in client.report(key)
    content = client.http.get(f'/api/analyses/{key}/json')
    assert content.headers['content-disposition'] == f'attachment; filename="{file}"'
    assert content.json()['source'] == shown


def test_two_at_once_get_their_own_answers(client: Client, analyser: FixedAnalyser, clip: Path) -> None:
    analyser.gate.clear()
    first = client.begin(clip, 'first.mp4')
    until(lambda: analyser.frames)
    second, third = client.begin(picture(), 'second.jpg'), client.begin(picture(20), 'third.jpg')
    found = [client.status(key) for key in (first, second, third)]
    assert [(status['state'], status['ahead']) for status in found] == [
        ('running', 0),
        ('waiting', 1),
        ('waiting', 2),
    ]
    analyser.gate.set()
    for key, name in ((first, 'first.mp4'), (second, 'second.jpg'), (third, 'third.jpg')):
        assert client.wait(key)['state'] == 'done'
        report = client.report(key)
        assert [other in report for other in ('first.mp4', 'second.jpg', 'third.jpg')].count(True) == 1
        assert name in report
    assert client.status(third)['headline'] == 'No face found'


def test_uploads_at_the_same_time(client: Client, clip: Path) -> None:
    """From threads of their own, as browsers do."""
    keys: dict[int, str] = {}

    def visit(number: int) -> None:
        keys[number] = client.begin(clip if number % 2 else picture(), f'file {number}')

    visitors = [threading.Thread(target=visit, args=(number,)) for number in range(4)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    for number, key in keys.items():
        assert client.wait(key)['name'] == f'file {number}'
        assert client.http.get(f'/api/analyses/{key}/json').json()['kind'] == ['image', 'video'][number % 2]
    assert client.files() == []


def test_too_many(client: Client, analyser: FixedAnalyser, clip: Path) -> None:
    analyser.gate.clear()
    first = client.begin(clip)
    until(lambda: analyser.frames)
    keys = [client.begin(picture()) for _ in range(8)]
    answer = client.send(picture())
    assert answer.status_code == 503
    assert 'Too many others are waiting' in answer.json()['detail']
    assert len(client.files()) == 9
    analyser.gate.set()
    assert {client.wait(key)['state'] for key in (first, *keys)} == {'done'}
    assert client.wait(client.begin(picture()))['state'] == 'done'


def test_stopping_and_forgetting(client: Client, analyser: FixedAnalyser, clip: Path) -> None:
    analyser.gate.clear()
    running, waiting = client.begin(clip), client.begin(picture())
    until(lambda: analyser.frames)
    assert client.http.delete(f'/api/analyses/{waiting}').status_code == 204
    assert client.http.get(f'/api/analyses/{waiting}').status_code == 404
    assert len(client.files()) == 1
    assert client.http.delete(f'/api/analyses/{running}').status_code == 204
    analyser.gate.set()
    until(lambda: client.http.get(f'/api/analyses/{running}').status_code == 404)
    assert analyser.frames == 1
    assert client.files() == []
    key = client.begin(picture())
    client.wait(key)
    assert client.http.delete(f'/api/analyses/{key}').status_code == 204
    answer = client.http.get(f'/api/analyses/{key}/report')
    assert answer.status_code == 404
    assert 'no longer kept' in answer.json()['detail']
    assert client.http.delete(f'/api/analyses/{key}').status_code == 404


def test_answers_are_kept_for_a_while_and_not_too_many(client: Client) -> None:
    queue = client.http.app.state.service.queue
    queue._max_kept = 2
    keys = [client.begin(picture()) for _ in range(3)]
    until(lambda: client.http.get(f'/api/analyses/{keys[0]}').status_code == 404)
    assert client.wait(keys[2])['state'] == 'done'
    assert client.wait(keys[1])['state'] == 'done'
    queue._kept_seconds = 0
    assert client.http.get(f'/api/analyses/{keys[2]}').status_code == 404


@pytest.mark.parametrize(
    ('fault', 'message'),
    [
        (RuntimeError('secret detail'), 'an error in the program; its log tells more'),
        (InputError('the landmarks are odd'), 'the landmarks are odd'),
    ],
)
def test_a_defect_ends_one_analysis_only(
    client: Client, analyser: FixedAnalyser, fault: Exception, message: str
) -> None:
    analyser.fault = fault
    status = client.wait(client.begin(picture()))
    assert status['state'] == 'failed'
    assert message in status['message']
    assert 'secret' not in status['message']
    assert client.files() == []
    analyser.fault = None
    assert client.wait(client.begin(picture()))['state'] == 'done'


def test_the_end_stops_everything(
    make_client: Callable[..., Client], analyser: FixedAnalyser, clip: Path
) -> None:
    """The fixture looks for files that were left."""
    client = make_client()
    analyser.gate.clear()
    client.begin(clip)
    client.begin(clip)
    until(lambda: analyser.frames)
    threading.Timer(0.1, analyser.gate.set).start()
    client.http.__exit__(None, None, None)
    assert list(client.temporary.iterdir()) == []
    assert analyser.frames <= 2
    client.http.__enter__()


def test_other_sites_are_kept_out(server: Any, client: Client) -> None:
    address = '/api/analyses'
    for origin, status in (
        ('http://evil.example', 403),
        ('http://127.0.0.1:1', 403),
        ('null', 403),
        ('http://127.0.0.1:7860', 202),
    ):
        answer = client.http.post(address, content=picture(), headers={'Origin': origin})
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
        '/api/examples/0/picture',
        '/docs',
        '/openapi.json',
    ],
)
def test_addresses_that_are_not_there(client: Client, address: str) -> None:
    assert client.http.get(address).status_code == 404


def test_examples(make_client: Callable[..., Client]) -> None:
    toy = ToyConfig(
        num_identities=2, frames=2, size=96, methods=('FaceSwap',), split_fractions=(1.0, 0.0, 0.0)
    )
    client = make_client(toy=toy)
    found = until(lambda: client.http.get('/api/examples').json(), lambda found: found['ready'])
    words = [example['words'] for example in found['examples']]
    assert words == ['untouched video', 'face swap, video', 'face swap, picture']
    assert 'try an example' in client.http.get('/').text
    for number, kind in enumerate(('video', 'video', 'image')):
        data = np.frombuffer(client.http.get(f'/api/examples/{number}/picture').content, np.uint8)
        assert cv2.imdecode(data, cv2.IMREAD_COLOR).shape == (96, 96, 3)
        key = client.http.post(f'/api/examples/{number}').json()['id']
        assert client.wait(key)['state'] == 'done'
        assert client.http.get(f'/api/analyses/{key}/json').json()['kind'] == kind
    # They are there for the next visitor, too.
    assert client.http.post('/api/examples/1').status_code == 202
    assert client.http.post('/api/examples/3').status_code == 404


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (['--checkpoint', 'gone.pth', '--port', '0'], 'checkpoint gone.pth does not exist'),
        (['--checkpoint', 'x', '--port', '70000'], '--port 70000: give a number from 0 to 65535'),
        (['--checkpoint', 'x', '--port', 'TAKEN'], 'cannot be bound to (Address already in use)'),
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


def find_browser() -> str | None:
    names = ('chromium', 'chromium-browser', 'google-chrome')
    return next((path for name in names if (path := shutil.which(name))), None)


@pytest.fixture
def address(
    server: Any, inferencer: IIDInferencer, analyser: FixedAnalyser, temporary: Path
) -> Iterator[str]:
    """A server that is really there."""
    bound = socket.socket()
    bound.bind(('127.0.0.1', 0))
    app = server.create_app(inferencer, sampling=Sampling(frames=4), toy=None)
    running = uvicorn.Server(uvicorn.Config(app, log_level='error', timeout_graceful_shutdown=1))
    thread = threading.Thread(target=running.run, kwargs={'sockets': [bound]}, daemon=True)
    thread.start()
    until(lambda: running.started)
    yield f'http://127.0.0.1:{bound.getsockname()[1]}'
    running.should_exit = True
    thread.join(SECONDS)
    assert not thread.is_alive()
    assert list(temporary.iterdir()) == []


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    reason = "playwright is not installed; it is in the extra 'browser'"
    playwright = pytest.importorskip('playwright.sync_api', reason=reason)
    program = find_browser()
    if program is None:
        pytest.skip('no Chromium is installed; on Debian and Ubuntu: apt-get install chromium')
    with playwright.sync_playwright() as driver:
        # Chromium refuses its sandbox to the superuser, who runs tests in containers.
        flags = ['--no-sandbox'] if os.name == 'posix' and os.geteuid() == 0 else []
        running = driver.chromium.launch(executable_path=program, args=flags)
        yield running
        running.close()


def test_in_a_browser(
    browser: Any, address: str, analyser: FixedAnalyser, clip: Path, tmp_path: Path
) -> None:
    page = browser.new_page()
    trouble: list[str] = []
    outside: list[str] = []
    page.on('pageerror', lambda error: trouble.append(str(error)))
    page.on('console', lambda line: trouble.append(line.text) if line.type == 'error' else None)
    page.on('request', lambda r: None if r.url.startswith((address, 'data:')) else outside.append(r.url))
    page.goto(address)

    # Progress while it lasts, then the answer with timeline and boxes.
    analyser.gate.clear()
    analyser.held_from = 2
    page.set_input_files('#file', clip)
    page.wait_for_selector('#progress:visible')
    # No function of the page is waited for: its policy forbids what playwright would do for it.
    until(lambda: page.inner_text('#progress-text'), lambda text: text == 'Looking at frame 2 of 4')
    assert page.inner_text('#progress-name') == 'clip.mp4'
    analyser.gate.set()
    page.wait_for_selector('#answer:visible')
    report = page.frame_locator('#report')
    headline = report.locator('h1').inner_text()
    assert headline in ('The model calls it manipulated', 'The model finds no manipulation')
    assert page.title() == f'{headline}: clip.mp4'
    pictures = report.locator('img')
    assert pictures.count() == 1 + 1 + 4 * 2
    assert pictures.evaluate_all('all => all.every(i => i.complete && i.naturalWidth > 0)')
    # The frame is as high as the page in it.
    frame = page.query_selector('#report').content_frame()
    assert frame.evaluate('document.documentElement.scrollHeight <= window.innerHeight')
    with page.expect_download() as download:
        page.click('#download-report')
    assert download.value.suggested_filename == 'clip_report.html'
    saved = tmp_path / 'saved.html'
    download.value.save_as(saved)
    with page.expect_download() as download:
        page.click('#download-json')
    assert download.value.suggested_filename == 'clip.json'

    # A reload shows the answer again.
    page.reload()
    page.wait_for_selector('#answer:visible')
    assert (trouble, outside) == ([], [])

    # What cannot be taken is said, and the next file can be chosen.
    page.click('#again')
    (tmp_path / 'empty.mp4').touch()
    page.set_input_files('#file', tmp_path / 'empty.mp4')
    page.wait_for_selector('#problem:visible')
    assert 'is empty (0 bytes)' in page.inner_text('#problem')
    assert page.is_visible('#start')
    (tmp_path / 'photo.jpg').write_bytes(picture())
    page.set_input_files('#file', tmp_path / 'photo.jpg')
    page.wait_for_selector('#answer:visible')
    assert not page.is_visible('#problem')
    page.click('#forget')
    page.wait_for_selector('#start:visible')

    # The saved page works on its own, at the width of a phone.
    phone = browser.new_page(viewport={'width': 360, 'height': 700}, offline=True)
    phone.on('console', lambda line: trouble.append(line.text))
    trouble.clear()
    phone.goto(saved.as_uri())
    assert phone.inner_text('h1') == headline
    assert phone.evaluate('document.documentElement.scrollWidth <= window.innerWidth')
    assert phone.evaluate('[...document.images].every(i => i.naturalWidth > 0)')
    assert trouble == []
