# SPDX-License-Identifier: Apache-2.0
"""The test sets of an evaluation: where they are, and whether they can be tested."""

from __future__ import annotations

import copy
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from mmengine.config import Config

from iid_mm.datasets.index import read_index
from iid_mm.datasets.storage import backend_args_for
from iid_mm.datasets.whole_batch_sampler import WholeBatchSampler
from iid_mm.errors import InputError
from iid_mm.evaluation.functional.inputs import OneClassError

VALIDATION = 'validation'
"""Name of the set on which the threshold is chosen; no test set may have it."""

_NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9._+-]*')
# Keys of an entry of the config; everything else is that of test_dataloader.
_ENTRY_KEYS = ('data_root', 'ann_file', 'backend_args', 'split', 'methods', 'frames_per_video')
_COLUMNS = ('label', 'dataset', 'method', 'compression', 'video_key', 'split', 'source_image')


@dataclass(frozen=True)
class EvalSet:
    """One set to test.

    Attributes:
        name: Name in tables and file names.
        dataloader: Config of its data loader.
        metrics: Metrics in addition to those of the config.
    """

    name: str
    dataloader: dict[str, Any]
    metrics: tuple[dict[str, Any], ...] = ()

    @property
    def dataset(self) -> dict[str, Any]:
        """Config of its dataset."""
        entry: dict[str, Any] = self.dataloader['dataset']
        return entry

    @property
    def split(self) -> str:
        """Its split."""
        return str(self.dataset.get('split', 'train'))

    @property
    def indices(self) -> list[Path]:
        """Its index, or its indices."""
        return index_files(self.dataset)

    @property
    def root(self) -> Path:
        """Folder that contains all images; paths in the scores file are relative to it."""
        folders = [os.path.abspath(index.parent) for index in self.indices]
        return Path(os.path.commonpath(folders))


def index_files(dataset: Mapping[str, Any]) -> list[Path]:
    """Index files of a dataset's config, which are one or several."""
    files = dataset['ann_file']
    several = [files] if isinstance(files, (str, os.PathLike)) else list(files)
    return [Path(dataset.get('data_root') or '') / file for file in several]


def find_eval_sets(cfg: Config, names: Sequence[str] | None = None) -> list[EvalSet]:
    """Find the requested test sets.

    Args:
        cfg: Config with ``test_dataloader`` and, optionally, ``test_sets``: a dictionary name ->
            ``dict(data_root=..., ann_file=..., backend_args=..., split=..., methods=...,
            frames_per_video=...)``, or a list of values of ``names``.
        names: For each set the name of an entry of the config's ``test_sets``, the name of a prepared
            folder beside the config's ``data_root``, the path of a prepared folder, or ``name=path``.
            None: the config's own set. Empty: all of the config's ``test_sets``.

    Returns:
        The sets in the order given. Batch size, pipeline and frames per video are those of
        ``test_dataloader``.

    Raises:
        InputError: A name is unknown or used twice, or the config's data loader does not read an index.
        FileNotFoundError: A folder does not exist or is not prepared.
    """
    base = _data_loader(cfg, 'test_dataloader')
    entries = cfg.get('test_sets') or {}
    if names is None:
        root = str(base['dataset'].get('data_root') or cfg.get('data_root') or 'test')
        return [EvalSet(_checked_name(_folder_name(root) or 'test'), base)]
    if not names:
        names = list(entries)
        if not names:
            raise InputError('--test-sets without names takes test_sets of the config, which has none')
    if not isinstance(entries, dict):
        entries = {}
    found = [_find(name, base, entries, cfg) for name in names]
    doubled = sorted(name for name, count in Counter(s.name for s in found).items() if count > 1)
    if doubled:
        raise InputError(f'test sets: {", ".join(doubled)} is named twice; tell sets apart with name=path')
    return found


def validation_set(cfg: Config) -> EvalSet:
    """The validation set of the config, on which a threshold can be chosen.

    Raises:
        InputError: The config has no ``val_dataloader`` that reads an index.
    """
    return EvalSet(VALIDATION, _data_loader(cfg, 'val_dataloader'))


def check_eval_set(test_set: EvalSet) -> pa.Table:
    """Read the set's samples from its index and check them, before the long work.

    Args:
        test_set: The set.

    Returns:
        Table of the samples that will be scored, before ``frames_per_video`` reduces them, with the
        columns label, dataset, method, compression, video_key.

    Raises:
        FileNotFoundError: An index is missing.
        InputError: An index is invalid, or the split is empty.
        OneClassError: The set, or one of the datasets in it, has only genuine or only fake videos.
    """
    tables = []
    for path in test_set.indices:
        table = read_index(path, columns=_COLUMNS)
        splits = sorted(table['split'].unique().to_pylist())
        kept = _select(table, test_set)
        if not kept.num_rows:
            raise InputError(
                f'test set {test_set.name}: split {test_set.split!r} is empty in {path}; splits there: '
                f'{", ".join(splits) or "none"}'
            )
        tables.append(kept.replace_schema_metadata(None))
    table = pa.concat_tables(tables).drop_columns(['split', 'source_image'])
    for dataset in sorted(table['dataset'].unique().to_pylist()):
        labels = table.filter(pc.field('dataset') == dataset)['label'].unique().to_pylist()
        if len(labels) == 1:
            present, absent = ('fake', 'genuine') if labels[0] else ('genuine', 'fake')
            raise OneClassError(
                f'test set {test_set.name}: all videos of {dataset!r} in split {test_set.split!r} are '
                f'{present}; without {absent} ones there is no AUC. Check the index '
                f'{", ".join(map(str, test_set.indices))} and the manipulations that are selected'
            )
    return table


def check_eval_sets(test_sets: Sequence[EvalSet]) -> dict[str, pa.Table]:
    """Check several sets, see :func:`check_eval_set`, and report all errors at once.

    Args:
        test_sets: The sets.

    Returns:
        Their tables by name.

    Raises:
        FileNotFoundError: Exactly one set fails, and a file is missing.
        InputError: Sets cannot be tested; the message has a line for each.
    """
    tables, errors = {}, []
    for test_set in test_sets:
        try:
            tables[test_set.name] = check_eval_set(test_set)
        except (InputError, FileNotFoundError) as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise InputError('\nerror: '.join(map(str, errors)))
    return tables


def _select(table: pa.Table, test_set: EvalSet) -> pa.Table:
    """Apply the dataset's selection of samples, except ``frames_per_video``."""
    fake = pc.field('label') == 1
    table = table.filter(pc.field('split') == test_set.split)
    methods = test_set.dataset.get('methods')
    if methods is not None:
        table = table.filter(~fake | pc.field('method').isin(list(methods)))
    if test_set.dataset.get('require_pair'):
        table = table.filter(~fake | pc.field('source_image').is_valid())
    return table


def _data_loader(cfg: Config, name: str) -> dict[str, Any]:
    loader = cfg.get(name)
    dataset = (loader or {}).get('dataset') or {}
    if 'ann_file' not in dataset:
        raise InputError(
            f'{name}.dataset of the config must be a dataset with ann_file, such as ForgeryDataset'
        )
    plain: dict[str, Any] = copy.deepcopy(loader.to_dict() if hasattr(loader, 'to_dict') else dict(loader))
    # Makes batches independent of the number of processes.
    plain['sampler'] = dict(type=WholeBatchSampler, batch_size=plain['batch_size'])
    plain['persistent_workers'] = False
    plain['drop_last'] = False
    return plain


def _folder_name(path: str) -> str:
    return os.path.basename(os.path.abspath(path))


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name) or name == VALIDATION:
        raise InputError(
            f'test set {name!r}: a name may hold letters, digits and ._+- only and must not be '
            f'{VALIDATION!r}; choose one with name=path'
        )
    return name


def _find(text: str, base: dict[str, Any], entries: dict[str, Any], cfg: Config) -> EvalSet:
    name, is_named, path = text.partition('=')
    if is_named:
        return _at(_checked_name(name), path, base)
    if text in entries:
        return _from_entry(_checked_name(text), entries[text], base)
    if '/' in text or os.sep in text or text in ('.', '..'):
        return _at(_checked_name(_folder_name(text)), text, base)
    root = str(cfg.get('data_root') or base['dataset'].get('data_root') or '')
    beside = os.path.join(os.path.dirname(root.rstrip('/')), text) if root else text
    if os.path.isdir(beside):
        return _at(_checked_name(text), beside, base)
    prepared = sorted(index.parent.name for index in Path(beside).parent.glob('*/index.parquet'))
    raise InputError(
        f'test set {text!r} is unknown: there is no folder {beside} and no entry of that name in test_sets '
        f'of the config (which has {", ".join(entries) or "none"}). Prepared folders there: '
        f'{", ".join(prepared) or "none"}. Or give a path, or name=path'
    )


def _at(name: str, path: str, base: dict[str, Any]) -> EvalSet:
    if not os.path.isdir(path):
        raise FileNotFoundError(f'test set {name}: folder {path!r} does not exist')
    return _from_entry(name, dict(data_root=path, ann_file='index.parquet'), base)


def _from_entry(name: str, entry: Any, base: dict[str, Any]) -> EvalSet:
    if not isinstance(entry, dict) or not entry.get('data_root'):
        raise InputError(f'test_sets.{name} of the config must be a dictionary with data_root')
    if unknown := sorted(set(entry) - set(_ENTRY_KEYS)):
        raise InputError(
            f'test_sets.{name}: unknown {", ".join(unknown)}; it may have {", ".join(_ENTRY_KEYS)}'
        )
    loader = copy.deepcopy(base)
    # The manipulations selected in test_dataloader are those of another set.
    loader['dataset'].pop('methods', None)
    loader['dataset'].update(dict(ann_file='index.parquet', split='test'), **entry)
    found = EvalSet(name, loader)
    if 'backend_args' not in entry:
        loader['dataset']['backend_args'] = backend_args_for(base['dataset'], found.indices)
    for index in found.indices:
        if not index.is_file():
            raise FileNotFoundError(
                f'test set {name}: {index} does not exist; prepare the set with tools/prepare_data.py'
            )
    return found
