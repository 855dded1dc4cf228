# SPDX-License-Identifier: Apache-2.0
"""Changes to a config so that a test also measures localization."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow.compute as pc
from mmengine.config import Config, ConfigDict

from iid_mm.datasets.index import read_index
from iid_mm.errors import InputError
from iid_mm.models.heat_maps import DEFAULT_HEAT_MAP, check_heat_map

LOADER = 'LoadForgeryMask'
METRIC = 'ArtifactLocalization'


def add_localization(cfg: Config, *, heat_map: str = DEFAULT_HEAT_MAP, **options: Any) -> None:
    """Make a test measure localization: masks are loaded, maps are made, the metric is added.

    Args:
        cfg: Config with ``model``, ``test_dataloader`` and ``test_evaluator``; it is changed in place.
            Nothing is added twice.
        heat_map: Kind of the maps, see :mod:`iid_mm.models.heat_maps`.
        **options: Of :class:`~iid_mm.evaluation.metrics.ArtifactLocalization`.

    Raises:
        FileNotFoundError: An index does not exist.
        InputError: The model has no artifact head, the kind of map is unknown, a pipeline does not end
            with packing, or no fake of the test set has a mask.
    """
    check_heat_map(heat_map)
    if not cfg.model.get('artifact_head'):
        raise InputError(
            'localization: model.artifact_head is None, so there are no boxes to compare with masks; '
            'test a config that has an artifact head'
        )
    datasets = list(index_datasets(cfg.test_dataloader.dataset))
    check_masks(datasets)
    for dataset in datasets:
        dataset.pipeline = with_masks(dataset.pipeline)
    head = cfg.model.artifact_head
    # The head's own test config takes the place of the model's.
    owner = head if head.get('test_cfg') else cfg.model
    owner.test_cfg = ConfigDict(owner.get('test_cfg') or {}, heat_map=heat_map)
    evaluator = cfg.get('test_evaluator') or []
    evaluators = list(evaluator) if isinstance(evaluator, (list, tuple)) else [evaluator]
    evaluators = [metric for metric in evaluators if metric['type'] != METRIC]
    cfg.test_evaluator = [*evaluators, ConfigDict(type=METRIC, **options)]


def with_masks(pipeline: Sequence[Any]) -> list[Any]:
    """Insert the loading of masks before the packing, where it is not there yet.

    Args:
        pipeline: Configs of the transforms.

    Returns:
        A new list.

    Raises:
        InputError: The pipeline does not end with packing.
    """
    names = [_name(transform) for transform in pipeline]
    if LOADER in names:
        return list(pipeline)
    if not names or names[-1] != 'PackForgeryInputs':
        raise InputError(
            f'localization: the test pipeline is {names} and must end with PackForgeryInputs, before which '
            f'{LOADER} belongs'
        )
    return [*pipeline[:-1], ConfigDict(type=LOADER), pipeline[-1]]


def _name(transform: Any) -> str:
    kind = transform['type']
    return str(kind if isinstance(kind, str) else kind.__name__).split('.')[-1]


def index_datasets(node: ConfigDict) -> Iterator[ConfigDict]:
    """Visit the datasets of a config that read an index, also those in wrappers."""
    if 'ann_file' in node:
        yield node
    for child in [node['dataset']] if 'dataset' in node else node.get('datasets', []):
        yield from index_datasets(child)


def check_masks(datasets: Sequence[ConfigDict]) -> None:
    """Check that fakes of the test sets have masks.

    Args:
        datasets: Configs of :class:`~iid_mm.datasets.forgery_dataset.ForgeryDataset`.

    Raises:
        FileNotFoundError: An index does not exist.
        InputError: No selected fake has a mask.
    """
    files = []
    for dataset in datasets:
        named = dataset.ann_file
        for file in [named] if isinstance(named, (str, os.PathLike)) else named:
            path = os.path.join(dataset.get('data_root') or '', os.fspath(file))
            table = read_index(path, columns=('label', 'method', 'split', 'mask'))
            wanted = (pc.field('label') == 1) & (pc.field('split') == dataset.get('split', 'train'))
            if dataset.get('methods') is not None:
                wanted &= pc.field('method').isin(list(dataset.methods))
            if table.filter(wanted & pc.field('mask').is_valid()).num_rows:
                return
            files.append(path)
    raise InputError(
        f'localization: no fake of the test set has a mask in {", ".join(files) or "any index"}; prepare '
        'the set again with --masks (tools/prepare_data.py; only FaceForensics++ and the toy set have '
        'masks), or leave localization out'
    )
