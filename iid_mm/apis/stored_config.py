# SPDX-License-Identifier: Apache-2.0
"""The config that MMEngine stores in checkpoints, read without running it."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from iid_mm.errors import InputError
from iid_mm.registry import MODELS, SCOPE, TRANSFORMS

_TYPE = re.compile(r'(?:(?:iid_mm|mmdet|mmpretrain|mmcv|mmengine)\.)?[A-Za-z]\w*')
_NAMES = {'inf': float('inf'), 'nan': float('nan')}


def stored_config(meta: Mapping[str, Any] | None, name: str) -> Config:
    """Read the model and the test pipeline of a checkpoint's own config.

    MMEngine stores the config as Python text and reads it by running it, which is no way to treat a file
    from elsewhere. Here the text is parsed: only plain values and ``dict(...)`` are understood, and what
    ``type`` names must be a module or a transform that a registry knows.

    Args:
        meta: ``meta`` of the checkpoint.
        name: What error messages call the checkpoint.

    Returns:
        A config with ``default_scope``, ``model`` and ``test_dataloader.dataset.pipeline``.

    Raises:
        InputError: There is no config, or one that holds more than values.
    """
    text = (meta or {}).get('cfg')
    if not isinstance(text, str):
        raise InputError(f'checkpoint {name} holds no config; name the config that it was trained with')
    try:
        values = parse_config_text(text)
        kept = {
            'default_scope': str(values.get('default_scope', SCOPE)),
            'model': values['model'],
            'test_dataloader': {'dataset': {'pipeline': _pipeline_of(values)}},
        }
    except (ValueError, KeyError, TypeError, SyntaxError, RecursionError) as error:
        raise InputError(
            f'the config in checkpoint {name} cannot be read ({error}); name the config that it was '
            'trained with'
        ) from error
    init_default_scope(kept['default_scope'])
    _check_types(kept['model'], MODELS, nn.Module, name)
    for step in kept['test_dataloader']['dataset']['pipeline']:
        _check_types(step, TRANSFORMS, BaseTransform, name)
    return Config(kept)


def parse_config_text(text: str) -> dict[str, Any]:
    """Read assignments of plain values, as MMEngine dumps configs.

    Args:
        text: Lines ``name = value`` with literals, containers of them and ``dict(...)``.

    Returns:
        The values by name.

    Raises:
        ValueError: There is anything else in it.
        SyntaxError: It is no Python.
    """
    values = {}
    for statement in ast.parse(text).body:
        if not isinstance(statement, ast.Assign) or not all(
            isinstance(t, ast.Name) for t in statement.targets
        ):
            raise ValueError(f'line {statement.lineno} is no assignment of a value')
        for target in statement.targets:
            assert isinstance(target, ast.Name)
            values[target.id] = _value(statement.value)
    return values


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name) and node.id in _NAMES:
        return _NAMES[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _value(node.operand)
        if isinstance(value, (int, float)):
            return -value
    if isinstance(node, ast.List):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_value(item) for item in node.elts)
    if isinstance(node, ast.Set):
        return {_value(item) for item in node.elts}
    if isinstance(node, ast.Dict) and None not in node.keys:
        return {_value(k): _value(v) for k, v in zip(node.keys, node.values, strict=True) if k is not None}
    if _is_plain_dict_call(node):
        return {str(word.arg): _value(word.value) for word in node.keywords}
    raise ValueError(f'line {node.lineno}: {ast.unparse(node)[:60]!r} is no plain value')


def _is_plain_dict_call(node: ast.expr) -> TypeGuard[ast.Call]:
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict'):
        return False
    return not node.args and all(word.arg for word in node.keywords)


def _pipeline_of(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    dataset = values['test_dataloader']['dataset']
    while 'pipeline' not in dataset:
        dataset = dataset['dataset']
    return list(dataset['pipeline'])


def _check_types(node: Any, registry: Any, base: type, name: str) -> None:
    """Check that whatever a config builds is known; ``base`` is what its outermost part must be."""
    outermost = True
    for kind in _types(node):
        found = registry.get(kind) if isinstance(kind, str) and _TYPE.fullmatch(kind) else None
        known = inspect.isclass(found) and (not outermost or issubclass(found, base))
        if not known and isinstance(kind, str) and _TYPE.fullmatch(kind) and not outermost:
            # Parts of models may be built by other registries: coders, samplers, losses, norms, anchors.
            known = '.' not in kind and found is None
        if not known:
            raise InputError(
                f'the config in checkpoint {name} wants to build {kind!r}, which is unknown here or no '
                'part of a model; name the config that it was trained with'
            )
        outermost = False


def _types(node: Any) -> Iterator[Any]:
    if isinstance(node, Mapping):
        if 'type' in node:
            yield node['type']
        for key, value in node.items():
            if key != 'type':
                yield from _types(value)
    elif isinstance(node, (list, tuple)):
        for item in node:
            yield from _types(item)
