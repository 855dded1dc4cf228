# SPDX-License-Identifier: Apache-2.0
"""The config file of one run: a child of the user's config that holds the differences only."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import MMLogger

from cross_manipulation.data_facts import dataset_path, dig
from cross_manipulation.settings import Tree, differences, plain
from iid_mm.errors import InputError
from iid_mm.utils.config import load_config
from iid_mm.utils.files import write_text

HOOK_MODULE = 'cross_manipulation.selection_record_hook'


def run_delta(
    cfg: Config,
    *,
    train_methods: Sequence[str],
    test_methods: Sequence[str],
    seed: int,
    work_dir: Path,
    select: str,
    keep_all: bool,
) -> Tree:
    """Changes of a run to the user's config.

    Args:
        cfg: The user's config.
        train_methods: Manipulations to train on. The validation split, which the checkpoint is chosen
            on, is restricted to them too.
        test_methods: Manipulations to test on.
        seed: Seed of the weights, the order of the samples and their augmentation.
        work_dir: Folder of the run.
        select: 'best' or 'last': which checkpoint is tested.
        keep_all: Leave the number of stored checkpoints to the config.

    Returns:
        Nested dictionaries to merge into the config.
    """
    delta: Tree = {}
    put(delta, (*dataset_path(cfg, 'train_dataloader'), 'methods'), list(train_methods))
    put(delta, (*dataset_path(cfg, 'train_dataloader'), 'seed'), seed)
    put(delta, (*dataset_path(cfg, 'val_dataloader'), 'methods'), list(train_methods))
    put(delta, (*dataset_path(cfg, 'test_dataloader'), 'methods'), list(test_methods))
    put(delta, ('randomness', 'seed'), seed)
    imports = list((cfg.get('custom_imports') or {}).get('imports', []))
    put(delta, ('custom_imports', 'imports'), [*imports, HOOK_MODULE])
    put(delta, ('custom_imports', 'allow_failed_imports'), False)
    put(
        delta,
        ('default_hooks', 'selection'),
        dict(type='SelectionRecordHook', methods=list(train_methods)),
    )
    if select == 'last':
        put(delta, ('default_hooks', 'checkpoint', 'save_best'), None)
    if not keep_all:
        # Two: while the newer one is being written, a kill leaves the older one to go on from.
        put(delta, ('default_hooks', 'checkpoint', 'max_keep_ckpts'), 2)
    put(delta, ('work_dir',), str(work_dir))
    return delta


def options_delta(path: Path, cfg_options: Mapping[str, Any]) -> Tree:
    """Write ``--cfg-options`` as nested dictionaries.

    Args:
        path: The user's config.
        cfg_options: Values by keys with dots; ``data_root`` replaces the folder of all datasets that
            had the config's, as in :func:`~iid_mm.utils.config.load_config`. Of a list, of which an item is
            changed (``param_scheduler.1.T_max``), the whole is written.

    Returns:
        The dictionaries to merge into the config.
    """
    delta: Tree = {}
    if not cfg_options:
        return delta
    before = load_config(path)
    if 'data_root' in cfg_options:
        for place in _places(before.to_dict(), 'data_root', before.get('data_root')):
            put(delta, place, cfg_options['data_root'])
    after = load_config(before, dict(cfg_options)).to_dict()
    for key, value in cfg_options.items():
        keys = key.split('.')
        outer = _down_to_list(after, keys)
        # A child config can replace a list, not an item of it.
        put(delta, outer, value if len(outer) == len(keys) else copy.deepcopy(dig(after, outer)))
    return delta


def _down_to_list(node: Any, keys: Sequence[str]) -> Sequence[str]:
    """The keys up to the first list that they lead into; all of them where there is none."""
    for number, key in enumerate(keys):
        if isinstance(node, (list, tuple)):
            return keys[:number]
        node = node.get(key) if isinstance(node, dict) else None
    return keys


def _places(node: Any, key: str, value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Find where an entry has a value."""
    for name, inner in node.items() if isinstance(node, dict) else ():
        if name == key and inner == value:
            yield (*path, name)
        else:
            yield from _places(inner, key, value, (*path, name))


def put(tree: Tree, keys: Sequence[str], value: Any) -> None:
    """Set an entry of nested dictionaries, making those on the way."""
    for key in keys[:-1]:
        tree = tree.setdefault(key, {})
    tree[keys[-1]] = value


def merged(cfg: Config, delta: Tree) -> Config:
    """Merge a delta into a copy of a config."""
    cfg = copy.deepcopy(cfg)
    cfg.merge_from_dict(copy.deepcopy(delta))
    return cfg


def child_text(base: Path, target: Path, delta: Tree, notes: Sequence[str]) -> str:
    """Lay a child config out as text.

    Args:
        base: The user's config.
        target: Where the child will lie.
        delta: What it changes.
        notes: Lines of the comment on top.

    Returns:
        The text, in the form of the configs of this project.
    """
    comment = '\n'.join(f'# {line}' for line in notes)
    return f'{comment}\n_base_ = {_reference(base, target)!r}\n\n{Config(delta).pretty_text}'


def _reference(base: Path, target: Path) -> str:
    """Name a base as its child sees it: relatively within the working directory, so that it can be moved."""
    base, folder, here = base.resolve(), target.parent.resolve(), Path.cwd().resolve()
    if base.is_relative_to(here) and folder.is_relative_to(here):
        return Path(os.path.relpath(base, folder)).as_posix()
    return str(base)


def write_child(base: Path, target: Path, delta: Tree, notes: Sequence[str], expected: Config) -> None:
    """Write a child config and check that it reads back as intended.

    Args:
        base: The user's config.
        target: The file to write.
        delta: What it changes.
        notes: Lines of the comment on top.
        expected: The config that the child must load as.

    Raises:
        InputError: A change cannot be written down in a child config.
    """
    text = child_text(base, target, delta, notes)
    target.parent.mkdir(parents=True, exist_ok=True)
    # The same folder and suffix: the base is named relative to it.
    trial = target.with_name(f'{target.stem}.{os.getpid()}.trial.py')
    trial.write_text(text, encoding='utf-8')
    logger = MMLogger.get_current_instance()
    level = logger.level
    # MMEngine reports every environment variable that it reads, for each config.
    logger.setLevel(logging.WARNING)
    try:
        wrong = differences(plain(expected), plain(load_config(trial)))
    except InputError as error:
        wrong = [str(error)]
    finally:
        logger.setLevel(level)
        trial.unlink(missing_ok=True)
    if wrong:
        raise InputError(
            f'the changes to {base} cannot be written as a child config ({"; ".join(wrong[:3])}); '
            'change the config itself in place of --cfg-options'
        )
    if not target.is_file() or target.read_text(encoding='utf-8') != text:
        write_text(target, text)
