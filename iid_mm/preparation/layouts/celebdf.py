# SPDX-License-Identifier: Apache-2.0
"""Celeb-DF v1 and v2, which lie on disk in the same way.

A fake ``id<a>_id<b>_<n>`` shows the head and scene of ``Celeb-real/id<a>_<n>`` with the face of ``id<b>``.
The test videos are those of ``List_of_testing_videos.txt``; all others are for training. In that list 1
means *real*. The length of the list tells the versions apart: 100 videos in v1, 518 in v2.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path, PurePosixPath

from iid_mm.errors import InputError
from iid_mm.preparation.layouts.base import Layout, Scanner, refuse_options, subfolders
from iid_mm.preparation.layouts.lists import plain_path, read_lines, short
from iid_mm.preparation.records import LayoutOptions, LayoutScan
from iid_mm.structures.video_record import FAKE, GENUINE

LIST_NAME = 'List_of_testing_videos.txt'
TEST_VIDEOS = {100: 'celebdf_v1', 518: 'celebdf_v2'}
CELEB, YOUTUBE, SYNTHESIS = 'Celeb-real', 'YouTube-real', 'Celeb-synthesis'
LABELS = {CELEB: GENUINE, YOUTUBE: GENUINE, SYNTHESIS: FAKE}
# Copies differ in upper and lower case.
FOLDERS = {name.lower(): name for name in LABELS}
CELEB_NAME = re.compile(r'(?P<target>id\d+)_(?P<take>\d+)')
YOUTUBE_NAME = re.compile(r'\d+')
FAKE_NAME = re.compile(r'(?P<target>id\d+)_(?P<source>id\d+)_(?P<take>\d+)')
EXPECTED = 'lines such as "1 YouTube-real/00170.mp4" (1 = real, 0 = fake)'


def scan_celebdf(root: Path, options: LayoutOptions, *, dataset: str | None = None) -> LayoutScan:
    """List the videos of Celeb-DF.

    Args:
        root: Folder that holds ``Celeb-real``, ``YouTube-real`` and ``Celeb-synthesis``.
        options: What to read.
        dataset: ``celebdf_v1`` or ``celebdf_v2``; None goes by the length of the test list.

    Returns:
        The videos; a fake has a pair only if its genuine video is in the same split.

    Raises:
        InputError: If the test list is not one, contradicts the folders, or is of neither version.
        FileNotFoundError: If the test list or the videos are missing.
    """
    refuse_options(dataset or 'celebdf', options, 'split', 'stills')
    compression = LAYOUT.compression(options)
    folders = _find_folders(root)
    path = find_test_list(root, options.splits_dir)
    tested = read_test_list(path)
    scanner = Scanner(root, dataset or version_of(path, len(tested)), compression, options)
    videos = {
        name: [video for folder in paths for video in scanner.list_videos(folder, ('videos',))]
        for name, paths in folders.items()
    }
    for name in (CELEB, YOUTUBE):
        for video in videos.get(name, []):
            _add_genuine(scanner, name, video, tested)
    for name in scanner.keep_methods([SYNTHESIS] if SYNTHESIS in videos else []):
        for video in videos[name]:
            _add_fake(scanner, video, tested)
    there = {(name, video.stem) for name, found in videos.items() for video in found}
    scanner.result.missing.extend(f'{folder}/{video}.mp4' for folder, video in tested - there)
    return scanner.finish(f'{CELEB}/id0_0000.mp4')


def version_of(path: Path, count: int) -> str:
    """Name of the dataset that a test list belongs to.

    Raises:
        InputError: If it is the list of neither version.
    """
    if count not in TEST_VIDEOS:
        known = ', '.join(f'{n} ({name})' for n, name in TEST_VIDEOS.items())
        raise InputError(
            f'test list {str(path)!r} names {count} videos, the official lists {known}; get the whole list, '
            'or say which version it is with layout celebdf_v1 or celebdf_v2'
        )
    return TEST_VIDEOS[count]


def find_test_list(root: Path, given: Path | None = None) -> Path:
    """Find the list of test videos.

    Args:
        root: Folder of the dataset.
        given: The list or its folder, where the user names it.

    Returns:
        The list.

    Raises:
        FileNotFoundError: If there is none.
    """
    path = (given or root) if given and given.is_file() else (given or root) / LIST_NAME
    if not path.is_file():
        raise FileNotFoundError(
            f'no test list {str(path)!r}; without it test videos would end up in the training split. '
            'It comes with the dataset: put it there, or give it with --splits-dir'
        )
    return path


def read_test_list(path: Path) -> set[tuple[str, str]]:
    """Read the list of test videos.

    Args:
        path: The list.

    Returns:
        Folder and name without suffix of each video.

    Raises:
        InputError: If a line is not a label and a path, or contradicts the folder of the video.
    """
    tested = set()
    for place, line in read_lines(path, EXPECTED):
        label, _, video = line.partition(' ')
        parts = PurePosixPath(plain_path(video)).parts
        folder = FOLDERS.get(parts[0].lower()) if len(parts) > 1 else None
        if label not in ('0', '1') or folder is None:
            raise InputError(f'{place}: {short(line)} is not a test video; expected {EXPECTED}')
        if (label == '1') != (LABELS[folder] == GENUINE):
            kind = 'genuine' if LABELS[folder] == GENUINE else 'fake'
            raise InputError(
                f'{place}: label {label} for a video of {folder}, which are all {kind} (1 = real, 0 = fake); '
                'the list is not the official one: get it from the dataset'
            )
        tested.add((folder, PurePosixPath(parts[-1]).stem))
    return tested


def _find_folders(root: Path) -> dict[str, list[Path]]:
    """Official name of a folder -> the folders that hold its videos."""
    found: dict[str, list[Path]] = {}
    for path in subfolders(root):
        if path.name.lower() in FOLDERS:
            found.setdefault(FOLDERS[path.name.lower()], []).extend([path, path / 'videos'])
    if not found:
        inside = [path.name for path in subfolders(root) if (path / CELEB).is_dir()]
        hint = f'; {str(root / inside[0])!r} has them: give that folder' if inside else ''
        raise FileNotFoundError(
            f'{str(root)!r} holds none of the folders {", ".join(LABELS)} of Celeb-DF{hint}'
        )
    return found


def _add_genuine(scanner: Scanner, folder: str, path: Path, tested: set[tuple[str, str]]) -> None:
    name = (CELEB_NAME if folder == CELEB else YOUTUBE_NAME).fullmatch(path.stem)
    if name is None:
        expected = 'id<person>_<take>' if folder == CELEB else 'a number'
        scanner.leave_out(path, f'its name is not {expected}')
        return
    scanner.add(
        path,
        path.stem,
        method=folder,
        label=GENUINE,
        split=_split(folder, path.stem, tested),
        # Nobody says who is in the YouTube videos: each is taken for a person of its own.
        target_id=name['target'] if folder == CELEB else f'yt{path.stem}',
    )


def _add_fake(scanner: Scanner, path: Path, tested: set[tuple[str, str]]) -> None:
    name = FAKE_NAME.fullmatch(path.stem)
    if name is None:
        scanner.leave_out(path, 'its name is not id<target>_id<source>_<take>')
        return
    genuine = f'{name["target"]}_{name["take"]}'
    split = _split(SYNTHESIS, path.stem, tested)
    # The pair of a training fake must not be a test video.
    same_split = split == _split(CELEB, genuine, tested)
    scanner.add(
        path,
        path.stem,
        method=SYNTHESIS,
        label=FAKE,
        split=split,
        target_id=name['target'],
        source_id=name['source'],
        pair=scanner.key(CELEB, genuine) if same_split else None,
    )


def _split(folder: str, video: str, tested: set[tuple[str, str]]) -> str:
    return 'test' if (folder, video) in tested else 'train'


TREE = """\
ROOT/     (each folder may hold its videos in a folder videos/)
  Celeb-real/id<person>_<take>.mp4
  YouTube-real/<number>.mp4
  Celeb-synthesis/id<target>_id<source>_<take>.mp4
  List_of_testing_videos.txt     (or --splits-dir)"""
LAYOUT = Layout(
    name='celebdf',
    scan=scan_celebdf,
    summary='Celeb-DF, version 1 or 2 by the length of its test list',
    tree=TREE,
)
LAYOUT_V1 = Layout(
    name='celebdf_v1',
    scan=partial(scan_celebdf, dataset='celebdf_v1'),
    summary='Celeb-DF version 1: 408 genuine videos, 795 fakes, 100 of them for testing',
    tree=TREE,
)
LAYOUT_V2 = Layout(
    name='celebdf_v2',
    scan=partial(scan_celebdf, dataset='celebdf_v2'),
    summary='Celeb-DF version 2: 890 genuine videos, 5639 fakes, 518 of them for testing',
    tree=TREE,
)
