# SPDX-License-Identifier: Apache-2.0
"""FaceForensics++ as its download script lays it out.

Frame t of a fake was made from frame t of the genuine ``<target>``. Folders that are not there are
not read, so a partial download works. ``original_sequences/actors`` and
``manipulated_sequences/DeepFakeDetection`` in the same tree are another dataset: layout ``dfd``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from iid_mm.errors import InputError
from iid_mm.preparation.layouts.base import SPLIT_NAMES, Layout, Scanner, subfolders
from iid_mm.preparation.layouts.lists import load_json
from iid_mm.preparation.records import LayoutOptions, LayoutScan
from iid_mm.structures.video_record import FAKE, GENUINE, VideoFile

DATASET = 'ffpp'
COMPRESSIONS = ('c23', 'raw', 'c40')
SPLIT_FOLDERS = ('.', 'splits', 'dataset/splits')
SPLITS_SOURCE = 'https://github.com/ondyari/FaceForensics/tree/master/dataset/splits'
GENUINE_FOLDER = 'youtube'
ORIGINALS, MANIPULATED = 'original_sequences', 'manipulated_sequences'
# Another dataset (DFD) in the same tree: other names, no splits.
FOREIGN_METHODS = ('DeepFakeDetection',)
EXPECTED_SPLIT = 'a JSON list of id pairs such as [["071", "054"], ["087", "081"]]'


def scan_ffpp(root: Path, options: LayoutOptions) -> LayoutScan:
    """List the videos of a FaceForensics++ folder.

    Args:
        root: Folder that holds ``original_sequences`` and ``manipulated_sequences``.
        options: What to read.

    Returns:
        The videos whose ids are in a split; the others are in ``left_out``, and those that the splits
        name but a folder that is there lacks in ``missing``.

    Raises:
        InputError: If an option is unknown or a split file is unreadable.
        FileNotFoundError: If splits, folders or videos are missing.
    """
    scanner = Scanner(root, DATASET, LAYOUT.compression(options), options)
    for method in options.methods or ():
        if method in FOREIGN_METHODS:
            raise InputError(f'methods: {method!r} is another dataset without FF++ splits; use layout dfd')
    folders = find_sequences(scanner, GENUINE_FOLDER, lambda name: name not in FOREIGN_METHODS)
    splits = read_splits(find_splits_dir(root, options.splits_dir))
    for method, folder in folders.items():
        if method == GENUINE_FOLDER:
            _scan_genuine(scanner, folder, splits)
        else:
            _scan_method(scanner, method, folder, splits)
    return scanner.finish(f'{ORIGINALS}/{GENUINE_FOLDER}/{scanner.compression}/videos/000.mp4')


def find_sequences(scanner: Scanner, genuine: str, methods: Callable[[str], bool]) -> dict[str, Path]:
    """Find the folders of videos of one dataset in the tree of FaceForensics++.

    Args:
        scanner: Knows the root, the compression and the manipulations that are asked for.
        genuine: Folder of the genuine videos.
        methods: Whether a manipulation belongs to the set.

    Returns:
        Method -> folder of its videos, which is there; the genuine one is left out if it is not.

    Raises:
        FileNotFoundError: If there is nothing to read, or a manipulation that is asked for is not there.
    """
    root, level = scanner.root, scanner.compression
    if not any((root / name).is_dir() for name in (ORIGINALS, MANIPULATED)):
        inside = [path.name for path in subfolders(root) if (path / ORIGINALS).is_dir()]
        hint = f'; {str(root / inside[0])!r} has one: give that folder' if inside else ''
        raise FileNotFoundError(
            f'{str(root)!r} holds no folder {ORIGINALS} or {MANIPULATED}: expected the FaceForensics++ tree '
            f'({ORIGINALS}/{genuine}/{level}/videos){hint}'
        )
    sets = {f'{ORIGINALS}/{genuine}': root / ORIGINALS / genuine}
    sets |= {f.name: f for f in subfolders(root / MANIPULATED) if methods(f.name)}
    there = {name: folder for name, folder in sets.items() if (folder / level / 'videos').is_dir()}
    if not there:
        other = sorted({c for f in sets.values() for c in COMPRESSIONS if (f / c / 'videos').is_dir()})
        raise FileNotFoundError(
            f'no folder {str(root / ORIGINALS / genuine / level / "videos")!r}, nor one of a manipulation; '
            f'compression levels there: {", ".join(other) or "none"}'
        )
    for name in sets.keys() - there.keys():
        if scanner.options.methods is None or name.startswith(ORIGINALS):
            _tell_absent(scanner, sets[name])
    found = {}
    if (folder := there.pop(f'{ORIGINALS}/{genuine}', None)) is not None:
        found[genuine] = folder / level / 'videos'
    for method in scanner.keep_methods(there):
        found[method] = there[method] / level / 'videos'
    return found


def _tell_absent(scanner: Scanner, folder: Path) -> None:
    """Note that a set is there, but not in the compression level that is read."""
    levels = [level for level in COMPRESSIONS if (folder / level / 'videos').is_dir()]
    if folder.is_dir():
        others = f': it has {", ".join(levels)}' if levels else ''
        scanner.leave_out(folder, f'no folder {scanner.compression}/videos in it{others}')


def find_masks(scanner: Scanner, method: str) -> dict[str, Path]:
    """Mask videos of a manipulation by name; empty if it has none or none are wanted."""
    if not scanner.options.masks:
        return {}
    return videos_by_name(scanner.list_videos(scanner.root / MANIPULATED / method / 'masks' / 'videos'))


def videos_by_name(paths: list[Path]) -> dict[str, Path]:
    """Videos by their name without suffix; of several with one name the first."""
    return {path.stem: path for path in reversed(paths)}


@dataclass(frozen=True)
class Splits:
    """The official splits.

    Attributes:
        of: Id -> split.
        pairs: The pairs of ids; fakes were made in both directions.
    """

    of: dict[str, str]
    pairs: list[tuple[str, str]]


def find_splits_dir(root: Path, splits_dir: Path | None = None) -> Path:
    """Find the folder of ``train.json``, ``val.json`` and ``test.json``.

    Args:
        root: Folder of the dataset.
        splits_dir: The folder, where the user gives it.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: If there is no ``train.json`` in any of the places.
    """
    folders = [splits_dir] if splits_dir else [root / name for name in SPLIT_FOLDERS]
    for folder in folders:
        if (folder / 'train.json').is_file():
            return folder
    looked = ', '.join(repr(str(folder)) for folder in folders)
    raise FileNotFoundError(
        f'no train.json in {looked}; download train.json, val.json and test.json from {SPLITS_SOURCE} '
        f'into {str(root / "splits")!r}, or into any folder that you give with --splits-dir'
    )


def read_splits(folder: Path) -> Splits:
    """Read the three split files.

    Args:
        folder: Folder of ``train.json``, ``val.json`` and ``test.json``, each a list of id pairs.

    Returns:
        The splits.

    Raises:
        FileNotFoundError: If one of the files is missing.
        InputError: If a file is not a list of pairs or an id is in two splits.
    """
    splits = Splits({}, [])
    for split in SPLIT_NAMES:
        path = folder / f'{split}.json'
        if not path.is_file():
            raise FileNotFoundError(
                f'split file {str(path)!r} is missing; all three are needed, see {SPLITS_SOURCE}'
            )
        pairs = _read_pairs(path)
        splits.pairs.extend(pairs)
        for identity in (i for pair in pairs for i in pair):
            if splits.of.setdefault(identity, split) != split:
                raise InputError(
                    f'{path}: id {identity!r} is also in {splits.of[identity]}.json; '
                    'an id may be in one split only'
                )
    return splits


def _read_pairs(path: Path) -> list[tuple[str, str]]:
    pairs = load_json(path, EXPECTED_SPLIT)
    is_list = isinstance(pairs, list) and all(isinstance(pair, list) for pair in pairs)
    if not is_list or any(len(p) != 2 or not all(isinstance(i, str) for i in p) for p in pairs):
        raise InputError(f'split file {str(path)!r} has another form; expected {EXPECTED_SPLIT}')
    return [(first, second) for first, second in pairs]


def _scan_genuine(scanner: Scanner, folder: Path, splits: Splits) -> None:
    absent = set(splits.of)
    for path in scanner.list_videos(folder):
        absent.discard(path.stem)
        if path.stem not in splits.of:
            scanner.leave_out(path, 'its id is in no split')
            continue
        split = splits.of[path.stem]
        scanner.add(path, path.stem, method=GENUINE_FOLDER, label=GENUINE, split=split, target_id=path.stem)
    scanner.result.missing.extend(scanner.name(folder / f'{video}.mp4') for video in absent)


def _scan_method(scanner: Scanner, method: str, folder: Path, splits: Splits) -> None:
    absent = {f'{a}_{b}' for pair in splits.pairs for a, b in (pair, pair[::-1])}
    masks = find_masks(scanner, method)
    for path in scanner.list_videos(folder):
        absent.discard(path.stem)
        target, _, source = path.stem.partition('_')
        if reason := _why_left_out(target, source, splits.of):
            scanner.leave_out(path, reason)
            continue
        mask = masks.get(path.stem)
        scanner.add(
            path,
            path.stem,
            method=method,
            label=FAKE,
            split=splits.of[target],
            target_id=target,
            source_id=source,
            pair=scanner.key(GENUINE_FOLDER, target),
            mask=VideoFile(mask) if mask else None,
        )
    scanner.result.missing.extend(scanner.name(folder / f'{video}.mp4') for video in absent)


def _why_left_out(target: str, source: str, splits: dict[str, str]) -> str:
    """Why a fake cannot be in the index; empty if it can."""
    if not target or not source:
        return 'its name is not <target>_<source>'
    if target not in splits or source not in splits:
        return 'an id of it is in no split'
    if splits[target] != splits[source]:
        return 'its target and its source are in different splits'
    return ''


LAYOUT = Layout(
    name='ffpp',
    scan=scan_ffpp,
    summary='FaceForensics++: 1000 genuine videos, Deepfakes, Face2Face, FaceSwap, NeuralTextures, ...',
    tree="""\
ROOT/
  original_sequences/youtube/{raw,c23,c40}/videos/<id>.mp4
  manipulated_sequences/<method>/{raw,c23,c40}/videos/<target>_<source>.mp4
  manipulated_sequences/<method>/masks/videos/<target>_<source>.mp4     (optional)
  {train,val,test}.json     (or in splits/, dataset/splits/, or --splits-dir)""",
    compressions=COMPRESSIONS,
)
