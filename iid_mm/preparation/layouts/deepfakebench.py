# SPDX-License-Identifier: Apache-2.0
"""Sets processed by DeepfakeBench: face crops of 256 px, landmarks and masks, listed in a JSON file a set.

Known traps of its lists, all met here: paths of another machine with ``/`` or ``\\``; frames in no order;
one video in several splits (the test videos of Celeb-DF are also in ``train`` and ``val``, all of DFD and
UADFV is in all three); two stray entries in ``val`` of DFDC. Each crop is aligned on its own, so that the
frames of a pair agree in time and pose but not to the pixel.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from iid_mm.errors import InputError
from iid_mm.preparation.layouts import celebdf, deeperforensics, dfd, dfdcp
from iid_mm.preparation.layouts.base import SPLIT_NAMES, Layout, Scanner
from iid_mm.preparation.layouts.images import (
    FRAMES,
    Folders,
    is_image,
    landmark_files,
    mask_files,
    order_frames,
    path_parts,
)
from iid_mm.preparation.layouts.lists import read_json, short
from iid_mm.preparation.layouts.names import NameRule, Names
from iid_mm.structures.video_record import FAKE, GENUINE, ImageFiles
from iid_mm.utils.files import printable

LIST_FOLDERS = ('preprocessing/dataset_json', 'dataset_json', '.')
IMAGE_FOLDERS = ('datasets/rgb', 'datasets', 'rgb', '.')
COMPRESSIONS = ('c23', 'raw', 'c40', 'native')
DATASETS = {
    'FaceForensics++': 'ffpp',
    'FF-DF': 'ffpp',
    'FF-F2F': 'ffpp',
    'FF-FS': 'ffpp',
    'FF-NT': 'ffpp',
    'FF-FH': 'ffpp',
    'FaceShifter': 'ffpp',
    'DeepFakeDetection': 'dfd',
    'Celeb-DF-v1': 'celebdf_v1',
    'Celeb-DF-v2': 'celebdf_v2',
    'DFDC': 'dfdc',
    'DFDCP': 'dfdcp',
    'DeeperForensics-1.0': 'deeperforensics',
    'UADFV': 'uadfv',
}
METHODS = {
    'FF-real': 'youtube',
    'FF-DF': 'Deepfakes',
    'FF-F2F': 'Face2Face',
    'FF-FS': 'FaceSwap',
    'FF-NT': 'NeuralTextures',
    'FF-FH': 'FaceShifter',
    'FF-SH': 'FaceShifter',
    'DFD_real': 'actors',
    'DFD_fake': 'DeepFakeDetection',
    'DFDC_Real': 'real',
    'DFDC_Fake': 'fake',
    'DFDCP_Real': 'original_videos',
    'DFDCP_FakeA': 'method_A',
    'DFDCP_FakeB': 'method_B',
    'UADFV_Real': 'real',
    'UADFV_Fake': 'fake',
}
# Several folders under one label: the folder is the method.
METHOD_IS_FOLDER = re.compile(r'CelebDFv[12]_(real|fake)|DF_(real|fake)')
EXPECTED = '{SET: {LABEL: {train|val|test: {[compression:] {VIDEO: {"label": LABEL, "frames": [paths]}}}}}}'
WHOLE_NAME, FIRST_PART = NameRule('(?P<target>.+)'), NameRule('(?P<target>[^_]*).*')
FFPP_FAKE = NameRule(r'(?P<target>\d+)_(?P<source>\d+)', genuine='youtube')
UADFV_NAMES = (NameRule(r'(?P<target>\d+)_fake', genuine='real'), WHOLE_NAME)
CELEBDF_NAMES = {
    GENUINE: (celebdf.NAMES[celebdf.CELEB], NameRule('(?P<name>.+)', target='yt{name}')),
    FAKE: (celebdf.NAMES[celebdf.SYNTHESIS],),
}
# Dataset -> label -> rules for names; the first that fits says who is in a video.
NAMES: dict[str, dict[int, tuple[NameRule, ...]]] = {
    'ffpp': {GENUINE: (WHOLE_NAME,), FAKE: (FFPP_FAKE,)},
    'dfd': {GENUINE: (dfd.GENUINE_NAME,), FAKE: (dfd.FAKE_NAME,)},
    'celebdf_v1': CELEBDF_NAMES,
    'celebdf_v2': CELEBDF_NAMES,
    # Its genuine videos are those of FaceForensics++, not the actors in `source_videos`.
    'deeperforensics': {FAKE: (replace(deeperforensics.FAKE_NAME, genuine=''),)},
    # No pairs: the lists do not say which test videos were augmented, in length among others.
    'dfdcp': {GENUINE: (FIRST_PART,), FAKE: (replace(dfdcp.FAKE_NAME, genuine=''), FIRST_PART)},
    'uadfv': {GENUINE: UADFV_NAMES, FAKE: UADFV_NAMES},
}
# A video in several splits is read once. The test videos must not be trained on; copies of training videos
# in `val` validate nothing.
PRECEDENCE = ('test', 'train', 'val')


@dataclass(frozen=True)
class Entry:
    """A video in a list.

    Attributes:
        label: 0 = genuine, 1 = fake.
        name: Label in the list, e.g. ``FF-DF``.
        compression: ``raw``, ``c23``, ``c40`` or ``native``.
        video: Name of the video.
        split: Split in which it is listed.
        frames: Parts of the path of each frame.
        masks: Parts of the path of each mask.
    """

    label: int
    name: str
    compression: str
    video: str
    split: str
    frames: tuple[tuple[str, ...], ...]
    masks: tuple[tuple[str, ...], ...]

    @property
    def method(self) -> str:
        """Method in the index."""
        if self.name in METHODS:
            return METHODS[self.name]
        # .../Celeb-real/frames/id0_0000/000.png, .../source_videos/M004/frames/<video>/000.png
        parts = self.frames[0] if self.frames else ()
        if METHOD_IS_FOLDER.fullmatch(self.name) and FRAMES in parts[1:]:
            return parts[parts.index(FRAMES, 1) - 1]
        return self.name


def _read(scanner: Scanner) -> None:
    path = _find_list(scanner.root, scanner.options.splits_dir)
    data = read_json(path, EXPECTED)
    name = path.stem if path.stem in data else next(iter(data), '')
    if name not in data or (len(data) > 1 and name != path.stem):
        raise InputError(f'{path} holds {len(data)} sets ({", ".join(data)}); expected one: {EXPECTED}')
    plain = re.sub(r'[^A-Za-z0-9._-]+', '_', name).strip('._').lower()
    scanner.dataset = DATASETS.get(name) or plain or 'set'
    notes: Counter[str] = Counter()
    entries = list(_read_set(data[name], f'{path}: {name}', notes))
    levels = {entry.compression for entry in entries} or {'native'}
    default = next((level for level in levels if path.stem.endswith(f'_{level}')), None)
    scanner.pick_compression(levels, path, default)
    for note, count in notes.items():
        scanner.leave_out(f'{path.name}: {note}', f'{count} entries that are no video')
    chosen = _choose_splits(scanner, path, [e for e in entries if e.compression == scanner.compression])
    kept = scanner.keep_methods(entry.method for entry in chosen if entry.label == FAKE)
    folders = Folders(scanner.root)
    splits = {(entry.method, entry.video): entry.split for entry in chosen if entry.label == GENUINE}
    for entry in chosen:
        if entry.label == GENUINE or entry.method in kept:
            _add(scanner, folders, entry, splits)


def _find_list(root: Path, given: Path | None) -> Path:
    """The list of the set; several in one folder are refused."""
    if given is not None and given.is_file():
        return given
    folders = [given] if given is not None else [root / name for name in LIST_FOLDERS]
    for folder in folders:
        found = sorted(folder.glob('*.json'))
        if len(found) > 1:
            names = ', '.join(path.name for path in found)
            raise InputError(
                f'{str(folder)!r} holds the lists of several sets ({names}); one is prepared at a time: '
                f'name it with --splits-dir {folder / found[0].name}'
            )
        if found:
            return found[0]
    looked = ', '.join(repr(str(folder)) for folder in folders)
    raise FileNotFoundError(f'no <set>.json in {looked}; download it, or give it with --splits-dir FILE')


def _read_set(data: dict[str, Any], where: str, notes: Counter[str]) -> Iterator[Entry]:
    for name, splits in data.items():
        label = _read_label(name, where)
        for split, videos in _objects(splits, f'{where}: {name}'):
            if split not in SPLIT_NAMES:
                raise InputError(f'{where}: {name}: {split!r} is no split; expected {EXPECTED}')
            if isinstance(videos.get('label'), str) and isinstance(videos.get(FRAMES), list):
                # In the lists of DFDC the fields of one video lie among the videos.
                notes[f'{name}/{split}'] += 2
                videos = {key: value for key, value in videos.items() if key not in ('label', FRAMES)}
            levels = {'native': videos}
            if videos and set(videos) <= set(COMPRESSIONS):
                levels = dict(_objects(videos, f'{where}: {name}: {split}'))
            for level, listed in levels.items():
                place = f'{where}: {name}: {split}' + ('' if level == 'native' else f': {level}')
                for video, entry in _objects(listed, place):
                    yield _read_entry(Entry(label, name, level, video, split, (), ()), entry, place)


def _objects(data: Any, where: str) -> list[tuple[str, dict[str, Any]]]:
    """Items of a JSON object of objects."""
    if not isinstance(data, dict):
        raise InputError(f'{where} holds a {type(data).__name__}; expected {EXPECTED}')
    for key, value in data.items():
        if not isinstance(value, dict):
            raise InputError(f'{where}: {key!r} holds a {type(value).__name__}; expected {EXPECTED}')
    return list(data.items())


def _read_label(name: str, where: str) -> int:
    if name in METHODS:
        return GENUINE if name.lower().endswith('real') else FAKE
    is_real, is_fake = 'real' in name.lower(), 'fake' in name.lower()
    if is_real == is_fake and not (name.startswith('FF-') and not is_real):
        raise InputError(
            f'{where}: label {name!r} does not say what it is; rename it to ..._real or ..._fake'
        )
    return GENUINE if is_real else FAKE


def _read_entry(entry: Entry, fields: dict[str, Any], where: str) -> Entry:
    where = f'{where}: {printable(entry.video)}'
    if _read_label(str(fields.get('label', entry.name)), where) != entry.label:
        raise InputError(f'{where}: label {short(fields["label"])} under {entry.name!r}')
    paths = []
    for key in (FRAMES, 'masks'):
        listed = fields.get(key, [] if key == 'masks' else None)
        if not isinstance(listed, list) or not all(isinstance(path, str) for path in listed):
            raise InputError(f'{where}: {key!r} is not a list of paths; expected {EXPECTED}')
        paths.append(tuple(parts for path in listed if len(parts := path_parts(path)) > 1))
    return Entry(entry.label, entry.name, entry.compression, entry.video, entry.split, *paths)


def _choose_splits(scanner: Scanner, path: Path, entries: list[Entry]) -> list[Entry]:
    """Keep each video in one split; what is dropped is counted in ``left_out``."""
    listed: dict[tuple[str, str], dict[str, Entry]] = {}
    for entry in entries:
        listed.setdefault((entry.name, entry.video), {})[entry.split] = entry
    if listed and all(len(splits) == len(SPLIT_NAMES) for splits in listed.values()):
        # Every video in every split: the set has no splits.
        split = scanner.options.split_or()
        return [splits[split] for splits in listed.values()]
    scanner.refuse('split')
    chosen, copies = [], Counter[tuple[str, str]]()
    for splits in listed.values():
        kept = next(split for split in PRECEDENCE if split in splits)
        chosen.append(splits[kept])
        copies.update((split, kept) for split in splits if split != kept)
    for (split, kept), count in copies.items():
        scanner.leave_out(
            f'{path.name}: {kept} videos in {split}', f'{count} entries, prepared for {kept} only'
        )
    return chosen


def _add(scanner: Scanner, folders: Folders, entry: Entry, splits: dict[tuple[str, str], str]) -> None:
    name = f'{entry.name}/{entry.video}'
    images = _find_images(scanner, folders, entry.frames)
    if images is None:
        scanner.miss([name])
        return
    if absent := len(set(entry.frames)) - len(images.names):
        scanner.miss([f'{name}: {absent} of {len(set(entry.frames))} frames'])
    names = _find_names(scanner.dataset, entry)
    # The pair of a training fake must not be a test video.
    if names.pair and splits.get(names.pair, entry.split) != entry.split:
        names = names._replace(pair=None)
    masks = _find_images(scanner, folders, entry.masks) or mask_files(folders, images)
    scanner.add(
        images,
        entry.video,
        method=entry.method,
        label=entry.label,
        split=entry.split,
        names=names,
        mask=masks if entry.label == FAKE else None,
        landmarks=landmark_files(folders, images),
        cropped=True,
    )


def _find_images(scanner: Scanner, folders: Folders, paths: tuple[tuple[str, ...], ...]) -> ImageFiles | None:
    """The images of a list that are on disk; None if there are none."""
    listed: dict[tuple[str, ...], set[str]] = {}
    for parts in paths:
        listed.setdefault(parts[:-1], set()).add(parts[-1])
    found: dict[Path, set[str]] = {}
    for parent, names in listed.items():
        folder = folders.find(parent, IMAGE_FOLDERS)
        if folder is None:
            continue
        there = names & folders.names(folder)
        for name in there:
            if is_image(name):
                found.setdefault(folder, set()).add(name)
            else:
                scanner.pass_over(folder, name)
    if len(found) == 1:
        ((folder, names),) = found.items()
        return ImageFiles(folder, *order_frames(names))
    inside = {folder.relative_to(folders.root).as_posix(): names for folder, names in found.items()}
    images = order_frames(f'{folder}/{name}' for folder, names in inside.items() for name in names)
    return ImageFiles(folders.root, *images) if found else None


def _find_names(dataset: str, entry: Entry) -> Names:
    """Who is in a video, by the first rule that fits its name."""
    rules = NAMES.get(dataset, {}).get(entry.label, ())
    return next((names for rule in rules if (names := rule.match(entry.video))), Names())


LAYOUT = Layout(
    name='deepfakebench',
    read=_read,
    summary='a dataset processed by DeepfakeBench (dataset_json, rgb frames, landmarks, masks)',
    tree="""\
ROOT/
  preprocessing/dataset_json/<SET>.json     (or dataset_json/, ROOT itself, or --splits-dir FILE)
  datasets/rgb/<SET>/.../frames/<video>/<frame>.png     (or below ROOT itself)
  datasets/rgb/<SET>/.../{landmarks,masks}/<video>/<frame>.{npy,png}""",
    compressions=COMPRESSIONS,
    analyzer='precomputed',
    example=f'datasets/rgb/<SET>/.../{FRAMES}/<video>/000.png, as in its list',
    unused=('stills',),
)
