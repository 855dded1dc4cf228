# SPDX-License-Identifier: Apache-2.0
"""The pages and addresses of the service."""

from __future__ import annotations

import ipaddress
import json
import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from iid_mm.apis import IIDInferencer
from iid_mm.inference.media import VIDEO
from iid_mm.inference.sampling import Sampling
from iid_mm.toy import ToyConfig
from web_demo.analyses import DONE, KEPT_SECONDS, WAITING, Analysis, AnalysisQueue, Answer, analyse_file
from web_demo.examples import TOY, Examples
from web_demo.uploads import (
    Limits,
    RefusedUpload,
    check_duration,
    check_length,
    clock,
    receive,
    shown_name,
    suffix_note,
    tell_type,
)

PAGE = Path(__file__).parent / 'page'
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
REPORT_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'self'; "
    'sandbox allow-same-origin'
)
LOCAL_NAMES = ('localhost', '127.0.0.1', '[::1]')


class Service:
    """What the addresses share; made when the server starts.

    Args:
        inferencer: Analyses files.
        sampling: Which frames of videos are looked at.
        limits: What may be uploaded.
        toy: Examples; None: none.
    """

    def __init__(
        self, inferencer: IIDInferencer, sampling: Sampling, limits: Limits, toy: ToyConfig | None
    ) -> None:
        self.limits = limits
        self._folder = tempfile.TemporaryDirectory(prefix='iid_mm_web_')
        self.folder = Path(self._folder.name)
        self.queue = AnalysisQueue(partial(analyse_file, inferencer, sampling))
        self.examples = Examples(self.folder / 'examples', toy)

    def close(self) -> None:
        """Stop everything and delete all files."""
        self.queue.close()
        self.examples.close()
        self._folder.cleanup()

    async def take_upload(self, request: Request, name: str) -> Analysis:
        """Store and check an upload and let it wait for its turn.

        Raises:
            RefusedUpload: It is not taken.
        """
        length = request.headers.get('content-length', '')
        check_length(int(length) if length.isdecimal() else None, name, self.limits)
        if not self.queue.reserve():
            raise RefusedUpload(503, 'Too many others are waiting. Please try again in a minute.')
        folder = Path(tempfile.mkdtemp(prefix='upload_', dir=self.folder))
        try:
            part = folder / 'part'
            head = await receive(request.stream(), part, name, self.limits)
            found = tell_type(head, name)
            # The name of the file is ours, its ending that of what it is.
            path = part.rename(folder / f'input{found.suffixes[0]}')
            if found.kind == VIDEO:
                await run_in_threadpool(check_duration, path, name, self.limits)
            analysis = Analysis(name, path, folder, suffix_note(found, name))
            self.queue.add(analysis)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            self.queue.release()
        return analysis


def create_app(
    inferencer: IIDInferencer,
    *,
    host: str = '127.0.0.1',
    limits: Limits | None = None,
    sampling: Sampling | None = None,
    toy: ToyConfig | None = TOY,
) -> FastAPI:
    """Make the service.

    Args:
        inferencer: Analyses files.
        host: Address it is bound to. On this machine's own addresses only requests for such are answered,
            so that pages of other sites cannot reach it under a name of theirs.
        limits: What may be uploaded.
        sampling: Which frames of videos are looked at; default 32 evenly spaced ones.
        toy: Examples that are made at the start; None: none.
    """
    limits, sampling = limits or Limits(), sampling or Sampling()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.service = service = Service(inferencer, sampling, limits, toy)
        try:
            yield
        finally:
            await run_in_threadpool(service.close)

    # FastAPI's own pages about the addresses load scripts from elsewhere.
    app = FastAPI(title='iid_mm', lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=_allowed_hosts(host))
    app.mount('/page', StaticFiles(directory=PAGE / 'static'), name='static')
    environment = Environment(loader=FileSystemLoader(PAGE), autoescape=True, undefined=StrictUndefined)
    page = environment.get_template('index.html.j2').render(
        limits=limits,
        longest=clock(limits.max_seconds),
        sampling=sampling,
        kept_minutes=round(KEPT_SECONDS / 60),
        facts=inferencer.facts,
        has_examples=toy is not None,
    )
    app.add_api_route('/', lambda: HTMLResponse(page), methods=['GET'], response_model=None)
    _add_analyses(app)
    _add_examples(app)
    return app


def is_local(host: str) -> bool:
    """Whether an address is one of this machine's own, which others cannot reach."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == 'localhost'


def _allowed_hosts(host: str) -> list[str]:
    return [*LOCAL_NAMES, host] if is_local(host) else ['*']


def _add_analyses(app: FastAPI) -> None:
    @app.post('/api/analyses', status_code=202)
    async def start(request: Request, name: str = 'upload') -> dict[str, Any]:
        """Begin an analysis; the body is the file itself."""
        try:
            analysis = await _service(request).take_upload(request, shown_name(name))
        except RefusedUpload as error:
            raise HTTPException(error.status, error.message) from error
        except ClientDisconnect as error:
            raise HTTPException(400, 'The upload was broken off.') from error
        except OSError as error:
            raise HTTPException(507, f'The upload cannot be stored ({error.strerror or error}).') from error
        return _status(request, analysis)

    @app.get('/api/analyses/{key}')
    def status(request: Request, key: str) -> dict[str, Any]:
        """How far an analysis is."""
        return _status(request, _find(request, key))

    @app.delete('/api/analyses/{key}', status_code=204)
    def remove(request: Request, key: str) -> Response:
        """Stop an analysis, or forget its answer."""
        if not _service(request).queue.remove(key):
            raise _unknown()
        return Response(status_code=204)

    @app.get('/api/analyses/{key}/report', response_class=HTMLResponse)
    def report(request: Request, key: str, download: bool = False) -> HTMLResponse:
        """The page about a finished analysis."""
        analysis, answer = _finished(request, key)
        headers = {'Content-Security-Policy': REPORT_POLICY, 'X-Frame-Options': 'SAMEORIGIN'}
        if download:
            headers.update(_as_file(analysis, '_report.html'))
        return HTMLResponse(answer.report, headers=headers)

    @app.get('/api/analyses/{key}/json')
    def content(request: Request, key: str) -> Response:
        """Everything that was found, as JSON."""
        analysis, answer = _finished(request, key)
        text = json.dumps(answer.content, indent=2) + '\n'
        return Response(text, media_type='application/json', headers=_as_file(analysis, '.json'))


def _add_examples(app: FastAPI) -> None:
    @app.get('/api/examples')
    def examples(request: Request) -> dict[str, Any]:
        """The examples, and whether more will come."""
        found = _service(request).examples
        ready = found.ready
        return {'ready': ready, 'examples': [{'words': example.words} for example in found.all()]}

    @app.get('/api/examples/{number}/picture')
    def picture(request: Request, number: int) -> Response:
        """What an example looks like."""
        return Response(_example(request, number).picture, media_type='image/jpeg')

    @app.post('/api/examples/{number}', status_code=202)
    def start_example(request: Request, number: int) -> dict[str, Any]:
        """Begin the analysis of an example."""
        example, queue = _example(request, number), _service(request).queue
        if not queue.reserve():
            raise HTTPException(503, 'Too many others are waiting. Please try again in a minute.')
        analysis = Analysis(example.name, example.path)
        queue.add(analysis)
        queue.release()
        return _status(request, analysis)

    def _example(request: Request, number: int) -> Any:
        found = _service(request).examples.all()
        if not 0 <= number < len(found):
            raise HTTPException(404, 'There is no such example.')
        return found[number]


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _unknown() -> HTTPException:
    return HTTPException(404, 'There is no such analysis, or it is no longer kept. Please start again.')


def _find(request: Request, key: str) -> Analysis:
    analysis = _service(request).queue.get(key)
    if analysis is None:
        raise _unknown()
    return analysis


def _finished(request: Request, key: str) -> tuple[Analysis, Answer]:
    analysis = _find(request, key)
    if analysis.state != DONE or analysis.answer is None:
        raise HTTPException(409, 'The analysis is not finished.')
    return analysis, analysis.answer


def _status(request: Request, analysis: Analysis) -> dict[str, Any]:
    state = analysis.state
    return {
        'id': analysis.key,
        'name': analysis.name,
        'state': state,
        'ahead': _service(request).queue.ahead(analysis) if state == WAITING else 0,
        'done': analysis.done,
        'total': analysis.total,
        'message': analysis.message,
        'headline': analysis.answer.headline if analysis.answer else '',
    }


def _as_file(analysis: Analysis, suffix: str) -> dict[str, str]:
    stem = re.sub(r'[^A-Za-z0-9_-]+', '_', Path(analysis.name).stem).strip('_') or 'answer'
    return {'Content-Disposition': f'attachment; filename="{stem}{suffix}"'}


class Guard:
    """Sets the headers that keep browsers safe, and refuses requests that pages of other sites make."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope['type'] != 'http':
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message['type'] == 'http.response.start':
                headers = MutableHeaders(scope=message)
                headers.setdefault('Content-Security-Policy', PAGE_POLICY)
                headers.setdefault('X-Frame-Options', 'DENY')
                headers['X-Content-Type-Options'] = 'nosniff'
                headers['Referrer-Policy'] = 'no-referrer'
                headers['Cache-Control'] = 'no-store'
            await send(message)

        headers = Headers(scope=scope)
        origin = headers.get('origin')
        if scope['method'] not in ('GET', 'HEAD') and origin and urlsplit(origin).netloc != headers['host']:
            refused = Response('{"detail": "not from another site"}', 403, media_type='application/json')
            await refused(scope, receive, guarded)
            return
        await self.app(scope, receive, guarded)
