# SPDX-License-Identifier: Apache-2.0
"""FaceForensics++ as its download script lays it out, and what other layouts of that tree share.

Frame t of a fake was made from frame t of the genuine ``<target>``. Folders that are not there are
not read, so a partial download works. ``original_sequences/actors`` and
``manipulated_sequences/DeepFakeDetection`` in the same tree are another dataset: layout ``dfd``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from iid_mm.errors import InputError
from iid_mm.preparation.layouts.base import SPLIT_NAMES, Layout, LayoutOptions, Scanner, subfolders
from iid_mm.preparation.layouts.lists import load_json
from iid_mm.preparation.layouts.names import LeftOutError, NameRule, Names
from iid_mm.structures.video_record import FAKE, GENUINE

COMPRESSIONS = ('c23', 'raw', 'c40')
SPLIT_FOLDERS = ('.', 'splits', 'dataset/splits')
SPLITS_SOURCE = 'https://github.com/ondyari/FaceForensics/tree/master/dataset/splits'
YOUTUBE = 'youtube'
ORIGINALS, MANIPULATED = 'original_sequences', 'manipulated_sequences'
FRAMES = 'frames'
# Another dataset (DFD) in the same tree: other names, no splits.
FOREIGN_METHODS = ('DeepFakeDetection',)
EXPECTED_SPLIT = 'a JSON list of id pairs such as [["071", "054"], ["087", "081"]]'
FAKE_NAME = NameRule('(?P<target>[^_]+)_(?P<source>.+)', '<target>_<source>', genuine=YOUTUBE)


def _read(scanner: Scanner) -> None:
    for method in scanner.options.methods or ():
        if method in FOREIGN_METHODS:
            raise InputError(f'methods: {method!r} is another dataset without FF++ splits; use layout dfd')
    folders = find_sequences(scanner, YOUTUBE, lambda name: name not in FOREIGN_METHODS)
    splits = _read_splits(find_splits_dir(scanner.root, scanner.options.splits_dir))
    for method, folder in folders.items():
        label = GENUINE if method == YOUTUBE else FAKE
        masks = find_masks(scanner, method) if label else {}
        absent = splits.videos(label)
        for path in scanner.list_videos(folder):
            absent.discard(path.stem)
            with scanner.leaving_out(path):
                split, names = splits.find(label, path.stem)
                mask = masks.get(path.stem)
                scanner.add(path, path.stem, method=method, label=label, split=split, names=names, mask=mask)
        scanner.miss(folder / f'{video}.mp4' for video in absent)


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
        if sets[name].is_dir() and (scanner.options.methods is None or name.startswith(ORIGINALS)):
            levels = [other for other in COMPRESSIONS if (sets[name] / other / 'videos').is_dir()]
            others = f': it has {", ".join(levels)}' if levels else ''
            scanner.leave_out(sets[name], f'no folder {level}/videos in it{others}')
    found = {}
    if (folder := there.pop(f'{ORIGINALS}/{genuine}', None)) is not None:
        found[genuine] = folder / level / 'videos'
    for method in scanner.keep_methods(there):
        found[method] = there[method] / level / 'videos'
    return found


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

    def videos(self, label: int) -> set[str]:
        """Names of all videos of a label (of one method)."""
        if label == GENUINE:
            return set(self.of)
        return {f'{a}_{b}' for pair in self.pairs for a, b in (pair, pair[::-1])}

    def find(self, label: int, name: str) -> tuple[str, Names]:
        """Split of a video, and who is in it.

        Args:
            label: 0 = genuine, 1 = fake.
            name: ``<id>`` or ``<target>_<source>``.

        Raises:
            LeftOutError: If it is in no split, or in two.
        """
        names = Names(name) if label == GENUINE else FAKE_NAME.read(name)
        found = {self.of.get(identity) for identity in names[:2] if identity is not None}
        if None in found:
            raise LeftOutError('its id is in no split' if label == GENUINE else 'an id of it is in no split')
        if len(found) > 1:
            raise LeftOutError('its target and its source are in different splits')
        return str(found.pop()), names


@dataclass(frozen=True)
class FfppVideo:
    """A video by its place in the tree.

    Attributes:
        label: 0 = genuine, 1 = fake.
        method: Manipulation, or source folder of a genuine video.
        compression: ``raw``, ``c23`` or ``c40``.
        video: ``<id>`` or ``<target>_<source>``.
    """

    label: int
    method: str
    compression: str
    video: str


def parse_path(parts: Sequence[str]) -> FfppVideo | None:
    """Read a path that ends in ``original_sequences/youtube/c23/frames/000`` or its like; None if none."""
    if len(parts) < 5 or parts[-2] != FRAMES or parts[-5] not in (ORIGINALS, MANIPULATED):
        return None
    return FfppVideo(GENUINE if parts[-5] == ORIGINALS else FAKE, parts[-4], parts[-3], parts[-1])


def optional_splits(root: Path, options: LayoutOptions) -> Splits | None:
    """The official splits for a layout that does without them.

    Args:
        root: Folder of the dataset.
        options: What the user asked for.

    Returns:
        The splits; None if there are no split files and none are asked for.

    Raises:
        FileNotFoundError: If one of the files is missing.
        InputError: If a file is not a list of pairs, an id is in two splits, or a split is asked for too.
    """
    given = options.splits_dir is not None
    if not given and not any((root / name / 'train.json').is_file() for name in SPLIT_FOLDERS):
        return None
    folder = find_splits_dir(root, options.splits_dir)
    if options.split is not None:
        raise InputError(
            f'split={options.split!r} has no use: the split files in {str(folder)!r} decide; leave it out'
        )
    return _read_splits(folder)


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


def _read_splits(folder: Path) -> Splits:
    """The splits in ``train.json``, ``val.json`` and ``test.json``; an id may be in one only."""
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


LAYOUT = Layout(
    name='ffpp',
    read=_read,
    summary='FaceForensics++: 1000 genuine videos, Deepfakes, Face2Face, FaceSwap, NeuralTextures, ...',
    tree="""\
ROOT/
  original_sequences/youtube/{raw,c23,c40}/videos/<id>.mp4
  manipulated_sequences/<method>/{raw,c23,c40}/videos/<target>_<source>.mp4
  manipulated_sequences/<method>/masks/videos/<target>_<source>.mp4     (optional)
  {train,val,test}.json     (or in splits/, dataset/splits/, or --splits-dir)""",
    example=f'{ORIGINALS}/{YOUTUBE}/{{level}}/videos/000.mp4',
    dataset='ffpp',
    compressions=COMPRESSIONS,
    unused=(),
)
