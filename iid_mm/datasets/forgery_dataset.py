# SPDX-License-Identifier: Apache-2.0
"""Dataset of face crops listed in an index."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from iid_mm.datasets.balanced_sampler import RepeatedIndex
from iid_mm.datasets.index import SPLITS, read_index
from iid_mm.datasets.sample_table import SampleTable
from iid_mm.datasets.storage import PACKING_TOOL, LmdbStorage, close_databases, make_storages, read_crop
from iid_mm.errors import InputError
from iid_mm.registry import DATASETS
from iid_mm.utils.sampling import evenly_spaced

_COLUMNS = (
    'image',
    'source_image',
    'landmarks',
    'label',
    'dataset',
    'method',
    'video_key',
    'frame',
    'split',
    'target_id',
    'source_id',
    'mask',
)


@DATASETS.register_module()
class ForgeryDataset(BaseDataset):
    """Genuine and fake face crops of one split of one or more prepared sets.

    Every sample is a dictionary with ``img_path``, ``source_img_path`` (genuine frame of a fake, or None),
    ``landmarks`` ((K, 2) float32, of the face in ``img_path``, pixels of the crop that both frames
    share), ``gt_label`` (0 genuine, 1 fake), ``video_key``, ``frame``, ``dataset``, ``method``,
    ``target_id``, ``source_id`` and ``mask_path``, and with ``backend_args`` also ``storage``, through
    which its images are read. Samples are ordered as in the index: by video, then by frame.

    A broken or missing image is an error that names the file: samples are never replaced by others.

    Args:
        ann_file: Index, or several of them; images lie relative to the folder of their index.
        data_root: Folder to which a relative ``ann_file`` refers.
        split: ``train``, ``val`` or ``test``.
        methods: Keep only fakes of these manipulations; genuine samples stay. None keeps all.
        frames_per_video: Keep at most this many frames of a video, evenly spaced. None keeps all.
        require_pair: Drop fakes without a genuine frame.
        paired_only: Drop genuine samples, too: each fake comes with its genuine frame, see
            :class:`~iid_mm.datasets.transforms.PackForgeryPair`. Implies ``require_pair``.
        genuine_only: Drop all fakes, for pipelines that make their own.
        seed: Seed of the random draws of the pipeline. With a seed a sample depends only on the seed, the
            epoch (:meth:`set_epoch`) and its number, not on workers, order, or where a run was resumed. None
            does not seed.
        backend_args: LMDB database that images and masks are read from, see
            :class:`~iid_mm.datasets.storage.LmdbStorage`; a list with one for each index where they differ.
            None reads files. One image of each index is read when the dataset is built, so that mistakes show
            before long work.
        pipeline: Transforms.
        test_mode: As in :class:`mmengine.dataset.BaseDataset`.
        **kwargs: Further arguments of :class:`mmengine.dataset.BaseDataset`, e.g. ``indices``,
            ``serialize_data`` and ``lazy_init``.

    Raises:
        FileNotFoundError: If an index is missing.
        InputError: If an index is invalid, nothing is left, or a database cannot be read.
        MissingExtraError: If lmdb is needed and not installed.
    """

    METAINFO = {'classes': ('artifact',)}

    def __init__(
        self,
        ann_file: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        data_root: str | os.PathLike[str] = '',
        split: str = 'train',
        methods: Sequence[str] | None = None,
        frames_per_video: int | None = None,
        require_pair: bool = False,
        paired_only: bool = False,
        genuine_only: bool = False,
        seed: int | None = None,
        backend_args: Mapping[str, Any] | Sequence[Mapping[str, Any] | None] | None = None,
        pipeline: Sequence[Any] = (),
        test_mode: bool = False,
        **kwargs: Any,
    ) -> None:
        if split not in SPLITS:
            raise InputError(f'split={split!r}: must be one of {", ".join(SPLITS)}')
        if frames_per_video is not None and frames_per_video < 1:
            raise InputError(f'frames_per_video={frames_per_video!r}: must be at least 1, or None')
        if paired_only and genuine_only:
            raise InputError('paired_only=True and genuine_only=True leave nothing; choose one')
        if isinstance(methods, str):
            raise InputError(f'methods={methods!r}: give a list, e.g. [{methods!r}]')
        if methods is not None and not methods:
            raise InputError('methods=[]: name manipulations, or give None for all')
        if seed is not None and seed < 0:
            raise InputError(f'seed={seed!r}: must not be negative')
        self.split = split
        self.methods = None if methods is None else tuple(methods)
        self.frames_per_video = frames_per_video
        self.require_pair = require_pair or paired_only
        self.paired_only = paired_only
        self.genuine_only = genuine_only
        self.seed = seed
        self.backend_args = backend_args
        # Shared memory: workers that outlive an epoch must see the new one.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        single = isinstance(ann_file, (str, os.PathLike))
        files = [ann_file] if single else list(ann_file)  # type: ignore[arg-type]
        if not files:
            raise InputError('ann_file=[]: give at least one index')
        self.ann_files = [os.path.join(data_root, os.fspath(file)) for file in files]  # type: ignore[arg-type]
        super().__init__(
            ann_file=self.ann_files[0],
            pipeline=list(pipeline),
            test_mode=test_mode,
            # Nothing is fetched again: `prepare_data` never returns None.
            max_refetch=0,
            **kwargs,
        )

    @property
    def epoch(self) -> int:
        """The epoch that the draws of a seeded pipeline depend on."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, also for data loader workers that are running."""
        self._epoch.fill_(epoch)

    def load_data_list(self) -> Sequence[dict[str, Any]]:
        """Read the indices and select the samples."""
        tables = [read_index(file, columns=_COLUMNS) for file in self.ann_files]
        self._check_present(tables)
        storages = make_storages(self.backend_args, self.ann_files)
        samples = SampleTable()
        for file, storage in zip(self.ann_files, storages, strict=True):
            # Free each table as soon as its rows are chosen.
            chosen = self._select(tables.pop(0), file)
            if not chosen.num_rows:
                continue
            samples.add(chosen, os.path.dirname(file), storage)
            if storage is not None:
                self._check_storage(storage, file, samples[len(samples) - chosen.num_rows]['img_path'])
        # Reading needs several times as much memory as what is kept.
        del tables
        pa.default_memory_pool().release_unused()
        if not len(samples):
            raise InputError(
                f'no sample of split {self.split!r} is left in {", ".join(self.ann_files)} with '
                f'methods={self.methods} and require_pair={self.require_pair}'
            )
        return samples

    def filter_data(self) -> Sequence[dict[str, Any]]:
        """Keep all samples; a table of them needs no serialization to be small."""
        if isinstance(self.data_list, SampleTable):
            self.serialize_data = False
        return self.data_list

    @staticmethod
    def _check_storage(storage: LmdbStorage, index: str, path: str) -> None:
        """Read one image of an index, and warn if the database was packed from another state of it."""
        read_crop(path, storage=storage)
        if storage.is_packed_from(index) is False:
            print_log(
                f'LMDB {storage.path!r} was not packed from {index} as it is now; if the set was prepared '
                f'again, pack it again: {PACKING_TOOL} --overwrite',
                logger='current',
                level=logging.WARNING,
            )
        close_databases()

    def _check_present(self, tables: Sequence[pa.Table]) -> None:
        """Check that the split and the methods exist."""
        names = ', '.join(self.ann_files)
        splits = sorted({split for table in tables for split in table['split'].unique().to_pylist()})
        if self.split not in splits:
            raise InputError(
                f'split={self.split!r} is empty in {names}; splits there: {", ".join(splits) or "none"}'
            )
        present: set[str] = set()
        for table in tables:
            present.update(table.filter(pc.field('label') == 1)['method'].unique().to_pylist())
        if unknown := sorted(set(self.methods or ()) - present):
            raise InputError(
                f'methods: no fake of {", ".join(unknown)} in {names}; methods there: '
                f'{", ".join(sorted(present)) or "none"}'
            )

    def _select(self, table: pa.Table, file: str) -> pa.Table:
        """Keep the rows that were asked for."""
        table = table.filter(pc.field('split') == self.split)
        fake = pc.field('label') == 1
        if self.methods is not None:
            table = table.filter(~fake | pc.field('method').isin(list(self.methods)))
        if self.require_pair:
            kept = table.filter(~fake | pc.field('source_image').is_valid())
            if dropped := table.num_rows - kept.num_rows:
                print_log(
                    f'{file}: left out {dropped} fake(s) of split {self.split!r} that have no genuine frame',
                    logger='current',
                    level=logging.WARNING,
                )
            table = kept
        if self.paired_only or self.genuine_only:
            table = table.filter(fake if self.paired_only else ~fake)
        if self.frames_per_video is not None and table.num_rows:
            table = table.take(_spaced_rows(table['video_key'], self.frames_per_video))
        return table

    def get_cat_ids(self, idx: int) -> list[int]:
        """Label of a sample, for wrappers that balance classes."""
        return [int(self.get_data_info(idx)['gt_label'])]

    def prepare_data(self, idx: int) -> Any:
        """Run the pipeline on one sample.

        Raises:
            RuntimeError: If a transform returns None; mmengine would put another sample in its place.
        """
        info = self.get_data_info(idx)
        path = info['img_path']
        if self.seed is None:
            data = self.pipeline(info)
        else:
            # Samplers that repeat a sample within an epoch say so in the index.
            repeat = idx.repeat if isinstance(idx, RepeatedIndex) else 0
            with _seeded(self.seed, self.epoch, info['sample_idx'], *([repeat] if repeat else [])):
                data = self.pipeline(info)
        if data is None:
            raise RuntimeError(f'a transform of the pipeline returned None for {path!r}')
        return data

    def _copy_without_annotation(self, memo: dict[int, Any] | None = None) -> ForgeryDataset:
        other: ForgeryDataset = super()._copy_without_annotation(memo)
        other._epoch = self._epoch.clone().share_memory_()
        return other


def _spaced_rows(video_keys: pa.ChunkedArray, count: int) -> np.ndarray:
    """Row numbers of at most ``count`` rows a video; the rows of a video follow one another."""
    codes = np.asarray(pc.dictionary_encode(video_keys).combine_chunks().indices)
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    sizes = np.diff(starts, append=len(codes))
    rows = []
    for start, size in zip(starts, sizes, strict=True):
        rows.append(start + np.array(evenly_spaced(int(size), count)))
    return np.concatenate(rows)


@contextmanager
def _seeded(*numbers: int) -> Iterator[None]:
    """Seed ``random`` and ``numpy.random`` within the block; restore their states after it."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    words = np.random.SeedSequence(numbers).generate_state(8)
    random.seed(words[:4].tobytes())
    np.random.seed(words[4:])
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
