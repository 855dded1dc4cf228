# SPDX-License-Identifier: Apache-2.0
"""Uploads under way: who may send, how fast it must come, and how much may lie on the disk."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from web_demo.uploads import HEAD, Limits, RefusedUpload, check_length, clock, tell_type

MAX_RECEPTIONS = 64
MAX_RECEPTIONS_A_CLIENT = 16
DISK_FILES = 12
"""Bytes on the disk, in files of the largest size; one client may fill half of it."""


@dataclass(eq=False)
class Reception:
    """One upload under way.

    Attributes:
        client: Who sends it.
        name: What messages call it.
        received: Bytes so far.
        began: When, on the monotonic clock.
        gives_way: Set when its place is needed for a faster one.
    """

    client: str
    name: str
    received: int = 0
    began: float = field(default_factory=time.monotonic)
    gives_way: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def seconds(self) -> float:
        """How long it has lasted."""
        return time.monotonic() - self.began


class Receptions:
    """All uploads under way; used by the thread of the event loop only.

    A place here is none in the queue of analyses: that is taken when the whole file is there. Who sends more
    slowly than he must loses his place as soon as it is needed, and at the latest when the grace is over.

    Args:
        limits: What is taken.
        stored: Bytes of the files that wait for their analysis, of a client or, for None, of all.
    """

    def __init__(self, limits: Limits, stored: Callable[[str | None], int]) -> None:
        self.limits = limits
        self._stored = stored
        self._all: list[Reception] = []

    @contextmanager
    def admit(self, client: str, name: str) -> Iterator[Reception]:
        """Give a place to an upload.

        Raises:
            RefusedUpload: There is none.
        """
        mine = [other for other in self._all if other.client == client]
        if len(mine) >= MAX_RECEPTIONS_A_CLIENT:
            self._make_room(mine)
        elif len(self._all) >= MAX_RECEPTIONS:
            # Who has the most places gives one up.
            counts = {other.client: 0 for other in self._all}
            for other in self._all:
                counts[other.client] += 1
            most = max(counts, key=lambda key: counts[key])
            self._make_room([other for other in self._all if other.client == most], by_force=counts[most] > 1)
        reception = Reception(client, name)
        self._all.append(reception)
        try:
            yield reception
        finally:
            if reception in self._all:
                self._all.remove(reception)

    def _make_room(self, among: list[Reception], by_force: bool = False) -> None:
        slowest = min(among, key=lambda other: other.received / max(other.seconds, 1e-3))
        is_slow = slowest.received < slowest.seconds * self.limits.min_rate
        if not (is_slow or by_force):
            raise RefusedUpload(503, 'Too many uploads are under way. Please try again in a minute.')
        slowest.gives_way.set()
        self._all.remove(slowest)

    def count(self, reception: Reception, size: int) -> None:
        """Note that more bytes came.

        Raises:
            RefusedUpload: There is no room for them.
        """
        reception.received += size
        if reception.received > self.limits.max_bytes:
            check_length(reception.received, reception.name, self.limits)
        most = DISK_FILES * self.limits.max_bytes
        mine = sum(other.received for other in self._all if other.client == reception.client)
        everything = sum(other.received for other in self._all) + self._stored(None)
        if mine + self._stored(reception.client) > most // 2 or everything > most:
            raise RefusedUpload(507, 'There is no room for more uploads. Please try again in a minute.')

    async def receive(self, chunks: AsyncIterator[bytes], path: Path, reception: Reception) -> bytes:
        """Store an upload.

        Args:
            chunks: Its bytes as they come.
            path: Where to.
            reception: Its place.

        Returns:
            Its first bytes.

        Raises:
            RefusedUpload: It is empty, too large, nothing that is taken, or comes too slowly.
        """
        head = b''
        with path.open('wb') as file:
            while (chunk := await self._next(chunks, reception)) is not None:
                self.count(reception, len(chunk))
                if len(head) < HEAD:
                    head += chunk[: HEAD - len(head)]
                    if len(head) == HEAD:
                        # Nobody has to send all of what will not be taken.
                        tell_type(head, reception.name)
                file.write(chunk)
        check_length(reception.received, reception.name, self.limits)
        return head

    async def _next(self, chunks: AsyncIterator[bytes], reception: Reception) -> bytes | None:
        """The next bytes; None: there are no more."""
        limits = self.limits
        slow = limits.grace_seconds + reception.received / limits.min_rate
        left = min(limits.upload_seconds, slow) - reception.seconds
        step = asyncio.ensure_future(anext(chunks, None))
        way = asyncio.ensure_future(reception.gives_way.wait())
        try:
            await asyncio.wait({step, way}, timeout=max(left, 0), return_when=asyncio.FIRST_COMPLETED)
            if step.done() and not reception.gives_way.is_set():
                return step.result()
        finally:
            way.cancel()
            if not step.done():
                step.cancel()
        if reception.gives_way.is_set() or slow <= limits.upload_seconds:
            raise RefusedUpload(
                408,
                f'"{reception.name}" came too slowly: {reception.received} bytes in '
                f'{reception.seconds:.0f} s; at least {limits.min_rate / 1024:g} KiB a second are needed.',
            )
        raise RefusedUpload(
            408, f'"{reception.name}" was not there within {clock(limits.upload_seconds)}, the limit.'
        )
