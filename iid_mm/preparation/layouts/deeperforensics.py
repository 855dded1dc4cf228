# SPDX-License-Identifier: Apache-2.0
"""DeeperForensics-1.0.

A fake ``<target>_<actor>`` shows the FaceForensics++ video ``<target>`` with the face of a recorded actor;
the variants of a fake (with no, random or mixed distortions) have one name. The genuine counterparts are
the c23 YouTube videos of FaceForensics++, which do not come with the set: a link to them is enough. The
``source_videos`` are recordings of the actors, which the authors say are not the genuine class.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from iid_mm.errors import InputError
from iid_mm.preparation.layouts.base import (
    SPLIT_NAMES,
    Layout,
    Scanner,
    refuse_options,
    subfolders,
)
from iid_mm.preparation.layouts.lists import plain_path, read_lines, short
from iid_mm.preparation.records import LayoutOptions, LayoutScan
from iid_mm.structures.video_record import FAKE, GENUINE

DATASET = 'deeperforensics'
GENUINE_FOLDER = 'youtube'
GENUINE_PATH = 'original_sequences/youtube/c23/videos'
MANIPULATED = 'manipulated_videos'
SPLITS_PATH = 'lists/splits'
FAKE_NAME = re.compile(r'(?P<target>\d+)_(?P<source>[A-Za-z]\d+)')
EXPECTED = 'one fake a line, such as 000_M101.mp4'


def scan_deeperforensics(root: Path, options: LayoutOptions) -> LayoutScan:
    """List the videos of DeeperForensics-1.0.

    Args:
        root: Folder that holds ``manipulated_videos`` and ``lists``.
        options: What to read.

    Returns:
        The fakes that are in a split, and the genuine videos they were made from where those are there.

    Raises:
        InputError: If a split list is not one, or two splits share a video.
        FileNotFoundError: If folders, lists or videos are missing.
    """
    refuse_options('deeperforensics', options, 'split', 'stills')
    scanner = Scanner(root, DATASET, LAYOUT.compression(options), options)
    variants = {folder.name: folder for folder in subfolders(root / MANIPULATED)}
    if not variants:
        raise FileNotFoundError(f'no folder {str(root / MANIPULATED / "end_to_end")!r} or another variant')
    splits = read_splits(options.splits_dir or root / SPLITS_PATH)
    genuine = _splits_of_targets(splits)
    for variant in scanner.keep_methods(variants):
        _scan_variant(scanner, variant, variants[variant], splits, genuine)
    for path in scanner.list_videos(root / GENUINE_PATH):
        if path.stem not in genuine:
            scanner.leave_out(path, 'no fake of a split was made from it')
            continue
        scanner.add(
            path,
            path.stem,
            method=GENUINE_FOLDER,
            label=GENUINE,
            split=genuine[path.stem],
            target_id=path.stem,
        )
    if (root / 'source_videos').is_dir():
        scanner.leave_out(root / 'source_videos', 'recordings of the actors: not the genuine class')
    return scanner.finish(f'{MANIPULATED}/end_to_end/000_M101.mp4')


def read_splits(folder: Path) -> dict[str, str]:
    """Read the split lists.

    Args:
        folder: Folder of ``train.txt``, ``val.txt`` and ``test.txt``.

    Returns:
        Name of a fake without suffix -> split.

    Raises:
        FileNotFoundError: If a list is missing.
        InputError: If a line is not the name of a fake, or a fake is in two splits.
    """
    splits: dict[str, str] = {}
    for split in SPLIT_NAMES:
        for place, line in read_lines(folder / f'{split}.txt', EXPECTED):
            video = PurePosixPath(plain_path(line)).stem
            if FAKE_NAME.fullmatch(video) is None:
                raise InputError(f'{place}: {short(line)} is not a fake; expected {EXPECTED}')
            if splits.setdefault(video, split) != split:
                raise InputError(f'{place}: {video!r} is also in {splits[video]}.txt; it may be in one split')
    return splits


def _splits_of_targets(splits: dict[str, str]) -> dict[str, str]:
    """Genuine video -> split; one that several splits use is for the latest of train, val, test."""
    found: dict[str, str] = {}
    for video, split in sorted(splits.items(), key=lambda item: SPLIT_NAMES.index(item[1])):
        found[video.partition('_')[0]] = split
    return found


def _scan_variant(
    scanner: Scanner, variant: str, folder: Path, splits: dict[str, str], genuine: dict[str, str]
) -> None:
    absent = set(splits)
    for path in [*scanner.list_videos(folder, ('videos',)), *scanner.list_videos(folder / 'videos')]:
        absent.discard(path.stem)
        name = FAKE_NAME.fullmatch(path.stem)
        if name is None or path.stem not in splits:
            scanner.leave_out(path, 'it is in no split list' if name else 'its name is not <target>_<actor>')
            continue
        split, target = splits[path.stem], name['target']
        scanner.add(
            path,
            path.stem,
            method=variant,
            label=FAKE,
            split=split,
            target_id=target,
            source_id=name['source'],
            pair=scanner.key(GENUINE_FOLDER, target) if genuine[target] == split else None,
        )
    scanner.result.missing.extend(scanner.name(folder / f'{video}.mp4') for video in absent)


LAYOUT = Layout(
    name='deeperforensics',
    scan=scan_deeperforensics,
    summary='DeeperForensics-1.0: 1000 fakes in 11 variants; genuine videos are those of FaceForensics++',
    tree="""\
ROOT/
  manipulated_videos/<variant>/<target>_<actor>.mp4     (end_to_end, end_to_end_level_1, ...)
  lists/splits/{train,val,test}.txt     (or --splits-dir)
  original_sequences/youtube/c23/videos/<target>.mp4     (from FaceForensics++; optional: link
    the folder original_sequences of FaceForensics++ into ROOT to have genuine videos and pairs)""",
)
