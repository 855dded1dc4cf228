# SPDX-License-Identifier: Apache-2.0
"""Configure a test so that it also measures localization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow.compute as pc
from mmengine.config import Config, ConfigDict

from iid_mm.datasets.index import read_index
from iid_mm.errors import InputError
from iid_mm.evaluation.eval_sets import index_files
from iid_mm.models.heat_maps import DEFAULT_HEAT_MAP, check_heat_map
from iid_mm.utils.config import datasets_of, insert_step, type_name

LOADER = 'LoadForgeryMask'
METRIC = 'ArtifactLocalization'


def add_localization(cfg: Config, *, heat_map: str = DEFAULT_HEAT_MAP, **options: Any) -> None:
    """Let a test measure localization: it loads masks, makes heat maps and has the metric.

    Args:
        cfg: Config with ``model``, ``test_dataloader`` and ``test_evaluator``; it is changed in place.
            Nothing is added twice.
        heat_map: Kind of the maps, see :mod:`iid_mm.models.heat_maps`.
        **options: Of :class:`~iid_mm.evaluation.metrics.ArtifactLocalization`.

    Raises:
        FileNotFoundError: An index does not exist.
        InputError: The model has no artifact head, the kind of map is unknown, a pipeline has no
            PackForgeryInputs, or no fake of the test set has a mask.
    """
    check_heat_map(heat_map)
    if not cfg.model.get('artifact_head'):
        raise InputError(
            'localization: model.artifact_head is None, so there are no boxes to compare with masks; '
            'test a config that has an artifact head'
        )
    datasets = [dataset for dataset in datasets_of(cfg, 'test_dataloader') if 'ann_file' in dataset]
    _check_masks(datasets)
    for dataset in datasets:
        dataset.pipeline = with_masks(dataset.pipeline)
    head = cfg.model.artifact_head
    # A test config of the head overrides that of the model.
    owner = head if head.get('test_cfg') else cfg.model
    owner.test_cfg = ConfigDict(owner.get('test_cfg') or {}, heat_map=heat_map)
    evaluator = cfg.get('test_evaluator') or []
    evaluators = list(evaluator) if isinstance(evaluator, (list, tuple)) else [evaluator]
    others = [metric for metric in evaluators if type_name(metric) != METRIC]
    cfg.test_evaluator = [*others, ConfigDict(type=METRIC, **options)]


def with_masks(pipeline: Sequence[Any]) -> list[Any]:
    """Add the loading of masks to a pipeline that does not load them yet.

    Args:
        pipeline: Configs of the transforms.

    Returns:
        A new list.

    Raises:
        InputError: The pipeline has no PackForgeryInputs, before which masks are loaded.
    """
    if LOADER in map(type_name, pipeline):
        return list(pipeline)
    return insert_step(pipeline, ConfigDict(type=LOADER), before='PackForgeryInputs')


def _check_masks(datasets: Sequence[ConfigDict]) -> None:
    """Check that at least one selected fake of the test sets has a mask."""
    files = [(dataset, path) for dataset in datasets for path in index_files(dataset)]
    for dataset, path in files:
        table = read_index(path, columns=('label', 'method', 'split', 'mask'))
        wanted = (pc.field('label') == 1) & (pc.field('split') == dataset.get('split', 'train'))
        if dataset.get('methods') is not None:
            wanted &= pc.field('method').isin(list(dataset.methods))
        if table.filter(wanted & pc.field('mask').is_valid()).num_rows:
            return
    where = ', '.join(str(path) for _, path in files) or 'any index'
    raise InputError(
        f'localization: no fake of the test set has a mask in {where}; prepare the set again with --masks '
        '(tools/prepare_data.py; only FaceForensics++ and the toy set have masks), or leave localization out'
    )
