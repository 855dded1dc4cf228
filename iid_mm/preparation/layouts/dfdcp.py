# SPDX-License-Identifier: Apache-2.0
"""Preview of the Deepfake Detection Challenge (DFDC-P).

A genuine clip is ``<actor>_<scene>_<clip>``; a fake is ``<swapped>_<target>_<scene>_<clip>`` and shows the
scene of the target with the face of the swapped actor. Test videos may be augmented (frame rate, size,
quality; fakes and genuine videos each on their own): then frame t of a fake is not frame t of the genuine
clip, and there is no pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from iid_mm.errors import InputError
from iid_mm.preparation.layouts.base import SPLIT_NAMES, Layout, Scanner, subfolders
from iid_mm.preparation.layouts.lists import plain_path, read_json, short
from iid_mm.preparation.layouts.names import NameRule, Names
from iid_mm.preparation.layouts.walking import walk
from iid_mm.structures.video_record import FAKE, GENUINE

LIST_NAME = 'dataset.json'
GENUINE_FOLDER = 'original_videos'
LABELS = {'real': GENUINE, 'fake': FAKE}
FAKE_NAME = NameRule(
    r'(?P<source>\d+)_(?P<genuine>(?P<target>\d+)_.+)', genuine=GENUINE_FOLDER, pair='{genuine}'
)
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
        target: Whose scene it is.
        source: Whose face was put in.
        altered: Whether it was augmented.
    """

    folder: str
    video: str
    label: int
    split: str
    target: str | None
    source: str | None
    altered: bool


def _read(scanner: Scanner) -> None:
    path = scanner.options.list_file(scanner.root, LIST_NAME)
    listed = read_json(path, EXPECTED).items()
    read = [_read_entry(f'{path}: {name!r}', name, fields) for name, fields in listed]
    entries = {(entry.folder, entry.video): entry for entry in read}
    folders = {folder for folder, _ in entries} | {GENUINE_FOLDER}
    folders |= {f.name for f in subfolders(scanner.root) if f.name.startswith('method_')}
    found = {folder: _videos(scanner, scanner.root / folder) for folder in sorted(folders)}
    fakes = scanner.keep_methods(f for f in found if f != GENUINE_FOLDER and found[f])
    for folder in [GENUINE_FOLDER, *fakes]:
        for video in found.get(folder, []):
            entry = entries.get((folder, video.stem))
            if entry is None:
                scanner.leave_out(video, f'it is not in {path.name}')
                continue
            names = _find_names(entry, entries)
            scanner.add(video, entry.video, method=folder, label=entry.label, split=entry.split, names=names)
    there = {(folder, video.stem) for folder, videos in found.items() for video in videos}
    wanted = {GENUINE_FOLDER, *(fakes if scanner.options.methods else folders)}
    absent = [key for key in entries if key[0] in wanted and key not in there]
    scanner.miss(f'{folder}/.../{video}.mp4' for folder, video in absent)


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
        target=_identity(entry.get('target_id'), place),
        source=_identity(entry.get('swapped_id'), place),
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


def _find_names(entry: Entry, entries: dict[tuple[str, str], Entry]) -> Names:
    """Who is in a video, with its pair where both are listed, in one split and not augmented."""
    names = FAKE_NAME.match(entry.video) if entry.label == FAKE else None
    if names and names.pair and names[:2] == (entry.target, entry.source):
        genuine = entries.get(names.pair)
        # A clip that was altered in time or size does not match its genuine one frame by frame.
        if genuine and genuine.split == entry.split and not genuine.altered and not entry.altered:
            return names
    return Names(entry.target, entry.source)


LAYOUT = Layout(
    name='dfdcp',
    read=_read,
    summary='Preview of the Deepfake Detection Challenge: 1131 genuine videos, 4119 fakes of two methods',
    tree="""\
ROOT/     (each folder may hold its videos in a folder videos/)
  dataset.json     (or --splits-dir)
  original_videos/<actor>/<actor>_<scene>_<clip>.mp4
  method_{A,B}/<target>/<target>_<scene>/<swapped>_<target>_<scene>_<clip>.mp4""",
    example=f'{GENUINE_FOLDER}/643049/643049_A_001.mp4',
    dataset='dfdcp',
)
