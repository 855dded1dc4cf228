# SPDX-License-Identifier: Apache-2.0
"""Names of videos: who they say is shown, and what the index can hold."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import NamedTuple

from iid_mm.utils.files import printable

# Bytes: a part of a path is at most 255 bytes long, and a key of LMDB, which holds the path of a crop, 511.
MAX_VIDEO, MAX_METHOD = 360, 80


class Names(NamedTuple):
    """Who is in a video: target, source, and method and name of the genuine video; None if unknown."""

    target: str | None = None
    source: str | None = None
    pair: tuple[str, str] | None = None


NOBODY = Names()


class LeftOutError(Exception):
    """Why a video on disk is not prepared."""


@dataclass(frozen=True)
class NameRule:
    """How the videos of a dataset are named.

    Attributes:
        pattern: Regular expression with groups, among them ``source`` if the name holds the source.
        form: The same for a reader.
        target: Target, by the groups.
        genuine: Method of the genuine video that a fake was made from; empty if the name does not say.
        pair: Name of that video, by the groups.
    """

    pattern: str
    form: str = ''
    target: str = '{target}'
    genuine: str = ''
    pair: str = '{target}'

    def match(self, name: str) -> Names | None:
        """What a name says; None if it has another form."""
        found = re.fullmatch(self.pattern, name)
        if found is None:
            return None
        groups = found.groupdict()
        pair = (self.genuine, self.pair.format(**groups)) if self.genuine else None
        return Names(self.target.format(**groups), groups.get('source'), pair)

    def read(self, name: str) -> Names:
        """What a name says.

        Raises:
            LeftOutError: If it has another form.
        """
        names = self.match(name)
        if names is None:
            raise LeftOutError(f'its name is not {self.form}')
        return names


def fits_index(name: str) -> bool:
    """Whether a name can be part of a key."""
    return not ('\\' in name or '\0' in name or {'', '..', '.'} & set(name.split('/')))


def index_name(name: str, most: int = MAX_VIDEO) -> str:
    """A name as keys, paths of crops and Parquet files can hold it.

    Args:
        name: As it is on disk or in a list, with ``/``.
        most: Bytes that it may have.

    Returns:
        The name; what is too long is cut, and ends in a digest of the whole name.
    """
    text = printable(name)
    if text.isascii() and len(text) <= 60:
        return text
    data = text.encode()
    if len(data) <= most and all(len(part.encode()) <= 255 for part in text.split('/')):
        return text
    head = data[: min(most, 200) - 20].decode(errors='ignore')
    return f'{head}~{hashlib.sha256(data).hexdigest()[:16]}'
