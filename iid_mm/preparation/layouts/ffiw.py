# SPDX-License-Identifier: Apache-2.0
"""Face Forensics in the Wild (FFIW10K): several faces per frame, some of them manipulated.

``source`` holds genuine videos, ``target`` fakes and ``target_mask`` where the fakes were manipulated; the
masks choose the face of a fake. A fake is taken to be made from the genuine video of the same name. The
release does not say so, but preparation drops pairs that do not show the same scene.
"""

from __future__ import annotations

from pathlib import Path

from iid_mm.preparation.layouts.base import SPLIT_NAMES, Layout, Scanner
from iid_mm.preparation.layouts.ffpp import videos_by_name
from iid_mm.preparation.layouts.names import Names
from iid_mm.preparation.layouts.walking import walk
from iid_mm.structures.video_record import FAKE, GENUINE

GENUINE_FOLDER, FAKE_FOLDER, MASK_FOLDER = 'source', 'target', 'target_mask'
# train and val come in one download, test in another; each unpacks into folders of its own.
MAX_DEPTH = 3


def _read(scanner: Scanner) -> None:
    bases = _find_bases(scanner)
    if not bases:
        raise FileNotFoundError(
            f'no folder {GENUINE_FOLDER}/train, {FAKE_FOLDER}/train or the like under '
            f'{str(scanner.root)!r}; expected the folders of FFIW10K-v1-release'
        )
    methods = scanner.keep_methods({FAKE_FOLDER for base in bases if (base / FAKE_FOLDER).is_dir()})
    for base in bases:
        for split in SPLIT_NAMES:
            _add_split(scanner, base, split, fakes=bool(methods))


def _find_bases(scanner: Scanner) -> list[Path]:
    """Folders that hold ``source/<split>`` or ``target/<split>``; folders in them are not searched."""
    # What this walk passes over is not noted: the videos are listed later.
    visits = walk(Scanner(scanner.root, scanner.layout, ''), scanner.root, MAX_DEPTH)
    places = [f'{kind}/{split}' for kind in (GENUINE_FOLDER, FAKE_FOLDER) for split in SPLIT_NAMES]
    found = [visit.folder for visit in visits if any((visit.folder / place).is_dir() for place in places)]
    return [base for base in found if not any(other in base.parents for other in found)]


def _videos(scanner: Scanner, folder: Path, split: str) -> list[Path]:
    """Videos of a split without those whose names belong to another split."""
    videos = []
    for path in scanner.list_with_inner(folder):
        prefix = path.stem.partition('_')[0].lower()
        if prefix in SPLIT_NAMES and prefix != split:
            scanner.leave_out(path, f'its name is of another split than its folder {split}')
        else:
            videos.append(path)
    return videos


def _add_split(scanner: Scanner, base: Path, split: str, *, fakes: bool) -> None:
    genuine = set()
    for path in _videos(scanner, base / GENUINE_FOLDER / split, split):
        genuine.add(path.stem)
        # Nobody says who is shown: each genuine video counts as people of its own.
        names = Names(path.stem)
        scanner.add(path, path.stem, method=GENUINE_FOLDER, label=GENUINE, split=split, names=names)
    if not fakes:
        return
    wanted = scanner.options.masks
    masks = videos_by_name(_videos(scanner, base / MASK_FOLDER / split, split) if wanted else [])
    for path in _videos(scanner, base / FAKE_FOLDER / split, split):
        names = Names(path.stem, pair=(GENUINE_FOLDER, path.stem)) if path.stem in genuine else Names()
        mask = masks.get(path.stem)
        scanner.add(path, path.stem, method=FAKE_FOLDER, label=FAKE, split=split, names=names, mask=mask)


LAYOUT = Layout(
    name='ffiw',
    read=_read,
    summary='Face Forensics in the Wild (FFIW10K): 10,000 genuine, 10,000 fakes, several faces per frame',
    tree="""\
ROOT/     (or folders in it, such as FFIW10K-v1-release and FFIW10K-v1-release-test;
           each split folder may hold its videos in a folder videos/)
  source/{train,val,test}/<split>_<number>.mp4          (genuine)
  target/{train,val,test}/<split>_<number>.mp4          (fake)
  target_mask/{train,val,test}/<split>_<number>.mp4     (optional)""",
    example=f'{GENUINE_FOLDER}/train/train_00000000.mp4',
    dataset='ffiw',
    unused=('splits_dir', 'split', 'stills'),
)
