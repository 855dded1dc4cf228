# SPDX-License-Identifier: Apache-2.0
"""Security headers, and refusal of cross-site requests."""

from __future__ import annotations

import ipaddress
import json
import re
import socket
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
LOCAL_NAMES = ('localhost', '127.0.0.1', '[::1]')


def is_local(host: str) -> bool:
    """Whether an address is a loopback address, which other machines cannot reach."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == 'localhost'


def is_ours(host: str, public_names: Sequence[str], asked: str) -> bool:
    """Whether a request's ``Host`` names this server; a foreign name may point to it (DNS rebinding)."""
    found = re.fullmatch(r'(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?', asked)
    if found is None:
        return False
    name = found[1].lower()
    if name in LOCAL_NAMES or name in public_names or name == host.lower():
        return True
    if is_local(host):
        return False
    try:
        ipaddress.ip_address(name.strip('[]'))
    except ValueError:
        return name in {socket.gethostname().lower(), socket.getfqdn().lower()}
    return True


class Guard:
    """Sets security headers and refuses cross-site requests."""

    def __init__(self, app: ASGIApp, is_ours: Callable[[str], bool]) -> None:
        self.app = app
        self.is_ours = is_ours

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope['type'] == 'lifespan':
            await self.app(scope, receive, send)
            return
        if scope['type'] != 'http':
            return

        async def guarded(message: Message) -> None:
            if message['type'] == 'http.response.start':
                headers = MutableHeaders(scope=message)
                headers.setdefault('Content-Security-Policy', PAGE_POLICY)
                headers.setdefault('X-Frame-Options', 'DENY')
                headers['X-Content-Type-Options'] = 'nosniff'
                headers['Referrer-Policy'] = 'no-referrer'
                headers['Cross-Origin-Resource-Policy'] = 'same-origin'
                headers['Cache-Control'] = 'no-store'
            await send(message)

        headers = Headers(scope=scope)
        host = headers.get('host', '')
        refused = None
        if not self.is_ours(host):
            refused = _refusal('unknown host name', 400)
        elif scope['method'] not in ('GET', 'HEAD') and _is_from_elsewhere(headers, host):
            refused = _refusal('cross-site requests are not allowed', 403)
        await (refused or self.app)(scope, receive, guarded)


def _is_from_elsewhere(headers: Headers, host: str) -> bool:
    """Whether the browser says that a page of another site makes this request."""
    if headers.get('sec-fetch-site', 'none') not in ('none', 'same-origin'):
        return True
    origin = headers.get('origin')
    if not origin:
        return False
    try:
        return urlsplit(origin).netloc.lower() != host.lower()
    except ValueError:
        return True


def _refusal(detail: str, status: int) -> Response:
    return Response(json.dumps({'detail': detail}), status, media_type='application/json')
