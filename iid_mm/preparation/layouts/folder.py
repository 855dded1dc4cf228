# SPDX-License-Identifier: Apache-2.0
"""Any data that lies in a folder of genuine and a folder of fake videos or images.

* The folders are called as in :data:`REAL_NAMES` and :data:`FAKE_NAMES`, in upper or lower case, and lie in
  the root, in a split (``train/real``), or hold the splits (``real/train``).
* A video file is a video. The images of one folder are the frames of a video, numbered by the last number
  in their names, unless the folder is a collection: ``real/`` and ``fake/``, a folder that also holds videos
  or folders of media, and a folder of images beside collections, if no videos lie beside it. Images of a
  collection are stills, and so are all with ``--stills``.
* The manipulation of a fake is the first folder below ``fake/`` that it lies in, ``fake`` if there is none:
  ``fake/FaceSwap/a.mp4`` and ``fake/FaceSwap/a/0.png`` were made by FaceSwap.
* ``pairs.csv`` in the root, with a header ``fake,genuine`` and one pair of paths relative to the root a
  line, says which genuine video (or folder of frames, or still) a fake was made from, frame by frame.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from iid_mm.errors import InputError
from iid_mm.media.suffixes import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from iid_mm.preparation.layouts.base import Layout, Scanner
from iid_mm.preparation.layouts.images import dataset_name, is_image, order_frames
from iid_mm.preparation.layouts.lists import plain_path, read_csv
from iid_mm.preparation.layouts.names import Names
from iid_mm.preparation.layouts.walking import LANDMARK_FOLDER, Visit, walk
from iid_mm.structures.video_record import FAKE, GENUINE, FrameSource, ImageFiles, VideoFile

REAL_NAMES = ('real', 'genuine', 'original', '0_real', 'training_real')
FAKE_NAMES = ('fake', 'forged', 'manipulated', '1_fake', 'training_fake')
LABELS = dict.fromkeys(REAL_NAMES, GENUINE) | dict.fromkeys(FAKE_NAMES, FAKE)
METHODS = {GENUINE: 'real', FAKE: 'fake'}
SPLITS = {
    'train': 'train',
    'training': 'train',
    'val': 'val',
    'valid': 'val',
    'validation': 'val',
    'test': 'test',
    'testing': 'test',
}
PAIRS_NAME = 'pairs.csv'
EXPECTED_PAIRS = 'a header "fake,genuine" and lines such as "fake/a_b.mp4,real/a.mp4"'


@dataclass(frozen=True)
class Item:
    """A video that was found.

    Attributes:
        path: The video file, the folder of its frames, or the still.
        source: Its frames.
        label: 0 = genuine, 1 = fake.
        method: Manipulation of a fake; ``real`` for a genuine video.
        split: Split.
        video: Name of the video.
    """

    path: Path
    source: FrameSource
    label: int
    method: str
    split: str
    video: str


def _read(scanner: Scanner) -> None:
    scanner.dataset = dataset_name(scanner.root)
    places = list(_find_labels(scanner))
    if not places:
        raise FileNotFoundError(
            f'{str(scanner.root)!r} holds none of the folders {", ".join(LABELS)}, not in train/, val/ or '
            f'test/ either:\n{scanner.layout.tree}'
        )
    items = {}
    for folder, label, split in places:
        for item in _find_items(scanner, folder, label, split):
            items[scanner.name(item.path)] = item
    kept = scanner.keep_methods(item.method for item in items.values() if item.label == FAKE)
    pairs = _read_pairs(scanner, items)
    originals = {id(genuine) for genuine in pairs.values()}
    for name, item in items.items():
        if item.label == FAKE and item.method not in kept:
            continue
        names = Names(item.video) if id(item) in originals else Names()
        if (genuine := pairs.get(name)) is not None:
            if genuine.split != item.split:
                scanner.leave_out(item.path, 'its genuine video is in another split')
                continue
            names = Names(genuine.video, pair=(genuine.method, genuine.video))
        scanner.add(
            item.source,
            item.video,
            method=item.method,
            label=item.label,
            split=item.split,
            names=names,
            name=name,
        )


def _find_labels(scanner: Scanner) -> Iterator[tuple[Path, int, str]]:
    """Folders of genuine and of fake videos, with label and split."""
    no_split = scanner.options.split_or()
    for outer in _folders(scanner, scanner.root, {*SPLITS, *LABELS, LANDMARK_FOLDER}):
        name = outer.name.lower()
        if name in SPLITS:
            for inner in _folders(scanner, outer, set(LABELS)):
                yield inner, LABELS[inner.name.lower()], SPLITS[name]
        elif name in LABELS:
            files, names, _ = scanner.read_folder(outer)
            splits = [folder for folder in names if folder.lower() in SPLITS]
            for folder in splits:
                yield outer / folder, LABELS[name], SPLITS[folder.lower()]
            if not splits:
                yield outer, LABELS[name], no_split
            elif others := len(files) + len(names) - len(splits):
                scanner.leave_out(
                    f'{scanner.name(outer)} (beside its splits)', f'{others} files and folders in no split'
                )


def _folders(scanner: Scanner, folder: Path, known: set[str]) -> Iterator[Path]:
    """Folders of known names; others, and media beside them, are left out."""
    files, names, links = scanner.read_folder(folder)
    for name in files:
        if name.lower().endswith((*VIDEO_SUFFIXES, *IMAGE_SUFFIXES)):
            scanner.leave_out(folder / name, 'it lies in no folder of genuine or fake videos')
    root = os.path.join(os.path.realpath(scanner.root), '')
    for name in names:
        if name.lower() not in known:
            scanner.leave_out(folder / name, 'its name does not say whether it is genuine or fake')
        elif name in links and root.startswith(os.path.join(os.path.realpath(folder / name), '')):
            scanner.leave_out(folder / name, 'a symbolic link to a folder that it lies in')
        else:
            yield folder / name


def _find_items(scanner: Scanner, base: Path, label: int, split: str) -> Iterator[Item]:
    """Videos in and below a folder."""
    # A name may be in several splits.
    named_split = any(part.lower() in SPLITS for part in base.relative_to(scanner.root).parts[:2])
    visits = list(walk(scanner, base))
    stills = set() if scanner.options.stills else _collections(scanner, visits)
    for visit in visits:
        folder = visit.folder
        above = folder.relative_to(base).parts
        images = [name for name in visit.files if is_image(name)]
        for other in set(visit.files) - set(images) - set(visit.videos):
            scanner.pass_over(folder, other)
        alone: list[tuple[str, FrameSource]] = [(name, VideoFile(folder / name)) for name in visit.videos]
        sources: list[tuple[Path, tuple[str, ...], FrameSource]] = []
        if scanner.options.stills or folder in stills:
            alone += [(name, ImageFiles(folder, (name,), (0,))) for name in images]
        elif images:
            sources.append((folder, above, ImageFiles(folder, *order_frames(images))))
        for name, source in alone:
            sources.append((folder / name, (*above, os.path.splitext(name)[0]), source))
        for path, parts, source in sources:
            method, inside = (parts[0], parts[1:]) if label == FAKE and len(parts) > 1 else ('', parts)
            video = '/'.join([split, *inside] if named_split else inside)
            yield Item(path, source, label, method or METHODS[label], split, video)


def _collections(scanner: Scanner, visits: list[Visit]) -> set[Path]:
    """Folders whose images are stills, not the frames of one video."""
    media: dict[Path, bool] = {}
    # Hold videos, or folders of media: what lies there is no frame.
    mixed: dict[Path, bool] = {}
    for visit in reversed(visits):
        mixed[visit.folder] = bool(visit.videos) or any(map(media.__getitem__, visit.folders))
        media[visit.folder] = mixed[visit.folder] or any(map(is_image, visit.files))
    found = {visits[0].folder}
    for visit in visits:
        # Beside videos a folder of images is a video, too; beside collections it is one of them.
        grouped = not visit.videos and any(map(mixed.__getitem__, visit.folders))
        found.update(folder for folder in visit.folders if mixed[folder] or grouped)
    for visit in visits[1:]:
        images = sum(map(is_image, visit.files))
        if visit.folder in found and images and not visit.videos:
            scanner.leave_out(
                f'{scanner.name(visit.folder)} (as a video)',
                'its images are prepared as stills: collections lie in it or beside it',
            )
    return found


def _read_pairs(scanner: Scanner, items: dict[str, Item]) -> dict[str, Item]:
    """Path of a fake -> its genuine video, both of which are there."""
    path = scanner.root / PAIRS_NAME
    if not path.is_file():
        return {}
    pairs: dict[str, Item] = {}
    for place, row in read_csv(path, ('fake', 'genuine'), EXPECTED_PAIRS):
        names = {column: str(PurePosixPath(plain_path(row[column]))) for column in ('fake', 'genuine')}
        absent = [name for name in names.values() if name not in items]
        scanner.result.missing.extend(name for name in absent if name not in scanner.result.missing)
        for column, label in (('fake', FAKE), ('genuine', GENUINE)):
            if names[column] in items and items[names[column]].label != label:
                raise InputError(f'{place}: {names[column]!r} is not {column}; expected {EXPECTED_PAIRS}')
        if absent:
            continue
        genuine = items[names['genuine']]
        if pairs.setdefault(names['fake'], genuine) is not genuine:
            raise InputError(f'{place}: {names["fake"]!r} has another genuine video in a line above')
    return pairs


LAYOUT = Layout(
    name='folder',
    read=_read,
    summary='any videos or images in a folder real/ and a folder fake/',
    tree="""\
ROOT/     (or ROOT/{train,val,test}/, or ROOT/{real,fake}/{train,val,test}/)
  real/<video>.mp4            fake/[<method>/]<video>.mp4
  real/<video>/<frame>.png    fake/[<method>/]<video>/<frame>.png
  real/<still>.png          fake/<still>.png     (with --stills at any depth)
  pairs.csv                   (optional; header fake,genuine; paths relative to ROOT)""",
    example='real/000.mp4',
    unused=('splits_dir',),
)
