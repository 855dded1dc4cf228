# SPDX-License-Identifier: Apache-2.0
"""DeepFakeDetection (DFD) of Google and Jigsaw, which lies in the tree of FaceForensics++.

Genuine videos are ``<actor>__<scene>``; fakes are ``<target>_<source>__<scene>__<experiment>`` and show
the scene of actor ``<target>``. A pair of actors may have several experiments, so the whole name is the
video. There is no official split.
"""

from __future__ import annotations

import re
from pathlib import Path

from iid_mm.preparation.layouts.base import (
    Layout,
    Scanner,
    no_official_split,
    refuse_options,
)
from iid_mm.preparation.layouts.ffpp import (
    COMPRESSIONS,
    FOREIGN_METHODS,
    ORIGINALS,
    find_masks,
    find_sequences,
)
from iid_mm.preparation.records import LayoutOptions, LayoutScan
from iid_mm.structures.video_record import FAKE, GENUINE, VideoFile

DATASET = 'dfd'
GENUINE_FOLDER = 'actors'
GENUINE_NAME = re.compile(r'(?P<actor>\d+)__(?P<scene>.+)')
FAKE_NAME = re.compile(r'(?P<target>\d+)_(?P<source>\d+)__(?P<scene>.+)__(?P<experiment>[A-Z0-9]{8})')


def scan_dfd(root: Path, options: LayoutOptions) -> LayoutScan:
    """List the videos of DFD.

    Args:
        root: Folder that holds ``original_sequences`` and ``manipulated_sequences``.
        options: What to read.

    Returns:
        The videos, all in one split.

    Raises:
        InputError: If an option is unknown.
        FileNotFoundError: If folders or videos are missing.
    """
    refuse_options('dfd', options, 'splits_dir', 'stills')
    scanner = Scanner(root, DATASET, LAYOUT.compression(options), options)
    split = no_official_split(options)
    for method, folder in find_sequences(scanner, GENUINE_FOLDER, lambda f: f in FOREIGN_METHODS).items():
        if method == GENUINE_FOLDER:
            _scan_genuine(scanner, folder, split)
        else:
            _scan_fakes(scanner, method, folder, split)
    return scanner.finish(f'{ORIGINALS}/{GENUINE_FOLDER}/{scanner.compression}/videos/01__hugging_happy.mp4')


def _scan_genuine(scanner: Scanner, folder: Path, split: str) -> None:
    for path in scanner.list_videos(folder):
        name = GENUINE_NAME.fullmatch(path.stem)
        if name is None:
            scanner.leave_out(path, 'its name is not <actor>__<scene>')
            continue
        scanner.add(
            path, path.stem, method=GENUINE_FOLDER, label=GENUINE, split=split, target_id=name['actor']
        )


def _scan_fakes(scanner: Scanner, method: str, folder: Path, split: str) -> None:
    masks = find_masks(scanner, method)
    for path in scanner.list_videos(folder):
        name = FAKE_NAME.fullmatch(path.stem)
        if name is None:
            scanner.leave_out(path, 'its name is not <target>_<source>__<scene>__<8 characters>')
            continue
        mask = masks.get(path.stem)
        scanner.add(
            path,
            path.stem,
            method=method,
            label=FAKE,
            split=split,
            target_id=name['target'],
            source_id=name['source'],
            pair=scanner.key(GENUINE_FOLDER, f'{name["target"]}__{name["scene"]}'),
            mask=VideoFile(mask) if mask else None,
        )


LAYOUT = Layout(
    name='dfd',
    scan=scan_dfd,
    summary='DeepFakeDetection of Google and Jigsaw: 363 genuine videos of 28 actors, 3068 fakes',
    tree="""\
ROOT/     (the tree of FaceForensics++)
  original_sequences/actors/{raw,c23,c40}/videos/<actor>__<scene>.mp4
  manipulated_sequences/DeepFakeDetection/{raw,c23,c40}/videos/
    <target>_<source>__<scene>__<8 characters>.mp4
  manipulated_sequences/DeepFakeDetection/masks/videos/<same name>.mp4     (optional)
No official split: all in test, or in the one of --split""",
    compressions=COMPRESSIONS,
)
