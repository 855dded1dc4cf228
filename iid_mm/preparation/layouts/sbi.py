# SPDX-License-Identifier: Apache-2.0
"""Frames and landmarks as the scripts of SelfBlendedImages (SBI) leave them in the FaceForensics++ tree.

Frames are whole pictures. A file of landmarks holds all faces of a frame, the largest first. The boxes in
``retina/`` are not needed here. Most people have genuine videos only; manipulations are read where there
are any, with the mask videos of FaceForensics++.
"""

from __future__ import annotations

from pathlib import Path

from iid_mm.preparation.layouts.base import Layout, Scanner, no_official_split, refuse_options, subfolders
from iid_mm.preparation.layouts.ffpp import (
    FOREIGN_METHODS,
    GENUINE_FOLDER,
    MANIPULATED,
    ORIGINALS,
    Splits,
    find_masks,
    find_splits_dir,
)
from iid_mm.preparation.layouts.images import (
    FRAMES,
    FfppVideo,
    Folders,
    ffpp_split,
    ffpp_splits,
    is_image,
    landmark_files,
    order_frames,
    pick_compression,
)
from iid_mm.preparation.records import LayoutOptions, LayoutScan
from iid_mm.structures.video_record import FAKE, GENUINE, ImageFiles, VideoFile

DATASET = 'ffpp'


def scan_sbi(root: Path, options: LayoutOptions) -> LayoutScan:
    """List the videos of an SBI tree.

    Args:
        root: Folder that holds ``original_sequences``, with ``frames`` and ``landmarks`` in it.
        options: What to read.

    Returns:
        The videos whose ids are in a split; the others are in ``left_out``, and those that the splits
        name but a folder that is there lacks in ``missing``.

    Raises:
        InputError: If an option is unknown or a split file is unreadable.
        FileNotFoundError: If splits, folders or videos are missing.
    """
    refuse_options('sbi', options, 'stills')
    sets = {GENUINE_FOLDER: root / ORIGINALS / GENUINE_FOLDER}
    sets |= {f.name: f for f in subfolders(root / MANIPULATED) if f.name not in FOREIGN_METHODS}
    levels = {c for folder in sets.values() for c in LAYOUT.compressions if (folder / c / FRAMES).is_dir()}
    if not levels:
        raise FileNotFoundError(
            f'{str(root)!r} holds no folder {ORIGINALS}/{GENUINE_FOLDER}/<compression>/{FRAMES}; give the '
            f'FaceForensics++ folder in which the scripts of SBI have extracted frames:\n{LAYOUT.tree}'
        )
    scanner = Scanner(root, DATASET, pick_compression(LAYOUT, options, levels, root), options)
    splits = ffpp_splits(root, options)
    if splits is None and options.split is None:
        find_splits_dir(root)
    there = {name: folder / scanner.compression / FRAMES for name, folder in sets.items()}
    there = {name: folder for name, folder in there.items() if folder.is_dir()}
    kept = scanner.keep_methods(name for name in there if name != GENUINE_FOLDER)
    folders = Folders(root)
    for name in [GENUINE_FOLDER, *kept]:
        if name in there:
            _scan_set(scanner, folders, name, there[name], splits)
    return scanner.finish(f'{ORIGINALS}/{GENUINE_FOLDER}/{scanner.compression}/{FRAMES}/000/000.png')


def _scan_set(scanner: Scanner, folders: Folders, method: str, folder: Path, splits: Splits | None) -> None:
    label = GENUINE if method == GENUINE_FOLDER else FAKE
    masks = find_masks(scanner, method) if label == FAKE else {}
    absent = _expected(label, splits)
    for path in subfolders(folder):
        absent.discard(path.name)
        video = FfppVideo(label, method, scanner.compression, path.name)
        split, reason = ffpp_split(video, splits) if splits else (no_official_split(scanner.options), '')
        files, _, _ = scanner.read_folder(path)
        names = [name for name in files if is_image(name)]
        for name in files:
            if not is_image(name):
                scanner.pass_over(path, name)
        if reason := reason or ('' if names else 'no images in it'):
            scanner.leave_out(path, reason)
            continue
        target, _, source = path.name.partition('_')
        images = ImageFiles(path, *order_frames(names))
        mask = masks.get(path.name)
        scanner.add(
            images,
            path.name,
            method=method,
            label=label,
            split=split,
            target_id=target,
            source_id=source or None,
            pair=scanner.key(GENUINE_FOLDER, target) if label == FAKE else None,
            mask=VideoFile(mask) if mask else None,
            landmarks=landmark_files(folders, images),
        )
    scanner.result.missing.extend(scanner.name(folder / video) for video in absent)


def _expected(label: int, splits: Splits | None) -> set[str]:
    """Names of the videos that the splits name."""
    if splits is None:
        return set()
    if label == GENUINE:
        return set(splits.of)
    return {f'{a}_{b}' for pair in splits.pairs for a, b in (pair, pair[::-1])}


LAYOUT = Layout(
    name='sbi',
    scan=scan_sbi,
    summary='FaceForensics++ with frames and landmarks extracted by the scripts of SelfBlendedImages',
    tree="""\
ROOT/
  original_sequences/youtube/{raw,c23,c40}/frames/<id>/<frame>.png
  original_sequences/youtube/{raw,c23,c40}/landmarks/<id>/<frame>.npy      (faces, 81, 2)
  manipulated_sequences/<method>/{raw,c23,c40}/{frames,landmarks}/<target>_<source>/     (optional)
  {train,val,test}.json     (or in splits/, dataset/splits/, or --splits-dir)""",
    # The scripts of SBI take raw unless told otherwise.
    compressions=('raw', 'c23', 'c40'),
    analyzer='precomputed',
)
