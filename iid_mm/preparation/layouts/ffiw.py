# SPDX-License-Identifier: Apache-2.0
"""Face Forensics in the Wild (FFIW10K): several faces a frame, some of them manipulated.

``source`` holds genuine videos, ``target`` fakes and ``target_mask`` where the fakes were manipulated; the
masks choose the face of a fake. A fake is taken to be made from the genuine video of its name. The release
does not say so, but preparation drops pairs that do not show the same scene.
"""

from __future__ import annotations

from pathlib import Path

from iid_mm.preparation.layouts.base import (
    SPLIT_NAMES,
    Layout,
    Scanner,
    refuse_options,
    walk,
)
from iid_mm.preparation.layouts.ffpp import videos_by_name
from iid_mm.preparation.records import LayoutOptions, LayoutScan
from iid_mm.structures.video_record import FAKE, GENUINE, VideoFile

DATASET = 'ffiw'
GENUINE_FOLDER, FAKE_FOLDER, MASK_FOLDER = 'source', 'target', 'target_mask'
# train and val come in one download, test in another; each unpacks into folders of its own.
MAX_DEPTH = 3


def scan_ffiw(root: Path, options: LayoutOptions) -> LayoutScan:
    """List the videos of FFIW10K.

    Args:
        root: Folder that holds ``source`` and ``target``, or the folders of the release that do.
        options: What to read.

    Returns:
        The videos.

    Raises:
        InputError: If an option is unknown.
        FileNotFoundError: If folders or videos are missing.
    """
    refuse_options('ffiw', options, 'splits_dir', 'split', 'stills')
    scanner = Scanner(root, DATASET, LAYOUT.compression(options), options)
    bases = _find_bases(scanner)
    if not bases:
        raise FileNotFoundError(
            f'no folder {GENUINE_FOLDER}/train, {FAKE_FOLDER}/train or the like under {str(root)!r}; '
            'expected the folders of FFIW10K-v1-release'
        )
    methods = scanner.keep_methods({FAKE_FOLDER for base in bases if (base / FAKE_FOLDER).is_dir()})
    for base in bases:
        for split in SPLIT_NAMES:
            _scan_split(scanner, base, split, fakes=bool(methods))
    return scanner.finish(f'{GENUINE_FOLDER}/train/train_00000000.mp4')


def _find_bases(scanner: Scanner) -> list[Path]:
    """Folders that hold ``source/<split>`` or ``target/<split>``."""
    kinds = (GENUINE_FOLDER, FAKE_FOLDER)
    # The videos of a base are not gone through.
    found: list[Path] = []
    for visit in walk(Scanner(scanner.root, DATASET, '', scanner.options), scanner.root, MAX_DEPTH):
        folder = visit.folder
        if any((folder / kind / split).is_dir() for kind in kinds for split in SPLIT_NAMES):
            found.append(folder)
    return [base for base in found if not any(other in base.parents for other in found)]


def _videos(scanner: Scanner, folder: Path, split: str) -> list[Path]:
    """Videos of a split; one that says it is of another split is left out."""
    videos = []
    for path in [*scanner.list_videos(folder, ('videos',)), *scanner.list_videos(folder / 'videos')]:
        prefix = path.stem.partition('_')[0].lower()
        if prefix in SPLIT_NAMES and prefix != split:
            scanner.leave_out(path, f'its name is of another split than its folder {split}')
        else:
            videos.append(path)
    return videos


def _scan_split(scanner: Scanner, base: Path, split: str, *, fakes: bool) -> None:
    genuine = _videos(scanner, base / GENUINE_FOLDER / split, split)
    for path in genuine:
        # Nobody says who is shown: each genuine video is taken for people of its own.
        scanner.add(path, path.stem, method=GENUINE_FOLDER, label=GENUINE, split=split, target_id=path.stem)
    if not fakes:
        return
    wanted = scanner.options.masks
    masks = videos_by_name(_videos(scanner, base / MASK_FOLDER / split, split) if wanted else [])
    originals = {path.stem for path in genuine}
    for path in _videos(scanner, base / FAKE_FOLDER / split, split):
        mask = masks.get(path.stem)
        paired = path.stem in originals
        scanner.add(
            path,
            path.stem,
            method=FAKE_FOLDER,
            label=FAKE,
            split=split,
            target_id=path.stem if paired else None,
            pair=scanner.key(GENUINE_FOLDER, path.stem) if paired else None,
            mask=VideoFile(mask) if mask else None,
        )


LAYOUT = Layout(
    name='ffiw',
    scan=scan_ffiw,
    summary='Face Forensics in the Wild (FFIW10K): 10,000 genuine, 10,000 fakes, several faces a frame',
    tree="""\
ROOT/     (or folders in it, such as FFIW10K-v1-release and FFIW10K-v1-release-test;
           each split folder may hold its videos in a folder videos/)
  source/{train,val,test}/<split>_<number>.mp4          (genuine)
  target/{train,val,test}/<split>_<number>.mp4          (fake)
  target_mask/{train,val,test}/<split>_<number>.mp4     (optional)""",
)
