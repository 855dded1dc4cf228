# SPDX-License-Identifier: Apache-2.0
"""Reading and changing configs: options, datasets of data loaders, steps of pipelines."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from iid_mm.errors import InputError
from iid_mm.utils.config_keys import check_options, misspelled, without_effect
from iid_mm.utils.typing import Size

# Raised by mistakes in a config; JSON errors are ValueErrors.
MISTAKES = (SyntaxError, NameError, TypeError, ValueError, LookupError, AttributeError)
LOADERS = ('LoadForgeryPair', 'LoadForgeryMask', 'LoadImageFromFile')
"""Transforms that read files."""


def load_config(config: str | os.PathLike[str] | Config, cfg_options: dict[str, Any] | None = None) -> Config:
    """Read a config; its ``backend_args`` apply to all of its datasets that do not set their own.

    A dataset with ``backend_args=None`` reads files.

    Args:
        config: Path of a config file, or a config that this function has read.
        cfg_options: Values that replace those of the config, keys with dots, e.g. ``model.neck.channels``.
            ``data_root`` also replaces the folder of all datasets that had the config's.

    Returns:
        The config.

    Raises:
        FileNotFoundError: If there is no such file.
        InputError: If the file is no config, or ``cfg_options`` do not fit it. An unknown setting in the
            file is a warning on stderr.
    """
    warnings: list[str] = []
    if not isinstance(config, Config):
        path = Path(config)
        config = _read_file(path)
        warnings = [
            f'config {path}: {text}' for text in misspelled(dict(config.items()), config.env_variables)
        ]
        _hand_down_backend_args(config, config, None)
    if cfg_options:
        check_options(dict(config.items()), cfg_options)
        warnings += without_effect(cfg_options)
        # The caller may use the same config again.
        config = copy.deepcopy(config)
        before = copy.deepcopy(config.get('backend_args'))
        if 'data_root' in cfg_options:
            _replace_data_root(config, config.get('data_root'), cfg_options['data_root'])
        try:
            config.merge_from_dict(cfg_options)
        except MISTAKES as error:
            raise InputError(f'cfg_options={cfg_options!r} does not fit the config: {error}') from error
        _hand_down_backend_args(config, config, before)
    if os.environ.get('LOCAL_RANK', '0') == '0':
        for text in warnings:
            print(f'warning: {text}', file=sys.stderr)
    return config


def find_config(model: str | os.PathLike[str] | Config) -> str | os.PathLike[str] | Config:
    """Find a config by its name.

    Args:
        model: A config, the path of one, or the name of a file below ``configs`` without suffix.

    Returns:
        The config or its path.

    Raises:
        FileNotFoundError: There is no such config; the message lists the names.
    """
    if isinstance(model, Config) or Path(model).is_file():
        return model
    folder = Path(__file__).parents[2] / 'configs'
    known = {path.stem: path for path in sorted(folder.rglob('*.py')) if '_base_' not in path.parts}
    name = os.fspath(model)
    if name in known:
        return known[name]
    hint = f'; known names: {", ".join(sorted(known))}' if known else ''
    raise FileNotFoundError(f'config {name} does not exist{hint}')


def _read_file(path: Path) -> Config:
    """Read a config file; errors name it."""
    if not path.is_file():
        raise FileNotFoundError(f'config {path} does not exist')
    if path.suffix not in ('.py', '.json', '.yaml', '.yml'):
        raise InputError(f'config {path} must end in .py, .json, .yaml or .yml')
    try:
        return Config.fromfile(str(path))
    except ImportError as error:
        raise InputError(
            f'config {path} imports missing modules: {str(error).splitlines()[0]}; for a project, add its '
            'folder to the path, e.g. PYTHONPATH=projects/self_blended'
        ) from error
    except MISTAKES as error:
        raise InputError(f'config {path} cannot be read: {type(error).__name__}: {error}') from error


def datasets_of(cfg: Config, loader: str) -> list[ConfigDict]:
    """The datasets of a data loader, below all wrappers; to be changed in place.

    Args:
        cfg: The config.
        loader: Name of the data loader, e.g. ``train_dataloader``.

    Returns:
        Their configs, in order; empty if there is no such data loader.
    """
    node = (cfg.get(loader) or {}).get('dataset')
    return [] if node is None else list(_below_wrappers(node))


def _below_wrappers(node: ConfigDict) -> Iterator[ConfigDict]:
    children = [node['dataset']] if 'dataset' in node else node.get('datasets') or []
    for child in children:
        yield from _below_wrappers(child)
    if not children:
        yield node


def dataset_of(cfg: Config, loader: str = 'test_dataloader') -> ConfigDict:
    """The first of :func:`datasets_of`.

    Raises:
        InputError: There is none.
    """
    datasets = datasets_of(cfg, loader)
    if not datasets:
        raise InputError(f'the config has no {loader}.dataset, which gives the pipeline')
    return datasets[0]


def type_name(component: Any) -> str:
    """Class of a component, given by its config or built, without scope: ``AlignFace``."""
    kind = component.get('type', '') if isinstance(component, (dict, Config)) else type(component)
    return str(kind if isinstance(kind, str) else kind.__name__).split('.')[-1]


def insert_step(
    pipeline: Sequence[Any], step: Any, *, after: str | None = None, before: str | None = None
) -> list[Any]:
    """Insert a transform into a pipeline.

    Args:
        pipeline: The transforms, or their configs.
        step: The new one, or its config.
        after: Class of the transform that it follows, the last one of that name.
        before: Class of the transform that it precedes; give one of the two.

    Returns:
        A new list.

    Raises:
        InputError: The pipeline has no such transform.
    """
    names = [type_name(transform) for transform in pipeline]
    anchor = after or before or ''
    if anchor not in names:
        raise InputError(
            f'the pipeline ({", ".join(names)}) has no {anchor}, beside which {type_name(step)} belongs'
        )
    place = len(names) - 1 - names[::-1].index(anchor) + (after is not None)
    return [*pipeline[:place], step, *pipeline[place:]]


def pipeline_input_size(cfg: Config) -> Size:
    """(w, h) in pixels of the images that the test pipeline of a config gives.

    Raises:
        InputError: If the config has no test dataset, or its pipeline no ``AlignFace``.
    """
    for step in dataset_of(cfg).get('pipeline') or []:
        if type_name(step) == 'AlignFace':
            width, height = step.get('size', (224, 224))
            return int(width), int(height)
    raise InputError('the test pipeline of the config has no AlignFace, which sets the input size')


def without_loaders(pipeline: Iterable[Any]) -> list[Any]:
    """The transforms of a pipeline but for those that read files, for images that are in memory."""
    return [step for step in pipeline if type_name(step) not in LOADERS]


def _replace_data_root(node: Any, old: str | None, new: str) -> None:
    """Replace ``data_root`` everywhere; a variable of the config file has no effect once it is read."""
    if isinstance(node, (list, tuple)):
        for item in node:
            _replace_data_root(item, old, new)
    elif isinstance(node, (dict, Config)):
        for key, value in node.items():
            if key == 'data_root' and value == old:
                node[key] = new
            else:
                _replace_data_root(value, old, new)


def _hand_down_backend_args(node: Any, config: Config, before: Any) -> None:
    """Give the config's ``backend_args`` to the datasets below a node that had ``before`` or set none."""
    if isinstance(node, (list, tuple)):
        for item in node:
            _hand_down_backend_args(item, config, before)
    elif isinstance(node, (dict, Config)):
        if 'ann_file' in node and type_name(node).endswith('ForgeryDataset'):
            if 'backend_args' not in node or (before is not None and node['backend_args'] == before):
                node.pop('backend_args', None)
                if config.get('backend_args') is not None:
                    node['backend_args'] = copy.deepcopy(config.backend_args)
            return
        for value in node.values():
            _hand_down_backend_args(value, config, before)
