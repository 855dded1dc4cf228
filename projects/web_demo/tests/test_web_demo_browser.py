# SPDX-License-Identifier: Apache-2.0
"""The web page of projects/web_demo in a browser."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from iid_mm.apis import IIDInferencer
from iid_mm.inference.sampling import Sampling

from .web_client import SECONDS, FixedAnalyzer, image_bytes, until

pytest.importorskip('fastapi', reason="the extra 'web' is not installed")
uvicorn = pytest.importorskip('uvicorn', reason="the extra 'web' is not installed")
pytest.importorskip('httpx', reason="the test client of FastAPI needs httpx, of the extra 'dev'")


def find_browser() -> str | None:
    names = ('chromium', 'chromium-browser', 'google-chrome')
    return next((path for name in names if (path := shutil.which(name))), None)


@pytest.fixture
def address(
    server: Any, inferencer: IIDInferencer, analyzer: FixedAnalyzer, temporary: Path
) -> Iterator[str]:
    """A real server."""
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


@pytest.mark.slow
def test_in_a_browser(
    browser: Any, address: str, analyzer: FixedAnalyzer, clip: Path, tmp_path: Path
) -> None:
    page = browser.new_page()
    trouble: list[str] = []
    outside: list[str] = []
    page.on('pageerror', lambda error: trouble.append(str(error)))
    page.on('console', lambda line: trouble.append(line.text) if line.type == 'error' else None)
    page.on('request', lambda r: None if r.url.startswith((address, 'data:')) else outside.append(r.url))
    page.goto(address)

    # Progress, then the report with timeline and boxes.
    analyzer.gate.clear()
    analyzer.held_from = 2
    page.set_input_files('#file', clip)
    page.wait_for_selector('#progress:visible')
    # Not with playwright's wait_for_function, which the page's policy forbids.
    until(lambda: page.inner_text('#progress-text'), lambda text: text == 'Analyzing frame 2 of 4')
    assert page.inner_text('#progress-name') == 'clip.mp4'
    analyzer.gate.set()
    page.wait_for_selector('#answer:visible')
    report = page.frame_locator('#report')
    headline = report.locator('h1').inner_text()
    assert headline in ('The model calls it manipulated', 'The model finds no manipulation')
    assert page.title() == f'{headline}: clip.mp4'
    images = report.locator('img')
    assert images.count() == 1 + 1 + 4 * 2
    assert images.evaluate_all('all => all.every(i => i.complete && i.naturalWidth > 0)')
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

    # A reload shows the report again.
    page.reload()
    page.wait_for_selector('#answer:visible')
    assert (trouble, outside) == ([], [])

    # A refused file shows a message, and the next one can be chosen.
    page.click('#again')
    (tmp_path / 'empty.mp4').touch()
    page.set_input_files('#file', tmp_path / 'empty.mp4')
    page.wait_for_selector('#problem:visible')
    assert 'is empty (0 bytes)' in page.inner_text('#problem')
    assert page.is_visible('#start')
    (tmp_path / 'photo.jpg').write_bytes(image_bytes())
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
