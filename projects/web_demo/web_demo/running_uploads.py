# SPDX-License-Identifier: Apache-2.0
"""Running uploads: their number, their rate and their space on the disk."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from web_demo.upload_rules import HEAD, Limits, RefusedUpload, check_length, clock, detect_type

MAX_UPLOADS = 64
MAX_UPLOADS_A_CLIENT = 16
DISK_FILES = 12
"""Space on the disk, in files of the largest size; one client may use half of it."""


@dataclass(eq=False)
class Upload:
    """One running upload.

    Attributes:
        client: Its sender.
        name: Name of the file in messages.
        received: Bytes received so far.
        began: Its start on the monotonic clock.
        gives_way: Set when it must end in favor of another upload.
    """

    client: str
    name: str
    received: int = 0
    began: float = field(default_factory=time.monotonic)
    gives_way: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def seconds(self) -> float:
        """Seconds since its start."""
        return time.monotonic() - self.began


class RunningUploads:
    """All running uploads; to be used only by the thread of the event loop.

    A complete upload joins the queue of analyses. An upload below the required rate is dropped when its place
    is needed, and at the latest after the period of grace.

    Args:
        limits: Limits of uploads.
        stored: Returns the bytes of files that wait for their analysis, of a client or, for None, of all.
    """

    def __init__(self, limits: Limits, stored: Callable[[str | None], int]) -> None:
        self.limits = limits
        self._stored = stored
        self._all: list[Upload] = []

    @contextmanager
    def admit(self, client: str, name: str) -> Iterator[Upload]:
        """Admit an upload.

        Raises:
            RefusedUpload: There are too many.
        """
        mine = [other for other in self._all if other.client == client]
        if len(mine) >= MAX_UPLOADS_A_CLIENT:
            self._make_room(mine)
        elif len(self._all) >= MAX_UPLOADS:
            # The client with the most uploads gives one up.
            counts = {other.client: 0 for other in self._all}
            for other in self._all:
                counts[other.client] += 1
            most = max(counts, key=lambda key: counts[key])
            self._make_room([other for other in self._all if other.client == most], by_force=counts[most] > 1)
        upload = Upload(client, name)
        self._all.append(upload)
        try:
            yield upload
        finally:
            if upload in self._all:
                self._all.remove(upload)

    def _make_room(self, among: list[Upload], by_force: bool = False) -> None:
        slowest = min(among, key=lambda other: other.received / max(other.seconds, 1e-3))
        is_slow = slowest.received < slowest.seconds * self.limits.min_rate
        if not (is_slow or by_force):
            raise RefusedUpload(503, 'Too many uploads are running. Please try again in a minute.')
        slowest.gives_way.set()
        self._all.remove(slowest)

    def count(self, upload: Upload, size: int) -> None:
        """Count received bytes.

        Raises:
            RefusedUpload: The file is too large, or the disk space is used up.
        """
        upload.received += size
        if upload.received > self.limits.max_bytes:
            check_length(upload.received, upload.name, self.limits)
        most = DISK_FILES * self.limits.max_bytes
        mine = sum(other.received for other in self._all if other.client == upload.client)
        everything = sum(other.received for other in self._all) + self._stored(None)
        if mine + self._stored(upload.client) > most // 2 or everything > most:
            raise RefusedUpload(507, 'There is no space for more uploads. Please try again in a minute.')

    async def receive(self, chunks: AsyncIterator[bytes], path: Path, upload: Upload) -> bytes:
        """Store an upload.

        Args:
            chunks: Its bytes as they arrive.
            path: The file to write.
            upload: The upload, see :meth:`admit`.

        Returns:
            Its first bytes.

        Raises:
            RefusedUpload: It is empty, too large, too slow, or of an unsupported type.
        """
        head = b''
        with path.open('wb') as file:
            while (chunk := await self._next(chunks, upload)) is not None:
                self.count(upload, len(chunk))
                if len(head) < HEAD:
                    head += chunk[: HEAD - len(head)]
                    if len(head) == HEAD:
                        # Refuse unsupported types before the rest is sent.
                        detect_type(head, upload.name)
                file.write(chunk)
        check_length(upload.received, upload.name, self.limits)
        return head

    async def _next(self, chunks: AsyncIterator[bytes], upload: Upload) -> bytes | None:
        """The next bytes; None at the end."""
        limits = self.limits
        slow = limits.grace_seconds + upload.received / limits.min_rate
        left = min(limits.upload_seconds, slow) - upload.seconds
        step = asyncio.ensure_future(anext(chunks, None))
        way = asyncio.ensure_future(upload.gives_way.wait())
        try:
            await asyncio.wait({step, way}, timeout=max(left, 0), return_when=asyncio.FIRST_COMPLETED)
            if step.done() and not upload.gives_way.is_set():
                return step.result()
        finally:
            way.cancel()
            if not step.done():
                step.cancel()
        if upload.gives_way.is_set() or slow <= limits.upload_seconds:
            raise RefusedUpload(
                408,
                f'The upload of "{upload.name}" was too slow: {upload.received} bytes in '
                f'{upload.seconds:.0f} s. At least {limits.min_rate / 1024:g} KiB per second are needed.',
            )
        raise RefusedUpload(
            408, f'The upload of "{upload.name}" took longer than {clock(limits.upload_seconds)}, the limit.'
        )
