# SPDX-License-Identifier: Apache-2.0
"""Limits of connections: slow headers, slow readers, half-open connections, too many of one client."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 10.0
"""Time for a complete request, at the start of a connection and between two requests."""
MIN_READ_RATE = 16 * 1024
"""Bytes per second at which a client must read a response."""
LOOK_SECONDS = 5.0
"""Time between two checks of a connection."""
MAX_CONNECTIONS = 256
MAX_CONNECTIONS_A_CLIENT = 64


def client_of(host: str | None) -> str:
    """Identity of a client: its IPv4 address, or its IPv6 /64 network, which usually is one customer.

    Args:
        host: Address of the client; None if unknown.
    """
    try:
        address = ipaddress.ip_address((host or '').partition('%')[0])
    except ValueError:
        return host or ''
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


class GuardedProtocol(H11Protocol):
    """uvicorn's HTTP protocol with deadlines, where uvicorn would wait forever, and limits.

    A new connection beyond a limit replaces the oldest idle one; if there is none, it is refused. Connections
    of a trusted proxy do not count toward the limit of a client.
    """

    def connection_made(self, transport: Any) -> None:
        """Accept a connection, or refuse it."""
        super().connection_made(transport)
        self._idle_since = self.loop.time()
        self._unsent = 0
        peer = self.client[0] if self.client else None
        self.peer = client_of(peer)
        self._is_proxy = self.config.proxy_headers and peer in str(self.config.forwarded_allow_ips).split(',')
        self._look_task: asyncio.TimerHandle | None = self.loop.call_later(LOOK_SECONDS, self._look)
        others = [c for c in self.connections if isinstance(c, GuardedProtocol) and c is not self]
        mine = [] if self._is_proxy else [c for c in others if c.peer == self.peer]
        for crowd, most in ((mine, MAX_CONNECTIONS_A_CLIENT), (others, MAX_CONNECTIONS)):
            if len(crowd) >= most:
                idle = [c for c in crowd if c.is_idle]
                (min(idle, key=lambda c: c._idle_since) if idle else self).transport.abort()
                return

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection."""
        if self._look_task is not None:
            self._look_task.cancel()
            self._look_task = None
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Start waiting for the next request."""
        self._idle_since = self.loop.time()
        super().on_response_complete()

    @property
    def is_idle(self) -> bool:
        """Whether no request is being handled."""
        return self.cycle is None or self.cycle.response_complete

    def _look(self) -> None:
        """Close a connection whose client neither sends nor reads."""
        unsent = self.transport.get_write_buffer_size()
        # The unsent part must have shrunk at the required rate since the last check.
        stalls = self._unsent > 0 and unsent > self._unsent - MIN_READ_RATE * LOOK_SECONDS and unsent > 0
        waits = not unsent and self.is_idle and self.loop.time() - self._idle_since > HEADER_SECONDS
        if stalls or waits:
            self.transport.abort()
            return
        self._unsent = unsent
        self._look_task = self.loop.call_later(LOOK_SECONDS, self._look)
