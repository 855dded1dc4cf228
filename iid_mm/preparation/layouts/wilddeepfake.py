# SPDX-License-Identifier: Apache-2.0
"""WildDeepfake: sequences of face crops in tar archives.

Archive ``fake_train/1.tar.gz`` holds ``./1/fake/35/0.png``: sequence 35 of archive 1. Most archives are not
compressed, whatever their suffix says. Numbers of archives repeat across the four folders and numbers of
sequences across archives, so that the video is ``train/1/35``. Archives that somebody has extracted are
read, too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from iid_mm.errors import InputError
from iid_mm.media.archives import ArchiveListing, list_images
from iid_mm.media.suffixes import ARCHIVE_SUFFIXES
from iid_mm.preparation.layouts.base import SPLIT_NAMES, Layout, Scanner
from iid_mm.preparation.layouts.images import image_folder, is_image, order_frames
from iid_mm.preparation.layouts.walking import walk
from iid_mm.structures.video_record import FAKE, GENUINE, ArchiveImages, FrameSource
from iid_mm.utils.workers import map_in_processes

LABELS = {'real': GENUINE, 'fake': FAKE}
# The folder that the download comes in.
OUTER_FOLDER = 'deepfake_in_the_wild'
# Folders of extraction scripts, which say nothing about the sequence.
EXTRA_FOLDERS = ('extracted', 'frames')
# Starting processes takes as long as listing that many archives.
PARALLEL_FROM, MAX_PROCESSES = 64, 8


def _read(scanner: Scanner) -> None:
    root = scanner.root
    if (root / OUTER_FOLDER).is_dir():
        root = root / OUTER_FOLDER
    sets = {(label, split): root / f'{label}_{split}' for split in SPLIT_NAMES for label in LABELS}
    sets = {name: folder for name, folder in sets.items() if folder.is_dir()}
    if not sets:
        raise FileNotFoundError(
            f'{str(root)!r} holds none of the folders real_train, fake_train, real_test, fake_test of '
            f'WildDeepfake:\n{scanner.layout.tree}'
        )
    kept = {'real', *scanner.keep_methods(label for label, _ in sets if LABELS[label] == FAKE)}
    sets = {name: folder for name, folder in sets.items() if name[0] in kept}
    archives = {path: name for name, folder in sets.items() for path in _list_archives(scanner, folder)}
    for path, listing in _list_all(list(archives), scanner.options.cache_dir):
        _add_archive(scanner, path, *archives[path], listing)
    for (label, split), folder in sets.items():
        _add_folders(scanner, folder, label, split)


def _list_archives(scanner: Scanner, folder: Path) -> list[Path]:
    names, _, _ = scanner.read_folder(folder)
    for name in names:
        if not name.lower().endswith(ARCHIVE_SUFFIXES):
            scanner.pass_over(folder, name)
    return [folder / name for name in names if name.lower().endswith(ARCHIVE_SUFFIXES)]


def _list_all(
    paths: list[Path], cache_dir: Path | None
) -> Iterator[tuple[Path, ArchiveListing | InputError | OSError]]:
    """Listings of archives, in their order, or why there is none."""
    list_one = partial(_list_one, cache_dir=cache_dir)
    processes = min(MAX_PROCESSES, os.cpu_count() or 1)
    listings: Iterator[ArchiveListing | InputError | OSError] = map(list_one, paths)
    if len(paths) >= PARALLEL_FROM and processes > 1 and not _is_cached(cache_dir, len(paths)):
        # Parsing of headers holds the interpreter, so that threads do not help.
        listings = map_in_processes(list_one, paths, processes)
    # Two seconds: a second pass has nothing to show.
    bar = tqdm(listings, 'listing archives', len(paths), delay=2, leave=False, unit='archive')
    try:
        yield from zip(paths, bar, strict=True)
    except BrokenProcessPool as error:
        raise InputError(
            'a process that lists archives died (out of memory?); what was listed is remembered: run '
            'the same command again'
        ) from error


def _is_cached(cache_dir: Path | None, count: int) -> bool:
    """Whether most of the archives have been listed before."""
    return cache_dir is not None and cache_dir.is_dir() and len(os.listdir(cache_dir)) > count // 2


def _list_one(path: Path, cache_dir: Path | None) -> ArchiveListing | InputError | OSError:
    try:
        return list_images(path, cache_dir)
    except (InputError, OSError) as error:
        return error


def _add_archive(
    scanner: Scanner, path: Path, label: str, split: str, listing: ArchiveListing | InputError | OSError
) -> None:
    if isinstance(listing, (InputError, OSError)):
        # Reports travel: no folders of this machine.
        scanner.leave_out(path, str(listing).replace(f'{scanner.root}{os.sep}', ''))
        return
    if listing.problem:
        scanner.leave_out(f'{scanner.name(path)} (rest)', f'{listing.problem}; what can be read is prepared')
    # Not all that the guard lets through: system folders were packed, too.
    images = list(filter(is_image, listing.names))
    if not images:
        scanner.leave_out(path, 'no images in it')
    sequences: dict[str, list[str]] = {}
    for name in images:
        sequences.setdefault(name.rpartition('/')[0], []).append(name)
    suffix = max((s for s in ARCHIVE_SUFFIXES if path.name.lower().endswith(s)), key=len)
    archive = path.name[: -len(suffix)]
    for folder, names in sequences.items():
        source = ArchiveImages(path, *order_frames(names))
        parts = (archive, *PurePosixPath(folder).parts)
        _add(scanner, source, parts, label, split, f'{scanner.name(path)}/{folder}')


def _add_folders(scanner: Scanner, base: Path, label: str, split: str) -> None:
    """Add the folders that hold images, which may lie at any depth."""
    for visit in walk(scanner, base):
        folder = visit.folder
        # The files beside the archives were listed with them.
        if folder != base and (source := image_folder(scanner, folder, visit.files)):
            _add(scanner, source, folder.relative_to(base).parts, label, split, scanner.name(folder))


def _add(
    scanner: Scanner, source: FrameSource, parts: tuple[str, ...], label: str, split: str, name: str
) -> None:
    """Add a sequence; ``parts`` are its archive and the folders in it, as ``('1', '1', 'fake', '35')``."""
    if any(part in LABELS and part != label for part in parts):
        scanner.leave_out(name, f'its path contradicts the folder {label}_{split}')
        return
    kept = [part for part in parts if part not in (*LABELS, *EXTRA_FOLDERS)]
    if kept[1:2] == kept[:1] and len(kept) > 2:
        # The archive repeats its own number.
        del kept[1]
    video = '/'.join([split, *kept])
    scanner.add(source, video, method=label, label=LABELS[label], split=split, cropped=True, name=name)


LAYOUT = Layout(
    name='wilddeepfake',
    read=_read,
    summary='WildDeepfake: 7314 sequences of face crops from 707 internet videos',
    tree="""\
ROOT/     (or ROOT/deepfake_in_the_wild/)
  {real,fake}_{train,test}/<archive>.tar.gz, which holds <archive>/{real,fake}/<sequence>/<frame>.png
  {real,fake}_{train,test}/<archive>/{real,fake}/<sequence>/<frame>.png     (where extracted)""",
    example='fake_train/1.tar.gz',
    dataset='wilddeepfake',
    unused=('splits_dir', 'split', 'stills'),
)
