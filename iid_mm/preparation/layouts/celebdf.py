# SPDX-License-Identifier: Apache-2.0
"""Celeb-DF v1 and v2, which are laid out in the same way.

A fake ``id<a>_id<b>_<n>`` shows the head and scene of ``Celeb-real/id<a>_<n>`` with the face of ``id<b>``.
The test videos are those of ``List_of_testing_videos.txt``; all others are for training. In that list 1
means *real*. Its length distinguishes the versions: 100 videos in v1, 518 in v2.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from iid_mm.errors import InputError
from iid_mm.preparation.layouts.base import Layout, Scanner, subfolders
from iid_mm.preparation.layouts.lists import plain_path, read_lines, short
from iid_mm.preparation.layouts.names import NameRule
from iid_mm.structures.video_record import FAKE, GENUINE

LIST_NAME = 'List_of_testing_videos.txt'
TEST_VIDEOS = {100: 'celebdf_v1', 518: 'celebdf_v2'}
CELEB, YOUTUBE, SYNTHESIS = 'Celeb-real', 'YouTube-real', 'Celeb-synthesis'
LABELS = {CELEB: GENUINE, YOUTUBE: GENUINE, SYNTHESIS: FAKE}
# Copies differ in upper and lower case.
FOLDERS = {name.lower(): name for name in LABELS}
NAMES = {
    CELEB: NameRule(r'(?P<target>id\d+)_\d+', 'id<person>_<take>'),
    # Nobody says who is in the YouTube videos: each counts as a person of its own.
    YOUTUBE: NameRule(r'(?P<number>\d+)', 'a number', target='yt{number}'),
    SYNTHESIS: NameRule(
        r'(?P<target>id\d+)_(?P<source>id\d+)_(?P<take>\d+)',
        'id<target>_id<source>_<take>',
        genuine=CELEB,
        pair='{target}_{take}',
    ),
}
EXPECTED = 'lines such as "1 YouTube-real/00170.mp4" (1 = real, 0 = fake)'


def _read(scanner: Scanner) -> None:
    folders = _find_folders(scanner.root)
    path = _find_test_list(scanner)
    tested = read_test_list(path)
    scanner.dataset = scanner.dataset or _version_of(path, len(tested))
    videos = {
        name: [video for folder in paths for video in scanner.list_with_inner(folder)]
        for name, paths in folders.items()
    }
    for folder in [CELEB, YOUTUBE, *scanner.keep_methods([SYNTHESIS] if SYNTHESIS in videos else [])]:
        for video in videos.get(folder, []):
            with scanner.leaving_out(video):
                names = NAMES[folder].read(video.stem)
                is_tested = (folder, video.stem) in tested
                # The pair of a training fake must not be a test video.
                if names.pair and (names.pair in tested) != is_tested:
                    names = names._replace(pair=None)
                split, label = 'test' if is_tested else 'train', LABELS[folder]
                scanner.add(video, video.stem, method=folder, label=label, split=split, names=names)
    there = {(name, video.stem) for name, found in videos.items() for video in found}
    scanner.miss(f'{folder}/{video}.mp4' for folder, video in tested - there)


def _version_of(path: Path, count: int) -> str:
    """Name of the dataset that a test list belongs to, by its length."""
    if count not in TEST_VIDEOS:
        known = ', '.join(f'{n} ({name})' for n, name in TEST_VIDEOS.items())
        raise InputError(
            f'test list {str(path)!r} names {count} videos, the official lists {known}; get the whole list, '
            'or say which version it is with layout celebdf_v1 or celebdf_v2'
        )
    return TEST_VIDEOS[count]


def _find_test_list(scanner: Scanner) -> Path:
    """The list of test videos, without which nothing is prepared."""
    path = scanner.options.list_file(scanner.root, LIST_NAME)
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
            found.setdefault(FOLDERS[path.name.lower()], []).append(path)
    if not found:
        inside = [path.name for path in subfolders(root) if (path / CELEB).is_dir()]
        hint = f'; {str(root / inside[0])!r} has them: give that folder' if inside else ''
        raise FileNotFoundError(
            f'{str(root)!r} holds none of the folders {", ".join(LABELS)} of Celeb-DF{hint}'
        )
    return found


TREE = """\
ROOT/     (each folder may hold its videos in a folder videos/)
  Celeb-real/id<person>_<take>.mp4
  YouTube-real/<number>.mp4
  Celeb-synthesis/id<target>_id<source>_<take>.mp4
  List_of_testing_videos.txt     (or --splits-dir)"""
EXAMPLE = f'{CELEB}/id0_0000.mp4'
LAYOUT = Layout('celebdf', _read, 'Celeb-DF, version 1 or 2 by the length of its test list', TREE, EXAMPLE)
LAYOUT_V1 = Layout(
    name='celebdf_v1',
    read=_read,
    summary='Celeb-DF version 1: 408 genuine videos, 795 fakes, 100 of them for testing',
    tree=TREE,
    example=EXAMPLE,
    dataset='celebdf_v1',
)
LAYOUT_V2 = Layout(
    name='celebdf_v2',
    read=_read,
    summary='Celeb-DF version 2: 890 genuine videos, 5639 fakes, 518 of them for testing',
    tree=TREE,
    example=EXAMPLE,
    dataset='celebdf_v2',
)
