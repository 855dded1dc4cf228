# SPDX-License-Identifier: Apache-2.0
"""Faces to look at: of an index, or of pictures that have no landmarks yet."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose

from iid_mm.datasets import ForgeryDataset
from iid_mm.datasets.index import read_index
from iid_mm.datasets.storage.image_storage import storage_settings_for
from iid_mm.errors import InputError
from iid_mm.evaluation.localization.config import with_masks
from iid_mm.media.readers import decode_image, read_image_file
from iid_mm.media.suffixes import IMAGE_SUFFIXES
from iid_mm.preparation.layouts.images import is_image
from iid_mm.registry import DATASETS
from iid_mm.utils.config import without_loaders
from iid_mm.utils.files import printable, reason_of
from iid_mm.utils.typing import ImageArray


def config_of_test_set(cfg: Config) -> ConfigDict:
    """Config of the first dataset of the test loader, a copy.

    Raises:
        InputError: There is none.
    """
    node = (cfg.get('test_dataloader') or {}).get('dataset')
    while node is not None and 'ann_file' not in node:
        nested = node.get('datasets') or []
        node = node.get('dataset', nested[0] if nested else None)
    if node is None:
        raise InputError(
            'the config has no test_dataloader.dataset with an ann_file, whose pipeline aligns faces'
        )
    return copy.deepcopy(node)


def index_dataset(
    cfg: Config, index: str | os.PathLike[str], split: str, frames_per_video: int | None, masks: bool = True
) -> ForgeryDataset:
    """Faces of an index, prepared as the config's test set.

    Args:
        cfg: The config.
        index: An ``index.parquet``, or the folder that it is in.
        split: Which split.
        frames_per_video: At most this many frames of a video, evenly spaced; None: all.
        masks: Load masks where the set has some.

    Returns:
        The dataset.

    Raises:
        FileNotFoundError: No such index.
        InputError: The index is invalid or the split empty.
    """
    path = Path(index)
    path = path / 'index.parquet' if path.is_dir() else path
    dataset = config_of_test_set(cfg)
    dataset.update(storage_settings_for(dataset, [path]))
    dataset.update(ann_file=str(path), data_root='', split=split, frames_per_video=frames_per_video)
    # The index decides what is looked at, not the config's choice of manipulations.
    dataset.pop('methods', None)
    if masks and has_masks(path, split):
        dataset.pipeline = with_masks(dataset.pipeline)
    built: ForgeryDataset = DATASETS.build(dataset)
    return built


def has_masks(index: str | os.PathLike[str], split: str) -> bool:
    """Whether a fake of a split has a mask."""
    table = read_index(index, columns=('label', 'split', 'mask'))
    rows = zip(*(table[name].to_pylist() for name in ('label', 'split', 'mask')), strict=True)
    return any(label == 1 and own == split and mask is not None for label, own, mask in rows)


def find_pictures(paths: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """Pictures among files and folders, folders' in the order of their names.

    Raises:
        FileNotFoundError: A path does not exist.
        InputError: A folder holds no picture.
    """
    found = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(p for p in path.rglob('*') if is_image(p.relative_to(path).as_posix()))
            if not inside:
                raise InputError(f'{printable(path)} holds no picture ({", ".join(IMAGE_SUFFIXES)})')
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise FileNotFoundError(f'picture {printable(path)} does not exist')
    return found


class PictureDataset:
    """Pictures as samples: the best face of each is found with MediaPipe and aligned.

    Args:
        cfg: The config, whose test pipeline is used.
        paths: Files and folders.
        skip_faceless: Leave pictures without a face out (they are in ``faceless``) instead of failing.

    Attributes:
        infos: What the pipeline starts from, one a picture.
        faceless: Pictures without a face.

    Raises:
        FileNotFoundError: A path does not exist.
        InputError: A picture cannot be read or shows no face.
        MissingExtraError: MediaPipe is not installed.
    """

    def __init__(
        self, cfg: Config, paths: Sequence[str | os.PathLike[str]], skip_faceless: bool = False
    ) -> None:
        from iid_mm.faces.analyzers.mediapipe_analyzer import MediapipeAnalyzer

        pictures = find_pictures(paths)
        steps = config_of_test_set(cfg).pipeline
        self.pipeline = Compose(without_loaders(steps))
        analyzer = MediapipeAnalyzer()
        self.infos: list[dict[str, Any]] = []
        self.faceless: list[Path] = []
        for path in pictures:
            faces = analyzer.analyze(_decode(path))
            if faces:
                self.infos.append(dict(img_path=str(path), landmarks=faces[0].landmarks))
            else:
                self.faceless.append(path)
        if self.faceless and (not skip_faceless or not self.infos):
            named = ', '.join(printable(path) for path in self.faceless[:5])
            more = f' and {len(self.faceless) - 5} more' if len(self.faceless) > 5 else ''
            raise InputError(
                f'no face was found in {named}{more}; give pictures that show a face from the front, at '
                'least about 50 px wide with some room around it, or leave such pictures out '
                '(--skip-faceless)'
            )

    def __len__(self) -> int:
        return len(self.infos)

    def __getitem__(self, index: int) -> Any:
        # What reads crops leaves images of others as they are stored, not as they are shown.
        image = _decode(Path(self.infos[index]['img_path']))
        shape = image.shape[:2]
        return self.pipeline(dict(self.infos[index], img=image, img_shape=shape, ori_shape=shape))


def _decode(path: Path) -> ImageArray:
    try:
        return decode_image(read_image_file(path))
    except (OSError, InputError) as error:
        raise InputError(f'picture {printable(path)} cannot be decoded ({reason_of(error)})') from error
