# SPDX-License-Identifier: Apache-2.0
"""The pages and addresses of the service."""

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
from web_demo.receptions import Reception, Receptions
from web_demo.uploads import (
    Limits,
    RefusedUpload,
    check_duration,
    check_length,
    clock,
    shown_name,
    suffix_note,
    tell_type,
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
"""Videos whose length is looked up at once."""
TOO_MANY = 'Too many others are waiting. Please try again in a minute.'


class Service:
    """What the addresses share; made when the server starts.

    Args:
        analyze: Makes the answer of an analysis.
        limits: What may be uploaded, and what an analysis may take.
        toy: Examples; None: none.
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
        self.receptions = Receptions(limits, self.queue.stored_bytes)
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
        """Store and check an upload and let it wait for its turn.

        Raises:
            RefusedUpload: It is not taken.
        """
        client = client_of(request.client.host if request.client else None)
        length = request.headers.get('content-length', '')
        is_number = re.fullmatch(r'[0-9]{1,18}', length)
        check_length(int(length) if is_number else None, name, self.limits)
        if request.headers.get('content-type', '').lower().startswith('multipart/'):
            raise RefusedUpload(415, 'Send the file itself as the body of the request, not a form.')
        # Who would be sent away at the end need not send anything; the place is taken when all is there.
        if not self.queue.has_room(client):
            raise RefusedUpload(503, TOO_MANY)
        with self.receptions.admit(client, name) as reception:
            folder = Path(tempfile.mkdtemp(prefix='upload_', dir=self.folder))
            try:
                analysis = await self._receive(request, folder, reception)
                if not self.queue.add(analysis):
                    raise RefusedUpload(503, TOO_MANY)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        return analysis

    async def _receive(self, request: Request, folder: Path, reception: Reception) -> Analysis:
        part, name = folder / 'part', reception.name
        head = await self.receptions.receive(request.stream(), part, reception)
        found = tell_type(head, name)
        # The name of the file is ours, its ending that of what it is.
        path = part.rename(folder / f'input{found.suffixes[0]}')
        if found.kind == VIDEO:
            async with self._probes:
                seconds = await self._probe(request, path, name)
            check_duration(seconds, name, self.limits)
        note = suffix_note(found, name)
        return Analysis(name, path, folder, note, client=reception.client, size=reception.received)

    async def _probe(self, request: Request, path: Path, name: str) -> float:
        """Look up the length of a video for as long as its sender waits."""
        stop = threading.Event()
        task = asyncio.ensure_future(run_in_threadpool(probe_duration, path, stop))
        try:
            while not (await asyncio.wait({task}, timeout=0.25))[0]:
                if await request.is_disconnected():
                    raise ClientDisconnect
            return task.result()
        except ProbeFailed as error:
            raise RefusedUpload(
                413, f'"{name}" takes more than {error} to open, the limit. Is it damaged?'
            ) from error
        finally:
            stop.set()
            # The file must not be deleted under its hands.
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
    """Make the service.

    Args:
        inferencer: Tells what the page says of the model.
        analyze: Makes the answer of an analysis, see :meth:`~web_demo.worker.Worker.analyze`; None: the
            inferencer does, in a thread of this process, which can be stopped between two frames only.
        host: Address it is bound to. Requests are answered only if they are for this machine's own
            addresses, on others also for any IP address and this machine's names, so that pages of other
            sites cannot reach it under a name of theirs.
        public_names: Further names under which it is reached, as through a reverse proxy.
        limits: What may be uploaded.
        sampling: Which frames of videos are looked at; default 32 evenly spaced ones.
        toy: Examples that are made at the start; None: none.
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

    # FastAPI's own pages about the addresses load scripts from elsewhere.
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
        """Begin an analysis; the body is the file itself."""
        try:
            analysis = await _service(request).take_upload(request, shown_name(name))
        except RefusedUpload as error:
            raise HTTPException(error.status, error.message) from error
        except ClientDisconnect as error:
            raise HTTPException(400, 'The upload was broken off.') from error
        except OSError as error:
            raise HTTPException(507, f'The upload cannot be stored ({reason_of(error)}).') from error
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
