# SPDX-License-Identifier: Apache-2.0
"""Queue of projects/web_demo: several clients, stored results, stopped and failing analyses."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from iid_mm.errors import InputError

from .web_client import Client, FixedAnalyzer, image_bytes, until

pytest.importorskip('fastapi', reason="the extra 'web' is not installed")
pytest.importorskip('uvicorn', reason="the extra 'web' is not installed")
pytest.importorskip('httpx', reason="the test client of FastAPI needs httpx, of the extra 'dev'")


def test_every_client_gets_its_own_result(client: Client, analyzer: FixedAnalyzer, clip: Path) -> None:
    analyzer.gate.clear()
    first = client.begin(clip, 'first.mp4')
    until(lambda: analyzer.frames)
    second, third = client.begin(image_bytes(), 'second.jpg'), client.begin(image_bytes(20), 'third.jpg')
    found = [client.status(key) for key in (first, second, third)]
    assert [(status['state'], status['ahead']) for status in found] == [
        ('running', 0),
        ('waiting', 1),
        ('waiting', 2),
    ]
    analyzer.gate.set()
    for key, name in ((first, 'first.mp4'), (second, 'second.jpg'), (third, 'third.jpg')):
        assert client.wait(key)['state'] == 'done'
        report = client.report(key)
        assert [other in report for other in ('first.mp4', 'second.jpg', 'third.jpg')].count(True) == 1
        assert name in report
    assert client.status(third)['headline'] == 'No face found'


def test_uploads_at_the_same_time(client: Client, clip: Path) -> None:
    """From several threads."""
    keys: dict[int, str] = {}

    def visit(number: int) -> None:
        keys[number] = client.begin(clip if number % 2 else image_bytes(), f'file {number}')

    visitors = [threading.Thread(target=visit, args=(number,)) for number in range(4)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    for number, key in keys.items():
        assert client.wait(key)['name'] == f'file {number}'
        assert client.http.get(f'/api/analyses/{key}/json').json()['kind'] == ['image', 'video'][number % 2]
    assert client.files() == []


def test_too_many(client: Client, analyzer: FixedAnalyzer, clip: Path) -> None:
    analyzer.gate.clear()
    first = client.begin(clip)
    until(lambda: analyzer.frames)
    keys = [client.begin(image_bytes()) for _ in range(8)]
    answer = client.send(image_bytes())
    assert answer.status_code == 503
    assert 'Too many others are waiting' in answer.json()['detail']
    assert len(client.files()) == 9
    analyzer.gate.set()
    assert {client.wait(key)['state'] for key in (first, *keys)} == {'done'}
    assert client.wait(client.begin(image_bytes()))['state'] == 'done'


def test_stopping_and_forgetting(client: Client, analyzer: FixedAnalyzer, clip: Path) -> None:
    analyzer.gate.clear()
    running, waiting = client.begin(clip), client.begin(image_bytes())
    until(lambda: analyzer.frames)
    assert client.http.delete(f'/api/analyses/{waiting}').status_code == 204
    assert client.http.get(f'/api/analyses/{waiting}').status_code == 404
    assert len(client.files()) == 1
    assert client.http.delete(f'/api/analyses/{running}').status_code == 204
    analyzer.gate.set()
    until(lambda: client.http.get(f'/api/analyses/{running}').status_code == 404)
    assert analyzer.frames == 1
    assert client.files() == []
    key = client.begin(image_bytes())
    client.wait(key)
    assert client.http.delete(f'/api/analyses/{key}').status_code == 204
    answer = client.http.get(f'/api/analyses/{key}/report')
    assert answer.status_code == 404
    assert 'no longer kept' in answer.json()['detail']
    assert client.http.delete(f'/api/analyses/{key}').status_code == 404


def test_results_are_kept_for_a_limited_time_and_number(client: Client) -> None:
    queue = client.http.app.state.service.queue
    queue._max_kept = 2
    keys = [client.begin(image_bytes()) for _ in range(3)]
    until(lambda: client.http.get(f'/api/analyses/{keys[0]}').status_code == 404)
    assert client.wait(keys[2])['state'] == 'done'
    assert client.wait(keys[1])['state'] == 'done'
    queue._kept_seconds = 0
    assert client.http.get(f'/api/analyses/{keys[2]}').status_code == 404


@pytest.mark.parametrize(
    ('fault', 'message'),
    [
        (RuntimeError('secret detail'), 'an error in the program; see its log'),
        (InputError('the landmarks are odd'), 'the landmarks are odd'),
    ],
)
def test_a_bug_ends_only_one_analysis(
    client: Client, analyzer: FixedAnalyzer, fault: Exception, message: str
) -> None:
    analyzer.fault = fault
    status = client.wait(client.begin(image_bytes()))
    assert status['state'] == 'failed'
    assert message in status['message']
    assert 'secret' not in status['message']
    assert client.files() == []
    analyzer.fault = None
    assert client.wait(client.begin(image_bytes()))['state'] == 'done'


def test_shutdown_stops_everything(
    make_client: Callable[..., Client], analyzer: FixedAnalyzer, clip: Path
) -> None:
    """The fixture checks for leftover files."""
    client = make_client()
    analyzer.gate.clear()
    client.begin(clip)
    client.begin(clip)
    until(lambda: analyzer.frames)
    threading.Timer(0.1, analyzer.gate.set).start()
    client.http.__exit__(None, None, None)
    assert list(client.temporary.iterdir()) == []
    assert analyzer.frames <= 2
    client.http.__enter__()
