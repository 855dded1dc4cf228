# SPDX-License-Identifier: Apache-2.0
"""Frames and landmarks as the scripts of SelfBlendedImages (SBI) leave them in the FaceForensics++ tree.

Frames are whole images. A file of landmarks holds all faces of a frame, the largest first. The boxes in
``retina/`` are not needed here. Most people have genuine videos only; manipulations are read where there
are any, with the mask videos of FaceForensics++.
"""

from __future__ import annotations

from pathlib import Path

from iid_mm.preparation.layouts.base import Layout, Scanner, subfolders
from iid_mm.preparation.layouts.ffpp import (
    FOREIGN_METHODS,
    MANIPULATED,
    ORIGINALS,
    YOUTUBE,
    Splits,
    find_masks,
    find_splits_dir,
    optional_splits,
)
from iid_mm.preparation.layouts.images import FRAMES, Folders, image_folder, landmark_files
from iid_mm.preparation.layouts.names import LeftOutError, Names
from iid_mm.structures.video_record import FAKE, GENUINE


def _read(scanner: Scanner) -> None:
    root = scanner.root
    sets = {YOUTUBE: root / ORIGINALS / YOUTUBE}
    sets |= {f.name: f for f in subfolders(root / MANIPULATED) if f.name not in FOREIGN_METHODS}
    known = scanner.layout.compressions
    levels = {c for folder in sets.values() for c in known if (folder / c / FRAMES).is_dir()}
    if not levels:
        raise FileNotFoundError(
            f'{str(root)!r} holds no folder {ORIGINALS}/{YOUTUBE}/<compression>/{FRAMES}; give the '
            'FaceForensics++ folder in which the scripts of SBI have extracted frames:\n'
            f'{scanner.layout.tree}'
        )
    scanner.pick_compression(levels, root)
    splits = optional_splits(root, scanner.options)
    if splits is None and scanner.options.split is None:
        find_splits_dir(root)
    there = {name: folder / scanner.compression / FRAMES for name, folder in sets.items()}
    there = {name: folder for name, folder in there.items() if folder.is_dir()}
    kept = scanner.keep_methods(name for name in there if name != YOUTUBE)
    folders = Folders(root)
    for name in [YOUTUBE, *kept]:
        if name in there:
            _add_videos(scanner, folders, name, there[name], splits)


def _add_videos(scanner: Scanner, folders: Folders, method: str, folder: Path, splits: Splits | None) -> None:
    label = GENUINE if method == YOUTUBE else FAKE
    masks = find_masks(scanner, method) if label else {}
    absent = splits.videos(label) if splits else set()
    for path in subfolders(folder):
        absent.discard(path.name)
        images = image_folder(scanner, path, scanner.read_folder(path)[0])
        with scanner.leaving_out(path):
            split, names = _find_split(scanner, label, path.name, splits)
            if images is None:
                raise LeftOutError('no images in it')
            scanner.add(
                images,
                path.name,
                method=method,
                label=label,
                split=split,
                names=names,
                mask=masks.get(path.name),
                landmarks=landmark_files(folders, images),
            )
    scanner.miss(folder / video for video in absent)


def _find_split(scanner: Scanner, label: int, name: str, splits: Splits | None) -> tuple[str, Names]:
    if splits:
        return splits.find(label, name)
    target, _, source = name.partition('_')
    return scanner.options.split_or(), Names(target, source or None, (YOUTUBE, target))


LAYOUT = Layout(
    name='sbi',
    read=_read,
    summary='FaceForensics++ with frames and landmarks extracted by the scripts of SelfBlendedImages',
    tree="""\
ROOT/
  original_sequences/youtube/{raw,c23,c40}/frames/<id>/<frame>.png
  original_sequences/youtube/{raw,c23,c40}/landmarks/<id>/<frame>.npy      (faces, 81, 2)
  manipulated_sequences/<method>/{raw,c23,c40}/{frames,landmarks}/<target>_<source>/     (optional)
  {train,val,test}.json     (or in splits/, dataset/splits/, or --splits-dir)""",
    # Raw is the default of the scripts of SBI.
    compressions=('raw', 'c23', 'c40'),
    analyzer='precomputed',
    example=f'{ORIGINALS}/{YOUTUBE}/{{level}}/{FRAMES}/000/000.png',
    dataset='ffpp',
    unused=('stills',),
)
