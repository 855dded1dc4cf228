# SPDX-License-Identifier: Apache-2.0
"""The web application: page and HTTP interface."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import ClientDisconnect

from iid_mm.apis import IIDInferencer
from iid_mm.inference.analysis import Progress
from iid_mm.inference.media import VIDEO
from iid_mm.inference.sampling import Sampling
from iid_mm.toy import ToyConfig
from iid_mm.utils.files import reason_of
from web_demo.analyses import DONE, KEPT_SECONDS, WAITING, Analysis, AnalysisQueue, Answer, analyze_file
from web_demo.connections import client_of
from web_demo.examples import TOY, Examples
from web_demo.folders import FOLDER_PREFIX, LOCK, clean_up, hold
from web_demo.guard import Guard, is_local, is_ours
from web_demo.probe import ProbeFailed, probe_duration
from web_demo.running_uploads import RunningUploads, Upload
from web_demo.upload_rules import (
    Limits,
    RefusedUpload,
    check_duration,
    check_length,
    clock,
    detect_type,
    shown_name,
    suffix_note,
)

if TYPE_CHECKING:
    from web_demo.worker import Worker

__all__ = ['Limits', 'Service', 'create_app', 'is_local']

PAGE = Path(__file__).parent / 'page'
REPORT_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'self'; "
    'sandbox allow-same-origin'
)
MAX_PROBES = 4
"""Videos whose length is read at the same time."""
TOO_MANY = 'Too many others are waiting. Please try again in a minute.'


class Service:
    """State of the server, created when it starts.

    Args:
        analyze: Analyzes a file.
        limits: Limits of uploads and analyses.
        toy: Config of the examples; None: no examples.
    """

    def __init__(
        self, analyze: Callable[[Analysis, Progress], Answer], limits: Limits, toy: ToyConfig | None
    ) -> None:
        self.limits = limits
        clean_up()
        self._folder = tempfile.TemporaryDirectory(prefix=FOLDER_PREFIX)
        self.folder = Path(self._folder.name)
        self._lock = hold(self.folder / LOCK)
        self.queue = AnalysisQueue(analyze, max_seconds=limits.analysis_seconds)
        self.uploads = RunningUploads(limits, self.queue.stored_bytes)
        self._probes = asyncio.Semaphore(MAX_PROBES)
        self.examples = Examples(self.folder / 'examples', toy)

    def close(self) -> None:
        """Stop everything and delete all files."""
        self.queue.close()
        self.examples.close()
        if self._lock is not None:
            os.close(self._lock)
        self._folder.cleanup()

    async def take_upload(self, request: Request, name: str) -> Analysis:
        """Store and check an upload and add it to the queue.

        Raises:
            RefusedUpload: It is not accepted.
        """
        client = client_of(request.client.host if request.client else None)
        length = request.headers.get('content-length', '')
        is_number = re.fullmatch(r'[0-9]{1,18}', length)
        check_length(int(length) if is_number else None, name, self.limits)
        if request.headers.get('content-type', '').lower().startswith('multipart/'):
            raise RefusedUpload(415, 'Send the file itself as the body of the request, not a form.')
        # Refuse early, before the file is sent; the place in the queue is taken when it is complete.
        if not self.queue.has_room(client):
            raise RefusedUpload(503, TOO_MANY)
        with self.uploads.admit(client, name) as upload:
            folder = Path(tempfile.mkdtemp(prefix='upload_', dir=self.folder))
            try:
                analysis = await self._receive(request, folder, upload)
                if not self.queue.add(analysis):
                    raise RefusedUpload(503, TOO_MANY)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        return analysis

    async def _receive(self, request: Request, folder: Path, upload: Upload) -> Analysis:
        part, name = folder / 'part', upload.name
        head = await self.uploads.receive(request.stream(), part, upload)
        found = detect_type(head, name)
        # Neither name nor suffix of the stored file is that of the user.
        path = part.rename(folder / f'input{found.suffixes[0]}')
        if found.kind == VIDEO:
            async with self._probes:
                seconds = await self._probe(request, path, name)
            check_duration(seconds, name, self.limits)
        note = suffix_note(found, name)
        return Analysis(name, path, folder, note, client=upload.client, size=upload.received)

    async def _probe(self, request: Request, path: Path, name: str) -> float:
        """Read the length of a video while the client stays connected."""
        stop = threading.Event()
        task = asyncio.ensure_future(run_in_threadpool(probe_duration, path, stop))
        try:
            while not (await asyncio.wait({task}, timeout=0.25))[0]:
                if await request.is_disconnected():
                    raise ClientDisconnect
            return task.result()
        except ProbeFailed as error:
            raise RefusedUpload(
                413, f'"{name}" takes more than {error} to open, which is the limit. Is it damaged?'
            ) from error
        finally:
            stop.set()
            # The file must not be deleted while it is read.
            await asyncio.wait({task})


def create_app(
    inferencer: IIDInferencer | Worker,
    *,
    analyze: Callable[[Analysis, Progress], Answer] | None = None,
    host: str = '127.0.0.1',
    public_names: Sequence[str] = (),
    limits: Limits | None = None,
    sampling: Sampling | None = None,
    toy: ToyConfig | None = TOY,
) -> FastAPI:
    """Build the application.

    Args:
        inferencer: Provides the facts about the model that the page shows.
        analyze: Analyzes a file, see :meth:`~web_demo.worker.Worker.analyze`; None: the inferencer does, in a
            thread of this process, which can be stopped only between two frames.
        host: Address that the server is bound to. A loopback address accepts requests only for loopback
            names, others also for IP addresses and the names of this machine, so that other sites cannot
            reach the server under a name of theirs.
        public_names: Further accepted host names, e.g. those of a reverse proxy.
        limits: Limits of uploads and analyses.
        sampling: Which frames of videos are analyzed; default: 32 evenly spaced ones.
        toy: Config of the examples that are generated at the start; None: no examples.
    """
    limits, sampling = limits or Limits(), sampling or Sampling()
    if analyze is None:
        assert isinstance(inferencer, IIDInferencer)
        analyze = partial(analyze_file, inferencer, sampling)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.service = service = Service(analyze, limits, toy)
        try:
            yield
        finally:
            await run_in_threadpool(service.close)

    # FastAPI's documentation pages load scripts from other sites.
    app = FastAPI(title='iid_mm', lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, is_ours=partial(is_ours, host, tuple(name.lower() for name in public_names)))
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


def _add_analyses(app: FastAPI) -> None:
    @app.post('/api/analyses', status_code=202)
    async def start(request: Request, name: str = 'upload') -> dict[str, Any]:
        """Start an analysis; the body is the file itself."""
        try:
            analysis = await _service(request).take_upload(request, shown_name(name))
        except RefusedUpload as error:
            raise HTTPException(error.status, error.message) from error
        except ClientDisconnect as error:
            raise HTTPException(400, 'The upload was interrupted.') from error
        except OSError as error:
            raise HTTPException(507, f'The upload cannot be stored ({reason_of(error)}).') from error
        return _status(request, analysis)

    @app.get('/api/analyses/{key}')
    def status(request: Request, key: str) -> dict[str, Any]:
        """State and progress of an analysis."""
        return _status(request, _find(request, key))

    @app.delete('/api/analyses/{key}', status_code=204)
    def remove(request: Request, key: str) -> Response:
        """Stop an analysis, or delete its result."""
        if not _service(request).queue.remove(key):
            raise _unknown()
        return Response(status_code=204)

    @app.get('/api/analyses/{key}/report', response_class=HTMLResponse)
    def report(request: Request, key: str, download: bool = False) -> HTMLResponse:
        """The report of a finished analysis."""
        analysis, answer = _finished(request, key)
        headers = {'Content-Security-Policy': REPORT_POLICY, 'X-Frame-Options': 'SAMEORIGIN'}
        if download:
            headers.update(_as_file(analysis, '_report.html'))
        return HTMLResponse(answer.report, headers=headers)

    @app.get('/api/analyses/{key}/json')
    def content(request: Request, key: str) -> Response:
        """The result of a finished analysis as JSON."""
        analysis, answer = _finished(request, key)
        text = json.dumps(answer.content, indent=2) + '\n'
        return Response(text, media_type='application/json', headers=_as_file(analysis, '.json'))


def _add_examples(app: FastAPI) -> None:
    @app.get('/api/examples')
    def examples(request: Request) -> dict[str, Any]:
        """The examples, and whether all are complete."""
        found = _service(request).examples
        ready = found.ready
        return {'ready': ready, 'examples': [{'words': example.words} for example in found.all()]}

    @app.get('/api/examples/{number}/thumbnail')
    def thumbnail(request: Request, number: int) -> Response:
        """An image of an example."""
        return Response(_example(request, number).thumbnail, media_type='image/jpeg')

    @app.post('/api/examples/{number}', status_code=202)
    def start_example(request: Request, number: int) -> dict[str, Any]:
        """Start the analysis of an example."""
        example, queue = _example(request, number), _service(request).queue
        client = client_of(request.client.host if request.client else None)
        analysis = Analysis(example.name, example.path, client=client)
        if not queue.add(analysis):
            raise HTTPException(503, TOO_MANY)
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
