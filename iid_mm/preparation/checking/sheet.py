# SPDX-License-Identifier: Apache-2.0
"""The contact sheet of a check: which samples are shown, and their captions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from iid_mm.datasets.index import SPLITS, resolve_inside
from iid_mm.errors import InputError
from iid_mm.preparation.checking.findings import plural
from iid_mm.preparation.checking.image_decoding import read_image
from iid_mm.preparation.checking.prepared_set import PreparedSet

if TYPE_CHECKING:
    from iid_mm.utils.typing import ImageArray
    from iid_mm.visualization.contact_sheet import SheetRow

MAX_ROWS = 64
COLUMNS = 8


def draw_sheet(sets: Sequence[PreparedSet], columns: int = COLUMNS) -> ImageArray:
    """Draw samples of every method, evenly chosen over the splits; the same for the same indexes.

    Args:
        sets: The sets.
        columns: Tiles in a row; a fake with its genuine frame takes two.

    Returns:
        The sheet, BGR.

    Raises:
        InputError: If there is no row to show.
    """
    # Loads matplotlib for its fonts, which other checks do not need.
    from iid_mm.visualization.contact_sheet import contact_sheet

    rows = [row for prepared in sets for row in _rows(prepared, columns)]
    if not rows:
        raise InputError('the indexes have no rows, so there is nothing to draw; leave --sheet out')
    # Not the whole path: sheets are passed on.
    title = ', '.join(f'{prepared.root.resolve().name}/{prepared.path.name}' for prepared in sets)
    if len(rows) > MAX_ROWS:
        title = f'{title} (the first {MAX_ROWS} of {len(rows)} kinds)'
    return contact_sheet(rows[:MAX_ROWS], title, columns=columns)


def _rows(prepared: PreparedSet, columns: int) -> list[SheetRow]:
    """Genuine kinds first, then fakes, by name."""
    from iid_mm.visualization.contact_sheet import SheetRow, SheetSample

    kinds: dict[tuple[str, int, str, str], list[int]] = {}
    for number, video in enumerate(prepared.videos):
        kind = (video.dataset, video.label, video.method, video.compression)
        kinds.setdefault(kind, []).append(number)
    drawn = []
    for (dataset, label, method, compression), videos in sorted(kinds.items()):
        chosen = _choose(prepared, videos, columns // 2)
        if not any(prepared.texts('source_image', chosen)):
            chosen = _choose(prepared, videos, columns)
        values = [prepared.texts(name, chosen) for name in ('image', 'source_image', 'frame')]
        samples = []
        for row, points, image, pair, frame in zip(chosen, prepared.landmarks(chosen), *values, strict=True):
            video = prepared.videos[int(prepared.video_codes[row])]
            caption = [f'{video.split}  {video.name.rsplit("/", 1)[-1]}', f'frame {frame}']
            other = _read(prepared, pair) if pair is not None else None
            samples.append(SheetSample(_read(prepared, image), points, caption, other))
        frames = sum(prepared.videos[number].frames for number in videos)
        note = f'{plural(len(videos), "video")}, {plural(frames, "frame")}'
        title = f'{dataset}  {method}  {compression}: {"fake" if label else "genuine"}'
        drawn.append(SheetRow(title, note, bool(label), samples))
    return drawn


def _choose(prepared: PreparedSet, videos: list[int], number: int) -> list[int]:
    """Rows of some videos: as many from each split as can be, each from another video if there are enough."""
    by_split = {
        split: own
        for split in SPLITS
        if (own := [video for video in videos if prepared.videos[video].split == split])
    }
    chosen: list[int] = []
    for place, own in enumerate(by_split.values()):
        share = number // len(by_split) + (place < number % len(by_split))
        own.sort(key=lambda video: prepared.videos[video].key)
        for turn, at in enumerate(np.linspace(0, len(own) - 1, share).round().astype(int).tolist()):
            rows = np.flatnonzero(prepared.video_codes == own[at])
            # Another frame of each video, so that a video shown twice does not look the same.
            chosen.append(int(rows[(2 * turn + 1) * len(rows) // (2 * share)]))
    return chosen


def _read(prepared: PreparedSet, name: str) -> ImageArray | None:
    try:
        return read_image(str(resolve_inside(prepared.root, name)))[0]
    except (FileNotFoundError, InputError):
        return None
