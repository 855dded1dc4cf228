# SPDX-License-Identifier: Apache-2.0
"""DeeperForensics-1.0.

A fake ``<target>_<actor>`` shows the FaceForensics++ video ``<target>`` with the face of a recorded actor;
the variants of a fake (with no, random or mixed distortions) have the same name. The genuine counterparts
are the c23 YouTube videos of FaceForensics++, which do not come with the set: a link to them is enough. The
``source_videos`` are recordings of the actors, which the authors say are not the genuine class.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from iid_mm.errors import InputError
from iid_mm.preparation.layouts.base import SPLIT_NAMES, Layout, Scanner, subfolders
from iid_mm.preparation.layouts.lists import plain_path, read_lines, short
from iid_mm.preparation.layouts.names import LeftOutError, NameRule, Names
from iid_mm.structures.video_record import FAKE, GENUINE

YOUTUBE = 'youtube'
GENUINE_PATH = 'original_sequences/youtube/c23/videos'
MANIPULATED = 'manipulated_videos'
SPLITS_PATH = 'lists/splits'
FAKE_NAME = NameRule(r'(?P<target>\d+)_(?P<source>[A-Za-z]\d+)', '<target>_<actor>', genuine=YOUTUBE)
EXPECTED = 'one fake a line, such as 000_M101.mp4'


def _read(scanner: Scanner) -> None:
    root = scanner.root
    variants = {folder.name: folder for folder in subfolders(root / MANIPULATED)}
    if not variants:
        raise FileNotFoundError(f'no folder {str(root / MANIPULATED / "end_to_end")!r} or another variant')
    splits = _read_splits(scanner.options.splits_dir or root / SPLITS_PATH)
    genuine = _splits_of_targets(splits)
    for variant in scanner.keep_methods(variants):
        _add_fakes(scanner, variants[variant], splits, genuine)
    for path in scanner.list_videos(root / GENUINE_PATH):
        if path.stem not in genuine:
            scanner.leave_out(path, 'no fake of a split was made from it')
            continue
        split, names = genuine[path.stem], Names(path.stem)
        scanner.add(path, path.stem, method=YOUTUBE, label=GENUINE, split=split, names=names)
    if (root / 'source_videos').is_dir():
        scanner.leave_out(root / 'source_videos', 'recordings of the actors: not the genuine class')


def _read_splits(folder: Path) -> dict[str, str]:
    """Name of a fake without suffix -> split."""
    splits: dict[str, str] = {}
    for split in SPLIT_NAMES:
        for place, line in read_lines(folder / f'{split}.txt', EXPECTED):
            video = PurePosixPath(plain_path(line)).stem
            if FAKE_NAME.match(video) is None:
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


def _add_fakes(scanner: Scanner, folder: Path, splits: dict[str, str], genuine: dict[str, str]) -> None:
    absent = set(splits)
    for path in scanner.list_with_inner(folder):
        absent.discard(path.stem)
        with scanner.leaving_out(path):
            names = FAKE_NAME.read(path.stem)
            if (split := splits.get(path.stem)) is None:
                raise LeftOutError('it is in no split list')
            if genuine[str(names.target)] != split:
                names = names._replace(pair=None)
            scanner.add(path, path.stem, method=folder.name, label=FAKE, split=split, names=names)
    scanner.miss(folder / f'{video}.mp4' for video in absent)


LAYOUT = Layout(
    name='deeperforensics',
    read=_read,
    summary='DeeperForensics-1.0: 1000 fakes in 11 variants; genuine videos are those of FaceForensics++',
    tree="""\
ROOT/
  manipulated_videos/<variant>/<target>_<actor>.mp4     (end_to_end, end_to_end_level_1, ...)
  lists/splits/{train,val,test}.txt     (or --splits-dir)
  original_sequences/youtube/c23/videos/<target>.mp4     (from FaceForensics++; optional: link
    the folder original_sequences of FaceForensics++ into ROOT to have genuine videos and pairs)""",
    example=f'{MANIPULATED}/end_to_end/000_M101.mp4',
    dataset='deeperforensics',
)
