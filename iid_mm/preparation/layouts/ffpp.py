# SPDX-License-Identifier: Apache-2.0
"""FaceForensics++ as its download script lays it out.

``original_sequences/youtube/<compression>/videos/<id>.mp4`` are genuine,
``manipulated_sequences/<method>/<compression>/videos/<target>_<source>.mp4`` are fake, frame t of a
fake was made from frame t of the genuine ``<target>``, and
``manipulated_sequences/<method>/masks/videos/`` holds the masks. The splits are three JSON lists of
id pairs. Folders that are not there are not read, so a partial download works.
"""

from __future__ import annotations

import json
from pathlib import Path

from iid_mm.errors import InputError
from iid_mm.preparation.records import (
    FAKE,
    GENUINE,
    VIDEO_SUFFIXES,
    LayoutOptions,
    LayoutScan,
    VideoRecord,
)

DATASET = 'ffpp'
COMPRESSIONS = ('raw', 'c23', 'c40')
SPLIT_NAMES = ('train', 'val', 'test')
SPLIT_FOLDERS = ('.', 'splits', 'dataset/splits')
GENUINE_FOLDER = 'youtube'
# Another data set (DFD) in the same tree: other names, no splits.
FOREIGN_METHODS = ('DeepFakeDetection',)


def scan_ffpp(root: Path, options: LayoutOptions) -> LayoutScan:
    """List the videos of a FaceForensics++ folder.

    Args:
        root: Folder that holds ``original_sequences`` and ``manipulated_sequences``.
        options: What to read.

    Returns:
        The videos whose ids are in a split; the others are in ``left_out``.

    Raises:
        InputError: If an option is unknown or a split file is unreadable.
        FileNotFoundError: If splits, folders or videos are missing.
    """
    if options.compression not in COMPRESSIONS:
        raise InputError(
            f'compression={options.compression!r} is unknown to ffpp; choose from {", ".join(COMPRESSIONS)}'
        )
    splits = read_splits(find_splits_dir(root, options.splits_dir))
    scan = LayoutScan()
    _scan_genuine(root, options, splits, scan)
    for method in _find_methods(root, options):
        _scan_method(root, method, options, splits, scan)
    if not scan.records:
        raise FileNotFoundError(
            f'no {options.compression} video under {str(root)!r} belongs to a split '
            f'({len(scan.left_out)} left out); expected e.g. '
            f'original_sequences/youtube/{options.compression}/videos/000.mp4'
        )
    scan.records.sort(key=lambda record: record.key)
    return scan


def find_splits_dir(root: Path, splits_dir: Path | None = None) -> Path:
    """Find the folder of ``train.json``, ``val.json`` and ``test.json``.

    Args:
        root: Folder of the data set.
        splits_dir: The folder, where the user gives it.

    Returns:
        The first folder that holds ``train.json``.

    Raises:
        FileNotFoundError: If there is none.
    """
    folders = [splits_dir] if splits_dir else [root / folder for folder in SPLIT_FOLDERS]
    for folder in folders:
        if (folder / 'train.json').is_file():
            return folder
    looked = ', '.join(str(folder) for folder in folders)
    raise FileNotFoundError(
        f'no train.json in {looked}; put the three split files of FaceForensics++ there '
        'or give their folder with --splits-dir'
    )


def read_splits(folder: Path) -> dict[str, str]:
    """Read the three split files.

    Args:
        folder: Folder of ``train.json``, ``val.json`` and ``test.json``, each a list of id pairs.

    Returns:
        Id -> split.

    Raises:
        FileNotFoundError: If one of the files is missing.
        InputError: If a file is not a list of pairs or an id is in two splits.
    """
    splits: dict[str, str] = {}
    for split in SPLIT_NAMES:
        path = folder / f'{split}.json'
        if not path.is_file():
            raise FileNotFoundError(f'split file {str(path)!r} is missing; all three are needed')
        for identity in (i for pair in _read_pairs(path) for i in pair):
            if splits.setdefault(identity, split) != split:
                raise InputError(
                    f'{path}: id {identity!r} is also in {splits[identity]}.json; '
                    'an id may be in one split only'
                )
    return splits


def _read_pairs(path: Path) -> list[tuple[str, str]]:
    expected = 'expected a JSON list of id pairs such as [["000", "003"], ...]'
    try:
        pairs = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f'split file {str(path)!r} is unreadable ({error}); {expected}') from error
    is_list = isinstance(pairs, list) and all(isinstance(pair, list) for pair in pairs)
    if not is_list or any(len(p) != 2 or not all(isinstance(i, str) for i in p) for p in pairs):
        raise InputError(f'split file {str(path)!r} has another form; {expected}')
    return [(first, second) for first, second in pairs]


def _find_methods(root: Path, options: LayoutOptions) -> list[str]:
    """Methods to read, sorted; FileNotFoundError if one that was asked for is not there."""
    parent = root / 'manipulated_sequences'
    found = sorted(
        folder.name
        for folder in (parent.iterdir() if parent.is_dir() else ())
        if folder.name not in FOREIGN_METHODS and _videos_dir(folder, options).is_dir()
    )
    if options.methods is None:
        return found
    for method in options.methods:
        if method in FOREIGN_METHODS:
            raise InputError(f'methods: {method!r} is another data set without FF++ splits')
        if method not in found:
            raise FileNotFoundError(
                f'methods: no folder {str(_videos_dir(parent / method, options))!r}; '
                f'methods with {options.compression} videos there: {", ".join(found) or "none"}'
            )
    return sorted(set(options.methods))


def _videos_dir(folder: Path, options: LayoutOptions) -> Path:
    return folder / options.compression / 'videos'


def _list_videos(folder: Path, root: Path, scan: LayoutScan) -> list[Path]:
    """Videos of a folder by name; one of two files with the same stem is left out."""
    videos: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in VIDEO_SUFFIXES or path.name.startswith('.'):
            continue
        name = path.relative_to(root).as_posix()
        if '\\' in path.stem or '\0' in path.stem:
            scan.left_out[name] = 'the name holds a character that the index cannot keep'
        elif path.stem in videos:
            scan.left_out[name] = f'another file has the same name: {videos[path.stem].name}'
        else:
            videos[path.stem] = path
    return list(videos.values())


def _scan_genuine(root: Path, options: LayoutOptions, splits: dict[str, str], scan: LayoutScan) -> None:
    folder = _videos_dir(root / 'original_sequences' / GENUINE_FOLDER, options)
    if not folder.is_dir():
        has_fakes = (root / 'manipulated_sequences').is_dir()
        if has_fakes and _find_methods(root, options):
            return
        raise FileNotFoundError(
            f'no folder {str(folder)!r}; expected the FaceForensics++ layout '
            '(original_sequences/youtube/<compression>/videos and '
            'manipulated_sequences/<method>/<compression>/videos)'
        )
    for path in _list_videos(folder, root, scan):
        if path.stem not in splits:
            scan.left_out[path.relative_to(root).as_posix()] = 'its id is in no split'
            continue
        scan.records.append(
            VideoRecord(
                path=path,
                dataset=DATASET,
                method=GENUINE_FOLDER,
                compression=options.compression,
                video=path.stem,
                key=_key(GENUINE_FOLDER, options, path.stem),
                label=GENUINE,
                split=splits[path.stem],
                target_id=path.stem,
            )
        )


def _scan_method(
    root: Path, method: str, options: LayoutOptions, splits: dict[str, str], scan: LayoutScan
) -> None:
    folder = root / 'manipulated_sequences' / method
    for path in _list_videos(_videos_dir(folder, options), root, scan):
        target, _, source = path.stem.partition('_')
        reason = _why_left_out(target, source, splits)
        if reason:
            scan.left_out[path.relative_to(root).as_posix()] = reason
            continue
        mask = folder / 'masks' / 'videos' / f'{path.stem}.mp4'
        scan.records.append(
            VideoRecord(
                path=path,
                dataset=DATASET,
                method=method,
                compression=options.compression,
                video=path.stem,
                key=_key(method, options, path.stem),
                label=FAKE,
                split=splits[target],
                target_id=target,
                source_id=source,
                pair=_key(GENUINE_FOLDER, options, target),
                mask=mask if options.masks and mask.is_file() else None,
            )
        )


def _why_left_out(target: str, source: str, splits: dict[str, str]) -> str:
    """Why a fake cannot be in the index; empty if it can."""
    if not target or not source:
        return 'its name is not <target>_<source>'
    if target not in splits or source not in splits:
        return 'an id of it is in no split'
    if splits[target] != splits[source]:
        return 'its target and its source are in different splits'
    return ''


def _key(method: str, options: LayoutOptions, video: str) -> str:
    # Imported here: worker processes load the layouts but do not need the data set package.
    from iid_mm.datasets.index import make_video_key

    return make_video_key(DATASET, method, options.compression, video)
