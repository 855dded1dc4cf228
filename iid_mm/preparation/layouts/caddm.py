# SPDX-License-Identifier: Apache-2.0
"""Frames and ``ldm.json`` as the script of CADDM leaves them.

``ldm.json`` holds, by path of the frame without suffix, ``landmark`` (81 points of the whole frame),
``source_path`` (the genuine frame, without suffix, too) and ``label``. The script gives all frames of a
video one and the same entry, the one of the last frame, so that with more than one frame a video the
landmarks belong to the frame that ``source_path`` names; the other frames are read without landmarks.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from iid_mm.errors import InputError
from iid_mm.media.suffixes import IMAGE_SUFFIXES
from iid_mm.preparation.layouts.base import Layout, Scanner
from iid_mm.preparation.layouts.ffpp import ORIGINALS, YOUTUBE, FfppVideo, Splits, optional_splits, parse_path
from iid_mm.preparation.layouts.images import (
    FRAMES,
    Folders,
    dataset_name,
    is_image,
    order_frames,
    path_parts,
)
from iid_mm.preparation.layouts.lists import read_json, short
from iid_mm.preparation.layouts.names import LeftOutError, Names
from iid_mm.structures.video_record import FAKE, GENUINE, ImageFiles, LandmarkValues

LIST_NAME = 'ldm.json'
SPLIT_FOLDERS = {'train_images': 'train', 'val_images': 'val', 'test_images': 'test'}
LANDMARK_COUNTS = (68, 81)
EXPECTED = (
    '{"<path of a frame without suffix>": {"landmark": [[x, y], ...], "source_path": ..., "label": 0 or 1}}'
)


@dataclass(frozen=True)
class Frame:
    """An entry of ``ldm.json``.

    Attributes:
        label: 0 = genuine, 1 = fake.
        source: Parts of the path of the genuine frame; empty if none is named.
        points: x0, y0, x1, y1, ...
    """

    label: int
    source: tuple[str, ...]
    points: tuple[float, ...]


@dataclass
class Frames:
    """The frames of one video in ``ldm.json``.

    Attributes:
        parts: Parts of the path of their folder, as listed.
        base: Folder of the list, relative to the root.
        entries: Name of a frame without suffix -> its entry.
    """

    parts: tuple[str, ...]
    base: str
    entries: dict[str, Frame] = field(default_factory=dict)

    @property
    def label(self) -> int | None:
        """0 = genuine, 1 = fake, None if the frames do not agree."""
        labels = {entry.label for entry in self.entries.values()}
        return labels.pop() if len(labels) == 1 else None

    def shared(self) -> set[str]:
        """Frames whose entry is that of another frame."""
        counts = Counter(entry.source for entry in self.entries.values() if entry.source)
        return {n for n, e in self.entries.items() if counts[e.source] > 1 and e.source[-1] != n}

    def pair(self) -> tuple[str, ...] | None:
        """Folder of the genuine frames, if they have the same names as these; None if not."""
        shared = self.shared()
        sources = {name: entry.source for name, entry in self.entries.items() if name not in shared}
        folders = {source[:-1] if source and source[-1] == name else None for name, source in sources.items()}
        folder = folders.pop() if len(folders) == 1 else None
        return None if folder == self.parts else folder


def _read(scanner: Scanner) -> None:
    root = scanner.root
    lists = [path for name in ('.', *SPLIT_FOLDERS) if (path := root / name / LIST_NAME).is_file()]
    if not lists:
        raise FileNotFoundError(f'no {LIST_NAME} in {str(root)!r}, nor in {", ".join(SPLIT_FOLDERS)} there')
    frames: dict[tuple[str, ...], Frames] = {}
    for path in lists:
        _read_list(root, path, frames)
    known = {parts: video for parts in frames if (video := parse_path(parts))}
    splits = optional_splits(root, scanner.options)
    if len(known) == len(frames) > 0:
        scanner.dataset = 'ffpp'
        scanner.pick_compression({video.compression for video in known.values()}, lists[0])
    else:
        known, splits, scanner.dataset = {}, None, dataset_name(root)
        scanner.pick_compression(['native'], root)
    folders = Folders(root)
    videos = {parts: known.get(parts) or _other_video(folders, found) for parts, found in frames.items()}
    kept = scanner.keep_methods(v.method for v in videos.values() if v.label == FAKE)
    for parts, video in videos.items():
        if video.compression == scanner.compression and (video.label == GENUINE or video.method in kept):
            _add(scanner, folders, frames[parts], videos, splits)


def _read_list(root: Path, path: Path, frames: dict[tuple[str, ...], Frames]) -> None:
    data = read_json(path, EXPECTED)
    base = path.parent.relative_to(root).as_posix()
    numbers: dict[float, float] = {}
    for key in list(data):
        # What has been read is let go: a list of all of FaceForensics++ takes gigabytes.
        entry = data.pop(key)
        parts = path_parts(key)
        where = f'{path}: {short(key)}'
        if len(parts) < 2:
            raise InputError(f'{where} is no path of a frame; expected {EXPECTED}')
        if entry.get('label') not in (0, 1):
            raise InputError(f'{where}: label {short(entry.get("label"))}; expected 0 (genuine) or 1 (fake)')
        source = entry.get('source_path') or ''
        if not isinstance(source, str):
            raise InputError(f'{where}: source_path {short(source)}; expected a path')
        frame = Frame(
            int(entry['label']), path_parts(source), _read_points(entry.get('landmark'), where, numbers)
        )
        frames.setdefault(parts[:-1], Frames(parts[:-1], base)).entries[parts[-1]] = frame


def _read_points(points: Any, where: str, numbers: dict[float, float]) -> tuple[float, ...]:
    """Points as x0, y0, x1, y1, ...; equal numbers are kept once, which saves most of the memory."""
    try:
        array = np.array(points)
    except (ValueError, TypeError, OverflowError, RecursionError):
        array = np.zeros(0)
    good = array.dtype.kind in 'if' and array.ndim == 2 and array.shape[1] == 2
    if not good or len(array) not in LANDMARK_COUNTS or not np.isfinite(array).all():
        raise InputError(f'{where}: landmark is not a list of 68 or 81 points [x, y]')
    values = array.astype(np.float64).ravel().tolist()
    return tuple(map(numbers.setdefault, values, values))


def _other_video(folders: Folders, frames: Frames) -> FfppVideo:
    """Name a video outside the tree of FaceForensics++: the first folder below the root is its method."""
    folder = folders.find(frames.parts, (frames.base, '.'))
    parts = folder.relative_to(folders.root).parts if folder else frames.parts
    rest = [part for part in parts if part != FRAMES and part not in SPLIT_FOLDERS] or list(parts[-1:])
    label = GENUINE if frames.label is None else frames.label
    method = rest.pop(0) if len(rest) > 1 else ('fake' if label == FAKE else 'real')
    return FfppVideo(label, method, 'native', '/'.join(rest))


def _add(
    scanner: Scanner,
    folders: Folders,
    frames: Frames,
    videos: dict[tuple[str, ...], FfppVideo],
    splits: Splits | None,
) -> None:
    name = '/'.join(frames.parts)
    folder = folders.find(frames.parts, (frames.base, '.'))
    files = _find_files(scanner, folders, folder, frames) if folder else {}
    if folder is None or not files:
        scanner.miss([name])
        return
    if absent := sorted(set(frames.entries) - set(files)):
        scanner.miss([f'{name}: {len(absent)} of {len(frames.entries)} frames ({absent[0]}, ...)'])
    video = videos[frames.parts]
    with scanner.leaving_out(folder):
        if frames.label != video.label:
            raise LeftOutError('the labels of its frames contradict each other or the folder')
        if splits:
            split, _ = splits.find(video.label, video.video)
        else:
            split = _find_split(scanner, folder, frames.parts)
        stems = {file: stem for stem, file in files.items()}
        images = ImageFiles(folder, *order_frames(stems))
        shared = frames.shared() & set(files)
        if shared:
            scanner.leave_out(
                f'{scanner.name(folder)}: landmarks of {len(shared)} frames',
                f'{LIST_NAME} gives them those of another frame',
            )
        wanted = [stems[file] for file in images.names]
        points = tuple(() if stem in shared else frames.entries[stem].points for stem in wanted)
        scanner.add(
            images,
            video.video,
            method=video.method,
            label=video.label,
            split=split,
            names=_find_names(scanner.dataset == 'ffpp', video, videos.get(frames.pair() or ())),
            landmarks=LandmarkValues(points),
        )


def _find_names(in_ffpp: bool, video: FfppVideo, genuine: FfppVideo | None) -> Names:
    """Who is in a video: by its name in the tree of FaceForensics++, else by its genuine video."""
    target, _, source = video.video.partition('_') if in_ffpp else ('', '', '')
    if not target:
        target = video.video if video.label == GENUINE else genuine.video if genuine else ''
    pair = (genuine.method, genuine.video) if genuine and genuine.label == GENUINE else None
    return Names(target or None, source or None, pair)


def _find_files(scanner: Scanner, folders: Folders, folder: Path, frames: Frames) -> dict[str, str]:
    """Frame without suffix -> its image, of those that are on disk; files of other kinds are passed over."""
    there = folders.names(folder)
    known = _by_stem(name for name in there if is_image(name))
    others = _by_stem(there - set(known.values()))
    for name in frames.entries.keys() & others.keys() - known.keys():
        scanner.pass_over(folder, others[name])
    return {name: known[name] for name in frames.entries if name in known}


def _by_stem(names: Iterable[str]) -> dict[str, str]:
    """Files by their names without suffix, as in the list; of several the likeliest frame."""
    ranked = {suffix: rank for rank, suffix in enumerate(IMAGE_SUFFIXES)}
    parts = [(*os.path.splitext(name), name) for name in names]
    order = sorted(parts, key=lambda part: (-ranked.get(part[1].lower(), len(ranked)), part[2]))
    return {stem: name for stem, _, name in order}


def _find_split(scanner: Scanner, folder: Path, parts: tuple[str, ...]) -> str:
    """Split that is asked for, or else of the folder on disk, or in the list, or else ``train``."""
    names = (*folder.relative_to(scanner.root).parts, scanner.root.resolve().name, *parts)
    split = next((SPLIT_FOLDERS[name] for name in names if name in SPLIT_FOLDERS), 'train')
    return scanner.options.split_or(split)


LAYOUT = Layout(
    name='caddm',
    read=_read,
    summary='frames and landmarks extracted by the script of CADDM (ldm.json)',
    tree="""\
ROOT/     (train_images or test_images, or a folder that holds both)
  ldm.json
  original_sequences/youtube/{raw,c23,c40}/frames/<id>/frame_<number>.png
  manipulated_sequences/<method>/{raw,c23,c40}/frames/<target>_<source>/frame_<number>.png
  {train,val,test}.json     (optional splits of FaceForensics++; also in splits/, or --splits-dir)""",
    # The script of CADDM takes raw videos.
    compressions=('raw', 'c23', 'c40', 'native'),
    analyzer='precomputed',
    example=f'{ORIGINALS}/{YOUTUBE}/raw/{FRAMES}/000/frame_0.png',
    unused=('stills',),
)
