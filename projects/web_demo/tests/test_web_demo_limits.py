# SPDX-License-Identifier: Apache-2.0
"""Limits of projects/web_demo against slow, greedy and hostile clients."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from iid_mm.inference.sampling import Sampling

from .web_client import SECONDS, Client, FixedAnalyzer, image_bytes, until

pytest.importorskip('fastapi', reason="the extra 'web' is not installed")
uvicorn = pytest.importorskip('uvicorn', reason="the extra 'web' is not installed")
pytest.importorskip('httpx', reason="the test client of FastAPI needs httpx, of the extra 'dev'")


@pytest.fixture
def running(server: Any, inferencer: Any, analyzer: FixedAnalyzer, temporary: Path) -> Iterator[Any]:
    """Starts real servers; returns the port of each."""
    from web_demo import connections

    started = []

    def start(**limits: float) -> int:
        app = server.create_app(
            inferencer, sampling=Sampling(frames=4), toy=None, limits=server.Limits(**limits)
        )
        bound = socket.socket()
        bound.bind(('127.0.0.1', 0))
        config = uvicorn.Config(
            app,
            http=connections.GuardedProtocol,
            ws='none',
            log_level='error',
            timeout_graceful_shutdown=1,
            timeout_keep_alive=1,
            proxy_headers=False,
        )
        service = uvicorn.Server(config)
        thread = threading.Thread(target=service.run, kwargs={'sockets': [bound]}, daemon=True)
        thread.start()
        started.append((service, thread))
        until(lambda: service.started)
        return int(bound.getsockname()[1])

    yield start
    for service, thread in started:
        service.should_exit = True
        thread.join(SECONDS)
        assert not thread.is_alive()
    assert list(temporary.iterdir()) == []


def open_request(port: int, lines: str, body: bytes = b'') -> socket.socket:
    connection = socket.create_connection(('127.0.0.1', port), timeout=SECONDS)
    connection.sendall(f'{lines}\r\nHost: 127.0.0.1:{port}\r\n'.encode() + body)
    return connection


def open_upload(port: int, body: bytes = b'\0', how: str = 'Content-Length: 1000000') -> socket.socket:
    return open_request(port, f'POST /api/analyses?name=slow.mp4 HTTP/1.1\r\n{how}', b'\r\n' + body)


def answer_of(connection: socket.socket) -> str:
    found = b''
    while block := connection.recv(65536):
        found += block
    return found.decode()


def is_closed(connection: socket.socket) -> bool:
    """Whether the server closes a connection; a timeout raises."""
    try:
        while connection.recv(65536):
            pass
    except ConnectionError:
        pass
    return True


def upload(port: int) -> str:
    body = image_bytes()
    how = f'Content-Length: {len(body)}\r\nConnection: close'
    return answer_of(open_upload(port, body, how))


def test_slow_uploads_keep_nobody_out(running: Callable[..., int]) -> None:
    """More uploads than one client may have, none of which has sent more than a byte."""
    port = running()
    slow = [open_upload(port) for _ in range(20)]
    time.sleep(0.2)
    assert ' 202 ' in upload(port)
    for connection in slow:
        connection.close()


@pytest.mark.parametrize('how', ['Content-Length: 1000000', 'Transfer-Encoding: chunked'])
def test_an_upload_must_keep_up_a_rate(running: Callable[..., int], how: str) -> None:
    port = running(grace_seconds=0.5)
    body = b'1\r\n\0\r\n' if 'chunked' in how else b'\0'
    connection = open_upload(port, body, how)
    for _ in range(3):
        time.sleep(0.1)
        connection.sendall(body)
    text = answer_of(connection)
    assert ' 408 ' in text
    assert 'was too slow: ' in text
    assert 'At least 16 KiB per second are needed' in text


def test_an_upload_has_a_total_deadline(running: Callable[..., int]) -> None:
    """Whatever its rate."""
    port = running(upload_seconds=0.6)
    connection = open_upload(port, bytes(4), 'Content-Length: 100000000')
    begun = time.monotonic()
    while not select.select([connection], [], [], 0.01)[0]:
        assert time.monotonic() - begun < SECONDS
        # What could be the start of a video: "....wide".
        connection.sendall(b'wide' + bytes(20_000))
    assert b' 408 ' in connection.recv(100)
    assert time.monotonic() - begun > 0.5
    connection.close()


def test_unsupported_types_are_refused_before_the_rest_is_sent(running: Callable[..., int]) -> None:
    connection = open_upload(running(), b'%PDF-1.7' + bytes(1000))
    assert ' 415 ' in answer_of(connection)


def test_a_form_is_refused(client: Client) -> None:
    answer = client.http.post('/api/analyses', files={'file': ('a.jpg', image_bytes())})
    assert answer.status_code == 415
    assert answer.json()['detail'].startswith('Send the file itself as the body')


def test_disk_space_is_limited(server: Any, make_client: Callable[..., Client], monkeypatch: Any) -> None:
    from web_demo import running_uploads

    monkeypatch.setattr(running_uploads, 'DISK_FILES', 1)
    client = make_client(limits=server.Limits(max_mib=1))
    body = image_bytes() + bytes(600_000)
    assert 'There is no space for more uploads' in client.refused(507, body)
    assert client.wait(client.begin(image_bytes()))['state'] == 'done'


def test_headers_and_idle_connections_have_a_deadline(running: Callable[..., int], monkeypatch: Any) -> None:
    from web_demo import connections

    monkeypatch.setattr(connections, 'HEADER_SECONDS', 0.3)
    monkeypatch.setattr(connections, 'LOOK_SECONDS', 0.1)
    port = running()
    silent = socket.create_connection(('127.0.0.1', port), timeout=5)
    slow = open_request(port, 'GET / HTTP/1.1')
    second = open_request(port, 'GET /page/page.js HTTP/1.1', b'\r\n')
    assert second.recv(20).startswith(b'HTTP/1.1 200')
    second.sendall(b'GET / HT')
    for connection in (silent, slow, second):
        assert is_closed(connection)


def test_clients_that_do_not_read_are_disconnected(
    running: Callable[..., int], server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from web_demo import connections

    lost = threading.Event()

    class Watched(connections.GuardedProtocol):
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            lost.set()

    monkeypatch.setattr(connections, 'GuardedProtocol', Watched)
    monkeypatch.setattr(connections, 'LOOK_SECONDS', 0.1)
    monkeypatch.setattr(server.HTMLResponse, 'render', lambda *_: bytes(50_000_000))
    port = running()
    connection = open_request(port, 'GET / HTTP/1.1', b'\r\n')
    assert lost.wait(SECONDS)
    connection.close()


def test_connections_of_one_client_have_a_limit(running: Callable[..., int], monkeypatch: Any) -> None:
    from web_demo import connections

    monkeypatch.setattr(connections, 'MAX_CONNECTIONS_A_CLIENT', 3)
    port = running()
    idle = [socket.create_connection(('127.0.0.1', port), timeout=5) for _ in range(3)]
    # The oldest gives way.
    assert ' 202 ' in upload(port)
    assert is_closed(idle[0])
    for connection in idle:
        connection.close()


@pytest.mark.parametrize(
    ('host', 'client'),
    [
        ('192.0.2.7', '192.0.2.7'),
        ('::ffff:192.0.2.7', '192.0.2.7'),
        ('2001:db8:1:2:3::4', '2001:db8:1:2::/64'),
        ('fe80::1%eth0', 'fe80::/64'),
        (None, ''),
        ('testclient', 'testclient'),
    ],
)
def test_who_counts_as_one_client(server: Any, host: str | None, client: str) -> None:
    from web_demo.connections import client_of

    assert client_of(host) == client


def test_clients_take_turns_and_have_their_own_limits(server: Any, tmp_path: Path) -> None:
    from web_demo.analyses import MAX_WAITING, MAX_WAITING_A_CLIENT, Analysis, AnalysisQueue

    gate, order = threading.Event(), []

    def analyze(analysis: Any, progress: Any) -> Any:
        order.append(analysis.name)
        assert gate.wait(SECONDS)
        return None

    queue = AnalysisQueue(analyze)
    try:
        assert queue.add(Analysis('a0', tmp_path, client='a', size=7))
        until(lambda: order)
        for number in range(1, MAX_WAITING_A_CLIENT + 1):
            assert queue.add(Analysis(f'a{number}', tmp_path, client='a', size=7))
        assert not queue.has_room('a')
        assert not queue.add(Analysis('more', tmp_path, client='a'))
        late = Analysis('b0', tmp_path, client='b')
        assert queue.add(late)
        assert queue.ahead(late) == 1
        assert (queue.stored_bytes('a'), queue.stored_bytes('b')) == (7 * (MAX_WAITING_A_CLIENT + 1), 0)
        names = iter(range(100))
        while queue.has_room('other'):
            assert queue.add(Analysis('x', tmp_path, client=f'c{next(names)}'))
        assert len(queue._waiting) == MAX_WAITING
        gate.set()
        until(lambda: len(order) == MAX_WAITING + 1)
        assert order[:2] == ['a0', 'b0']
        assert order[-1] == f'a{MAX_WAITING_A_CLIENT}'
    finally:
        gate.set()
        queue.close()


def test_results_of_one_client_do_not_displace_those_of_others(server: Any, tmp_path: Path) -> None:
    from web_demo.analyses import Analysis, AnalysisQueue

    queue = AnalysisQueue(lambda analysis, progress: None, max_kept=3)
    try:
        mine = Analysis('mine', tmp_path, client='b')
        queue.add(mine)
        others = [Analysis('x', tmp_path, client='a') for _ in range(5)]
        for other in others:
            queue.add(other)
        until(lambda: all(other.ended for other in (mine, *others)))
        assert queue.get(mine.key) is mine
        assert [queue.get(other.key) is not None for other in others] == [False] * 3 + [True] * 2
    finally:
        queue.close()


def test_an_analysis_has_a_time_limit(
    server: Any, make_client: Callable[..., Client], analyzer: FixedAnalyzer, clip: Path
) -> None:
    client = make_client(limits=server.Limits(analysis_seconds=0.3))
    analyzer.gate.clear()
    key = client.begin(clip)
    until(lambda: analyzer.frames)
    time.sleep(0.4)
    analyzer.gate.set()
    status = client.wait(key)
    assert status['state'] == 'failed'
    assert 'took longer than 0.3 s, the limit' in status['message']


@pytest.mark.parametrize(
    ('host', 'names', 'asked', 'status'),
    [
        ('127.0.0.1', (), 'evil.example', 400),
        ('127.0.0.1', (), '10.0.0.1', 400),
        ('127.0.0.1', (), '', 400),
        ('127.0.0.1', (), 'a@127.0.0.1', 400),
        ('127.0.0.1', (), '127.0.0.1.evil.example', 400),
        ('127.0.0.1', ('demo.example',), 'Demo.example', 200),
        ('0.0.0.0', (), 'evil.example', 400),
        ('0.0.0.0', (), '10.0.0.1:7860', 200),
        ('0.0.0.0', (), '[2001:db8::1]:7860', 200),
        ('0.0.0.0', (), socket.gethostname(), 200),
        ('0.0.0.0', ('demo.example',), 'demo.example', 200),
    ],
)
def test_names_of_the_server(
    make_client: Callable[..., Client], host: str, names: tuple[str, ...], asked: str, status: int
) -> None:
    client = make_client(host=host, public_names=names)
    answer = client.http.get('/', headers={'Host': asked})
    assert answer.status_code == status
    assert answer.headers['x-content-type-options'] == 'nosniff'


@pytest.mark.parametrize(
    'headers',
    [
        {'Sec-Fetch-Site': 'cross-site'},
        {'Sec-Fetch-Site': 'same-site'},
        {'Origin': 'http://['},
        {'Origin': 'https://127.0.0.1:7860.evil.example'},
    ],
)
def test_cross_site_requests(client: Client, headers: dict[str, str]) -> None:
    key = client.begin(image_bytes())
    assert client.http.delete(f'/api/analyses/{key}', headers=headers).status_code == 403
    assert client.http.post('/api/examples/0', headers=headers).status_code == 403
    assert client.wait(key)['state'] == 'done'


@pytest.mark.parametrize(('proxy', 'seen'), [(None, '127.0.0.1'), ('127.0.0.1', '192.0.2.9')])
def test_only_a_trusted_proxy_may_forward_addresses(
    server: Any, monkeypatch: pytest.MonkeyPatch, proxy: str | None, seen: str
) -> None:
    """With the settings of the script; uvicorn's defaults trust every client on this machine."""
    import argparse
    import asyncio

    import app

    clients = []

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        clients.append(scope['client'][0])

    def run(service: Any, sockets: Any) -> None:
        service.config.load()
        scope = {
            'type': 'http',
            'client': ('127.0.0.1', 1),
            'headers': [(b'x-forwarded-for', b'192.0.2.9')],
            'scheme': 'http',
        }
        asyncio.run(service.config.loaded_app(scope, None, None))

    monkeypatch.setattr(server, 'create_app', lambda *_, **__: answer)
    monkeypatch.setattr(uvicorn.Server, 'run', run)
    args = argparse.Namespace(host='127.0.0.1', public_name=[], no_examples=True, trusted_proxy=proxy)
    worker = argparse.Namespace(analyze=None)
    with socket.socket() as bound:
        bound.bind(('127.0.0.1', 0))
        app.serve(args, worker, Sampling(), server.Limits(), bound)
    assert clients == [seen]
