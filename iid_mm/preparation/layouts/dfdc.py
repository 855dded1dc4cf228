# SPDX-License-Identifier: Apache-2.0
"""Deepfake Detection Challenge (DFDC).

The training parts hold a ``metadata.json`` that names the genuine ``original`` of each fake; its field
``split`` is always ``train`` and not read. Validation and test sets hold ``labels.csv`` (1 = fake) or a
``metadata.json`` with ``is_fake``, and say nothing about originals. Actors are not identified: a
genuine video stands for the people in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from iid_mm.errors import InputError
from iid_mm.preparation.layouts.base import Layout, Scanner
from iid_mm.preparation.layouts.lists import plain_path, read_csv, read_json, short
from iid_mm.preparation.layouts.names import Names
from iid_mm.preparation.layouts.walking import walk
from iid_mm.structures.video_record import FAKE, GENUINE

METHODS = {GENUINE: 'real', FAKE: 'fake'}
METADATA, LABELS = 'metadata.json', 'labels.csv'
# Where a list and its videos are not in one folder.
VIDEO_FOLDERS = ('videos', 'test', 'test_videos')
MAX_DEPTH = 4
TRAIN_LABELS = {'REAL': GENUINE, 'FAKE': FAKE}
HELD_OUT_LABELS = {'0': GENUINE, '1': FAKE, 'False': GENUINE, 'True': FAKE}
EXPECTED_METADATA = (
    '{"<video>.mp4": {"label": "REAL" or "FAKE", "original": "<video>.mp4"}}, or {"is_fake": 0 or 1}'
)
EXPECTED_LABELS = 'columns filename and label (1 = fake)'


@dataclass
class Listing:
    """A folder of videos with its list.

    Attributes:
        folder: The folder.
        split: Split of its videos.
        labels: Video without suffix -> label.
        originals: Fake -> its genuine video.
    """

    folder: Path
    split: str
    labels: dict[str, int] = field(default_factory=dict)
    originals: dict[str, str] = field(default_factory=dict)


def _read(scanner: Scanner) -> None:
    listings, unlisted = _find_listings(scanner)
    if not listings:
        raise FileNotFoundError(
            f'no {METADATA} or {LABELS} in {str(scanner.root)!r} or the folders in it; they come with the '
            'videos of each part'
        )
    labels = _merge(listings)
    has_fakes = any(label == FAKE for label, _ in labels.values())
    fakes = scanner.keep_methods([METHODS[FAKE]] if has_fakes else [])
    there = set()
    for listing in listings:
        for path in _videos(scanner, listing.folder):
            there.add(path.stem)
            unlisted.pop(path.parent, None)
            if path.stem not in listing.labels:
                scanner.leave_out(path, 'it is not in the list of its folder')
            elif fakes or listing.labels[path.stem] == GENUINE:
                _add(scanner, listing, path, labels)
    for folder, count in unlisted.items():
        scanner.leave_out(folder, f'{count} videos without {METADATA} or {LABELS}')
    for listing in listings:
        scanner.miss(listing.folder / f'{video}.mp4' for video in set(listing.labels) - there)


def _read_listing(folder: Path, held_out: str) -> Listing | None:
    """The list of a folder, None if there is none; videos that are not for training are in ``held_out``."""
    listing = Listing(folder, held_out)
    if (folder / METADATA).is_file():
        entries = read_json(folder / METADATA, EXPECTED_METADATA)
        if any('label' in entry for entry in entries.values()):
            listing.split = 'train'
        for name, entry in entries.items():
            place = f'{folder / METADATA}: {name!r}'
            video = _stem(name)
            listing.labels[video] = _read_label(entry, place)
            original = entry.get('original')
            if original is not None and not isinstance(original, str):
                raise InputError(f'{place} has the original {short(original)}; expected {EXPECTED_METADATA}')
            if original and listing.labels[video] == FAKE:
                listing.originals[video] = _stem(original)
    elif not (folder / LABELS).is_file():
        return None
    if (folder / LABELS).is_file():
        for place, row in read_csv(folder / LABELS, ('filename', 'label'), EXPECTED_LABELS):
            label = HELD_OUT_LABELS.get(row['label'])
            if label is None:
                raise InputError(f'{place}: label {row["label"]!r} is unknown; expected {EXPECTED_LABELS}')
            video = _stem(row['filename'])
            if listing.labels.setdefault(video, label) != label:
                raise InputError(f'{place}: {video!r} has another label above or in {METADATA}')
    return listing


def _read_label(entry: dict[str, Any], place: str) -> int:
    if isinstance(entry.get('label'), str):
        label = TRAIN_LABELS.get(entry['label'].upper())
    else:
        held_out = entry.get('is_fake') if 'label' not in entry else None
        # str: lists hold 0, "0" and false.
        label = HELD_OUT_LABELS.get(str(held_out)) if isinstance(held_out, str | int) else None
    if label is None:
        raise InputError(f'{place} has the value {short(entry)}; expected {EXPECTED_METADATA}')
    return label


def _stem(name: str) -> str:
    return PurePosixPath(plain_path(name)).stem


def _find_listings(scanner: Scanner) -> tuple[list[Listing], dict[Path, int]]:
    """The lists under a root, and the folders of videos without a list with the number of videos."""
    listings, unlisted = [], {}
    for visit in walk(scanner, scanner.root, MAX_DEPTH):
        folder = visit.folder
        parts = folder.relative_to(scanner.root).parts or (scanner.root.name,)
        held_out = 'val' if any(part.lower().startswith('val') for part in parts) else 'test'
        if (listing := _read_listing(folder, held_out)) is not None:
            listings.append(listing)
        elif count := len(visit.videos):
            unlisted[folder] = count
    return listings, unlisted


def _merge(listings: list[Listing]) -> dict[str, tuple[int, str]]:
    """Label and split of each video of all lists.

    Raises:
        InputError: If two lists disagree on a video.
    """
    merged: dict[str, tuple[int, str]] = {}
    for listing in listings:
        for video, label in listing.labels.items():
            entry = (label, listing.split)
            if merged.setdefault(video, entry) != entry:
                raise InputError(
                    f'{listing.folder}: {video!r} has another label or split in another folder; '
                    'keep only one of the two lists under the root'
                )
    return merged


def _videos(scanner: Scanner, folder: Path) -> list[Path]:
    """Videos of a list: beside it, or in one of the usual folders that has no list of its own."""
    others = [folder / name for name in VIDEO_FOLDERS]
    folders = [f for f in others if not (f / METADATA).is_file() and not (f / LABELS).is_file()]
    lists = (METADATA, LABELS)
    return [path for f in (folder, *folders) for path in scanner.list_videos(f, lists, nested=True)]


def _add(scanner: Scanner, listing: Listing, path: Path, known: dict[str, tuple[int, str]]) -> None:
    video, expected = path.stem, (GENUINE, listing.split)
    label, original = listing.labels[video], listing.originals.get(video)
    names = Names(video if label == GENUINE else original)
    # An original that no list names is known all the same, but never a fake or of another split.
    if original is not None and known.get(original, expected) == expected:
        names = names._replace(pair=(METHODS[GENUINE], original))
    scanner.add(path, video, method=METHODS[label], label=label, split=listing.split, names=names)


LAYOUT = Layout(
    name='dfdc',
    read=_read,
    summary='Deepfake Detection Challenge: 119,154 training, 4000 validation, 5000 test videos',
    tree="""\
ROOT/     (any of these, also in folders of folders; ROOT may be a part itself)
  dfdc_train_part_<n>/metadata.json, *.mp4             (train)
  validation/labels.csv, *.mp4                         (val: any folder whose name begins with val)
  test/labels.csv or test/metadata.json, *.mp4         (test)
The videos of a list may be in a folder videos/ beside it""",
    example='dfdc_train_part_0/metadata.json with its videos',
    dataset='dfdc',
    unused=('splits_dir', 'split', 'stills'),
)
