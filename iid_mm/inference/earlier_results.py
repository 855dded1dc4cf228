# SPDX-License-Identifier: Apache-2.0
"""Names of output files, and recognizing those of earlier runs.

Outputs of this package are not evidence, and files of others must not be replaced. A file counts as an output
only if a result (``NAME.json``) beside it lists it with its current size; the name alone proves nothing.
"""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from iid_mm.utils.files import read_json

JSON, REPORT, TIMELINE = '.json', '_report.html', '_timeline.png'
ANNOTATED_IMAGE, ANNOTATED_VIDEO = '_annotated.jpg', '_annotated.mp4'
OUTPUT_SUFFIXES = (JSON, REPORT, TIMELINE, ANNOTATED_VIDEO, ANNOTATED_IMAGE)
# Those that could be taken for evidence.
_MEDIA_OUTPUT = re.compile(r'(.+)_(annotated\.(jpg|mp4)|timeline\.png)', re.DOTALL)
_MAX_RESULT_BYTES = 2**28


def fold(name: str) -> str:
    """Fold names that some file systems treat as equal: case, composed letters."""
    return unicodedata.normalize('NFC', name.casefold())


class UniqueNames:
    """Numbers equal names, in time linear in their count."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._next: dict[str, int] = {}

    def give(self, stem: str) -> str:
        """``stem`` the first time, then ``stem_2``, ``stem_3``, ..., never the same name twice."""
        key = fold(stem)
        number = self._next.get(key, 1)
        while fold(name := stem if number == 1 else f'{stem}_{number}') in self._used:
            number += 1
        self._next[key] = number + 1
        self._used.add(fold(name))
        return name


@dataclass(frozen=True)
class EarlierResult:
    """A result file of an earlier run.

    Attributes:
        source: Absolute path of the analyzed input, or the name of a camera.
        outputs: Listed output files by name: size in bytes, None if unknown.
    """

    source: str
    outputs: dict[str, int | None]

    def has_written(self, path: Path) -> bool:
        """Whether a file beside the result is an unchanged output of that run."""
        if path.name not in self.outputs or path.is_symlink():
            return False
        size = self.outputs[path.name]
        try:
            return path.is_file() and (size is None or path.stat().st_size == size)
        except OSError:
            return False

    def is_of(self, source: str) -> bool:
        """Whether it is about the same input, an absolute path or the name of a camera."""
        try:
            return self.source == source or (
                os.path.isabs(source) and os.path.realpath(self.source) == os.path.realpath(source)
            )
        except (OSError, ValueError):
            return False


def read_result(path: Path) -> EarlierResult | None:
    """Read ``NAME.json``; None if there is none, or if it is no result of this package."""
    try:
        content = read_json(path, _MAX_RESULT_BYTES)
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or not isinstance(content.get('format'), int):
        return None
    source, outputs = content.get('source'), content.get('outputs')
    if not isinstance(source, str) or not isinstance(outputs, dict) or outputs.get('json') != path.name:
        return None
    stem = path.name.removesuffix(JSON)
    known = {stem + suffix for suffix in OUTPUT_SUFFIXES}
    sizes = content.get('output_bytes')
    sizes = sizes if isinstance(sizes, dict) else {}
    listed: dict[str, int | None] = {path.name: None}
    for name in outputs.values():
        if isinstance(name, str) and name in known and name != path.name:
            size = sizes.get(name)
            listed[name] = size if isinstance(size, int) else None
    place = content.get('path')
    if not isinstance(place, str) or not place:
        place = source if content.get('kind') == 'camera' else os.path.abspath(source)
    return EarlierResult(place, listed)


def result_of(path: str) -> str | None:
    """The result that lists an image or video if it is an output; None if its name is not that of one."""
    folder, name = os.path.split(path)
    match = _MEDIA_OUTPUT.fullmatch(name)
    return None if match is None else os.path.join(folder, match[1] + JSON)


def is_written(path: str) -> bool:
    """Whether an image or video is an output of an earlier run, by the result beside it."""
    place = result_of(path)
    result = None if place is None else read_result(Path(place))
    return result is not None and result.has_written(Path(path))
