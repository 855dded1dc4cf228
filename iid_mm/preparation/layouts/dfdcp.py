# SPDX-License-Identifier: Apache-2.0
"""Preview of the Deepfake Detection Challenge (DFDC-P).

A genuine clip is ``<actor>_<scene>_<clip>``; a fake is ``<swapped>_<target>_<scene>_<clip>`` and shows the
scene of the target with the face of the swapped actor. Test videos may be augmented (frame rate, size,
quality; fakes and genuine videos each on their own): then frame t of a fake is not frame t of the genuine
clip, and there is no pair.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from iid_mm.errors import InputError
from iid_mm.preparation.layouts.base import (
    SPLIT_NAMES,
    Layout,
    Scanner,
    refuse_options,
    subfolders,
    walk,
)
from iid_mm.preparation.layouts.lists import plain_path, read_json, short
from iid_mm.preparation.records import LayoutOptions, LayoutScan
from iid_mm.structures.video_record import FAKE, GENUINE

DATASET = 'dfdcp'
LIST_NAME = 'dataset.json'
GENUINE_FOLDER = 'original_videos'
LABELS = {'real': GENUINE, 'fake': FAKE}
FAKE_NAME = re.compile(r'(?P<swapped>\d+)_(?P<genuine>(?P<target>\d+)_.+)')
# method_A/<target>/<target>_<scene>/, with a folder videos/ put in by some.
MAX_DEPTH = 3
EXPECTED = (
    '{"method_A/<path>.mp4": {"label": "real" or "fake", "set": "train" or "test", "target_id": ..., '
    '"swapped_id": ..., "augmentations": [...]}}'
)


@dataclass(frozen=True)
class Entry:
    """A video of the list.

    Attributes:
        folder: First folder of its path.
        video: Its name without suffix.
        label: 0 = genuine, 1 = fake.
        split: ``train``, ``val`` or ``test``.
        target_id: Whose scene it is.
        source_id: Whose face was put in.
        altered: Whether it was augmented.
    """

    folder: str
    video: str
    label: int
    split: str
    target_id: str | None
    source_id: str | None
    altered: bool


def scan_dfdcp(root: Path, options: LayoutOptions) -> LayoutScan:
    """List the videos of the DFDC preview.

    Args:
        root: Folder that holds ``dataset.json``, ``original_videos`` and ``method_*``.
        options: What to read.

    Returns:
        The videos that the list names.

    Raises:
        InputError: If the list is not one, or contradicts the folders.
        FileNotFoundError: If the list or the videos are missing.
    """
    refuse_options('dfdcp', options, 'split', 'stills')
    scanner = Scanner(root, DATASET, LAYOUT.compression(options), options)
    given = options.splits_dir
    path = given if given and given.is_file() else (given or root) / LIST_NAME
    entries = {(entry.folder, entry.video): entry for entry in read_entries(path)}
    folders = {folder for folder, _ in entries} | {GENUINE_FOLDER}
    folders |= {folder.name for folder in subfolders(root) if folder.name.startswith('method_')}
    found = {folder: _videos(scanner, root / folder) for folder in sorted(folders)}
    fakes = scanner.keep_methods(f for f in found if f != GENUINE_FOLDER and found[f])
    for folder in [GENUINE_FOLDER, *fakes]:
        for video in found.get(folder, []):
            entry = entries.get((folder, video.stem))
            if entry is None:
                scanner.leave_out(video, f'it is not in {path.name}')
            else:
                _add(scanner, video, entry, entries)
    there = {(folder, video.stem) for folder, videos in found.items() for video in videos}
    wanted = {GENUINE_FOLDER, *(fakes if options.methods else folders)}
    absent = [key for key in entries if key[0] in wanted and key not in there]
    scanner.result.missing.extend(f'{folder}/.../{video}.mp4' for folder, video in absent)
    return scanner.finish(f'{GENUINE_FOLDER}/643049/643049_A_001.mp4')


def read_entries(path: Path) -> list[Entry]:
    """Read the list of videos.

    Args:
        path: The list.

    Returns:
        Its videos.

    Raises:
        FileNotFoundError: If there is no such file.
        InputError: If it has another form or contradicts the folders.
    """
    return [
        _read_entry(f'{path}: {name!r}', name, entry) for name, entry in read_json(path, EXPECTED).items()
    ]


def _read_entry(place: str, name: str, entry: dict[str, Any]) -> Entry:
    parts = PurePosixPath(plain_path(name)).parts
    named, split = entry.get('label'), entry.get('set')
    label = LABELS.get(named.lower()) if isinstance(named, str) else None
    if len(parts) < 2 or label is None or split not in SPLIT_NAMES:
        raise InputError(f'{place} has the value {short(entry)}; expected {EXPECTED}')
    if (label == GENUINE) != (parts[0] == GENUINE_FOLDER):
        raise InputError(
            f'{place} has the label {entry["label"]!r}, but {GENUINE_FOLDER} holds the genuine videos and '
            'no others; get dataset.json from the dataset'
        )
    return Entry(
        folder=parts[0],
        video=PurePosixPath(parts[-1]).stem,
        label=label,
        split=split,
        target_id=_identity(entry.get('target_id'), place),
        source_id=_identity(entry.get('swapped_id'), place),
        altered=bool(entry.get('augmentations')),
    )


def _identity(value: Any, place: str) -> str | None:
    if value in (None, ''):
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InputError(f'{place} has the person {short(value)}; expected {EXPECTED}')
    return str(value)


def _videos(scanner: Scanner, folder: Path) -> list[Path]:
    """Videos in a folder and the folders in it."""
    if not folder.is_dir():
        return []
    visits = walk(scanner, folder, MAX_DEPTH)
    return [path for visit in visits for path in scanner.list_videos(visit.folder, nested=True)]


def _add(scanner: Scanner, path: Path, entry: Entry, entries: dict[tuple[str, str], Entry]) -> None:
    pair = None
    name = FAKE_NAME.fullmatch(entry.video)
    if (
        entry.label == FAKE
        and name
        and (name['swapped'], name['target']) == (entry.source_id, entry.target_id)
    ):
        genuine = entries.get((GENUINE_FOLDER, name['genuine']))
        # A clip that was altered in time or size does not match its genuine one frame by frame.
        if genuine and genuine.split == entry.split and not genuine.altered and not entry.altered:
            pair = scanner.key(GENUINE_FOLDER, genuine.video)
    scanner.add(
        path,
        entry.video,
        method=entry.folder,
        label=entry.label,
        split=entry.split,
        target_id=entry.target_id,
        source_id=entry.source_id,
        pair=pair,
    )


LAYOUT = Layout(
    name='dfdcp',
    scan=scan_dfdcp,
    summary='Preview of the Deepfake Detection Challenge: 1131 genuine videos, 4119 fakes of two methods',
    tree="""\
ROOT/     (each folder may hold its videos in a folder videos/)
  dataset.json     (or --splits-dir)
  original_videos/<actor>/<actor>_<scene>_<clip>.mp4
  method_{A,B}/<target>/<target>_<scene>/<swapped>_<target>_<scene>_<clip>.mp4""",
)
