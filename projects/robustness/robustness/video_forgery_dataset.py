# SPDX-License-Identifier: Apache-2.0
"""Face crops with the other crops of their video."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from iid_mm.datasets.forgery_dataset import ForgeryDataset
from iid_mm.datasets.index import read_index
from iid_mm.errors import InputError
from iid_mm.registry import DATASETS
from iid_mm.structures.video_record import FrameSource
from robustness.originals import find_originals


@DATASETS.register_module()
class VideoForgeryDataset(ForgeryDataset):
    """A dataset whose samples have what is needed to compress their whole video.

    They have these keys in addition: ``video_images``, the paths of all crops of the video in this dataset in
    order of time, and ``video_position``, the place of the sample among them. With ``originals`` also
    ``video_source`` (the original video), ``video_frames`` (frame numbers) and ``video_windows`` (crop
    windows), in the same order.

    Args:
        *args: As for :class:`~iid_mm.datasets.forgery_dataset.ForgeryDataset`.
        originals: ``dict(root=..., layout=...)``: the dataset as downloaded and its layout, optionally
            ``splits_dir``; None: original videos are not used.
        **kwargs: As for :class:`~iid_mm.datasets.forgery_dataset.ForgeryDataset`.

    Raises:
        FileNotFoundError: An original video is missing.
        InputError: The layout is unknown, or the set has crops of several compression levels.
    """

    def __init__(self, *args: Any, originals: dict[str, Any] | None = None, **kwargs: Any) -> None:
        self.originals = originals
        self._starts: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._sources: dict[str, FrameSource] = {}
        self._windows: dict[str, tuple[int, ...]] = {}
        super().__init__(*args, **kwargs)

    def full_init(self) -> None:
        """Read the indices and find the first sample of each video."""
        if self._fully_initialized:
            return
        super().full_init()
        keys = np.array(
            [super(VideoForgeryDataset, self).get_data_info(i)['video_key'] for i in range(len(self))]
        )
        self._starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])).astype(np.int64)
        if self.originals is not None:
            self._find_originals(self.originals, sorted(set(keys.tolist())))

    @property
    def video_ranges(self) -> list[range]:
        """Numbers of the samples of each video."""
        ends = np.append(self._starts[1:], len(self))
        return [range(start, end) for start, end in zip(self._starts.tolist(), ends.tolist(), strict=True)]

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """Get a sample with the keys of its video."""
        info: dict[str, Any] = super().get_data_info(idx)
        if not self._starts.size:
            return info
        number = int(info['sample_idx'])
        video = int(np.searchsorted(self._starts, number, side='right')) - 1
        samples = [super(VideoForgeryDataset, self).get_data_info(i) for i in self.video_ranges[video]]
        info['video_images'] = tuple(sample['img_path'] for sample in samples)
        info['video_position'] = number - int(self._starts[video])
        if self.originals is not None:
            info['video_source'] = self._sources[info['video_key']]
            info['video_frames'] = tuple(sample['frame'] for sample in samples)
            info['video_windows'] = tuple(self._windows[path] for path in info['video_images'])
        return info

    def _find_originals(self, originals: dict[str, Any], keys: list[str]) -> None:
        levels = sorted({key.split('/')[2] for key in keys})
        if len(levels) > 1:
            raise InputError(
                f'originals: the set has crops of several compression levels ({", ".join(levels)})'
            )
        root, layout = Path(originals['root']), originals['layout']
        splits_dir = originals.get('splits_dir')
        found = find_originals(root, layout, levels[0], None if splits_dir is None else Path(splits_dir))
        if missing := [key for key in keys if key not in found]:
            raise FileNotFoundError(
                f'{len(missing)} of {len(keys)} videos of the index are not in {str(root)!r}, read as layout '
                f'{layout}, e.g. {missing[0]}; give the folder that the set was prepared from'
            )
        self._sources = {key: found[key] for key in keys}
        for file in self.ann_files:
            table = read_index(file, columns=('image', 'crop_window'))
            folder = os.path.dirname(file)
            images, windows = table['image'].to_pylist(), table['crop_window'].to_pylist()
            for image, window in zip(images, windows, strict=True):
                self._windows[os.path.join(folder, image)] = tuple(window)
