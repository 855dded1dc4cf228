# SPDX-License-Identifier: Apache-2.0
"""The config that MMEngine stores in checkpoints, read without running it."""

from __future__ import annotations

import ast
import contextlib
import io
import math
import re
import tokenize
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.utils import import_modules_from_strings
from torch.overrides import TorchFunctionMode

from iid_mm.datasets.transforms import LOADERS
from iid_mm.errors import InputError
from iid_mm.models.safe_parts import DETECTORS, PARTS, STEPS
from iid_mm.registry import SCOPE

MAX_TEXT = 1 << 20
"""Characters of a stored config; the largest of ours has 20 000."""
MAX_NUMBER, MAX_SIDE = 1 << 16, 1024
"""Largest numbers in a stored model and in a stored pipeline: these are widths, depths and counts."""
MAX_LENGTH = 1024
"""Longest list of either."""
SLACK = 2 << 30
"""Bytes that building a stored model may take beside its weights, as for the stacks of threads."""
_OPERATORS = ('(', ')', '[', ']', '{', '}', ',', ':', '=', '-')
# From Python 3.12 on.
_FSTRING = getattr(tokenize, 'FSTRING_START', -1)
_NAMES = {'inf': float('inf'), 'nan': float('nan')}
# Initialization, of which a checkpoint has no need: these may name files and addresses.
_DROPPED = ('init_cfg', 'pretrained')
# Sizes of faces that a level answers for; mmdet ends them with a number that stands for infinity.
_WITHOUT_LIMIT = 'regress_ranges'
_NAMES_A_FILE = re.compile(r'(.*_)?(ckpt|checkpoint|config|path|file|filename|dir|folder|root|url|uri)')
# No path, address, expression or pattern: enough for names of parts, layers, modes and architectures.
_PLAIN_TEXT = re.compile(r'[\w.:, -]*')
_REMEDY = (
    'name the config that it was trained with (--config, model=), or, if you trust its origin as you trust a '
    'program, allow it (--trust-checkpoint, trust=True)'
)


def stored_config(
    meta: Mapping[str, Any] | None, name: str, trust: bool = False, with_model: bool = True
) -> Config:
    """Read the model and the test pipeline of a checkpoint's own config.

    MMEngine stores the config as Python text and reads it by running it, which is no way to treat a file
    from elsewhere. Here the text is parsed: only plain values and ``dict(...)`` are understood. The model
    must be a detector of this package made of the parts in :mod:`iid_mm.models.safe_parts`; what would
    initialize its weights is left out.

    Args:
        meta: ``meta`` of the checkpoint.
        name: What error messages call the checkpoint.
        trust: Whether any registered part may be built, with any setting, after the modules that the config
            imports were imported.
        with_model: Whether the model is to be built; an exported one holds what it needs.

    Returns:
        A config with ``default_scope``, ``model`` and ``test_dataloader.dataset.pipeline``, the transforms
        that read files left out.

    Raises:
        InputError: There is no config, or one that holds more than values, or wants to build anything else.
    """
    text = (meta or {}).get('cfg')
    if not isinstance(text, str):
        raise InputError(f'checkpoint {name} holds no config; name the config that it was trained with')
    try:
        values = parse_config_text(text)
        model, steps = values['model'], _pipeline_of(values)
        scope = values.get('default_scope', SCOPE)
        if not isinstance(model, dict) or not all(isinstance(step, dict) for step in steps):
            raise ValueError('its model or a step of its pipeline is no dict(...)')
        if trust:
            modules = values.get('custom_imports') or {}
            import_modules_from_strings(
                modules.get('imports') or [], modules.get('allow_failed_imports', False)
            )
        elif scope != SCOPE:
            raise ValueError(f'its default_scope is {str(scope)[:60]!r}, not {SCOPE!r}')
        # Faces are in memory when a stored config is used.
        steps = [step for step in steps if str(step.get('type')).rpartition('.')[2] not in LOADERS]
        if not trust:
            if with_model:
                _check(model, DETECTORS, PARTS, MAX_NUMBER)
            for step in steps:
                _check(step, STEPS, (), MAX_SIDE)
    except (
        *(ValueError, LookupError, TypeError, AttributeError, SyntaxError),
        *(RecursionError, MemoryError, ImportError),
    ) as error:
        reason = str(error) or type(error).__name__
        raise InputError(f'the config in checkpoint {name} cannot be used: {reason}; {_REMEDY}') from error
    init_default_scope(scope)
    kept = {'default_scope': scope, 'test_dataloader': {'dataset': {'pipeline': steps}}}
    return Config({**kept, 'model': model} if with_model else kept)


@contextlib.contextmanager
def building_stored_model(name: str, state: Mapping[str, Any]) -> Iterator[None]:
    """Turn whatever goes wrong while a stored config is built into one line, and bound the memory that takes.

    Args:
        name: What error messages call the checkpoint.
        state: Its weights: a model that is far larger than they are is not of this checkpoint.

    Raises:
        InputError: The model cannot be built.
    """
    # Not `nbytes`, by which a file of a few bytes could allow itself any model.
    sizes = [_stored_bytes(value) for value in state.values()] if isinstance(state, Mapping) else []
    try:
        budget = 4 * sum(sizes) + (256 << 20)
        with _bounded_memory(budget + SLACK), _Budget(budget, 100 * len(sizes) + 100_000):
            yield
    # Constructors of several packages, called with a stranger's arguments: anything may come.
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f'what the config in checkpoint {name} describes cannot be built: {reason}; {_REMEDY}'
        ) from error


@contextlib.contextmanager
def _bounded_memory(n_bytes: int) -> Iterator[None]:
    """Let this process take no more memory than it has and some bytes, where the system can see to that.

    Lists, and what is computed of tensors in place of being made, pass by :class:`_Budget`.
    """
    try:
        import resource

        pages = int(Path('/proc/self/statm').read_text().split()[5])
    except (ImportError, OSError):
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_DATA)
    limits = [limit for limit in before if limit != resource.RLIM_INFINITY]
    resource.setrlimit(
        resource.RLIMIT_DATA, (min([pages * resource.getpagesize() + n_bytes, *limits]), before[1])
    )
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _stored_bytes(value: Any) -> int:
    """Bytes that a tensor takes in a file, which may be fewer than its shape says: one number for all."""
    if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.is_nested:
        return 0
    return 0 if value.is_meta else min(value.nbytes, value.untyped_storage().nbytes())


class _Budget(TorchFunctionMode):
    """Stops when more tensors, or larger ones, are made than a model of known weights can need."""

    def __init__(self, n_bytes: int, calls: int) -> None:
        super().__init__()
        self.bytes, self.calls = n_bytes, calls

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.calls -= 1
            if func in _FACTORIES:
                # Fresh memory is given out when it is first written, so this is in time.
                self.bytes -= result.nbytes
            if self.bytes < 0 or self.calls < 0:
                raise ValueError('it is much larger than the weights')
        return result


_FACTORIES = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.eye}


def parse_config_text(text: str) -> dict[str, Any]:
    """Read assignments of plain values, as MMEngine dumps configs.

    Args:
        text: Lines ``name = value`` with literals, containers of them and ``dict(...)``.

    Returns:
        The values by name.

    Raises:
        ValueError: There is anything else in it, or too much of it.
        SyntaxError: It is no Python.
        RecursionError, MemoryError: It is nested too deeply.
    """
    if len(text) > MAX_TEXT:
        raise ValueError(f'it has {len(text)} characters')
    _check_tokens(text)
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


def _check_tokens(text: str) -> None:
    """Check that a text nests by brackets only, which Python limits: parsing other chains can crash it."""
    last = ''
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            kind = 'word' if token.type in (tokenize.NAME, tokenize.NUMBER) else token.string
            chained = kind == last and kind in ('word', '-')
            unknown = token.type == tokenize.OP and token.string not in _OPERATORS
            formatted = token.type == tokenize.STRING and 'f' in re.split('[\'"]', token.string)[0].lower()
            if chained or unknown or formatted or token.type == _FSTRING:
                raise ValueError(f'line {token.start[0]}: {token.line.strip()[:60]!r} is no plain value')
            last = kind
    except tokenize.TokenError as error:
        raise SyntaxError(str(error)) from error


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


def _pipeline_of(values: Mapping[str, Any]) -> list[Any]:
    dataset = values['test_dataloader']['dataset']
    while 'pipeline' not in dataset:
        dataset = dataset['dataset']
    return list(dataset['pipeline'])


def _check(node: Any, outermost: Collection[str], parts: Collection[str], largest: float) -> None:
    """Check that a config builds only what is known, of values that name nothing outside.

    Args:
        node: A dictionary with ``type``; what initializes weights is taken out of it.
        outermost: What it may be.
        parts: What may be built within.
        largest: Largest number.

    Raises:
        ValueError: Naming what is not allowed.
    """
    if node.get('type') not in outermost:
        known = ' or '.join(name for name in outermost if '.' not in name)
        raise ValueError(f'it wants to build {_shown(node.get("type"))} in place of {known}')
    for key in list(node):
        if key != 'type':
            _check_value(node, key, parts, largest)


def _check_value(owner: Any, key: Any, parts: Collection[str], largest: float) -> None:
    value = owner[key]
    if isinstance(owner, dict):
        if not isinstance(key, str) or key == '_scope_' or key.startswith('__'):
            raise ValueError(f'it has a key {_shown(key)}')
        if key in _DROPPED:
            del owner[key]
            return
        if _NAMES_A_FILE.fullmatch(key) and value is not None:
            raise ValueError(f'it sets {key}, which names a file or an address')
        if key == 'type' and not (isinstance(value, str) and value in parts):
            raise ValueError(
                f'it wants to build {_shown(value)}, which is not among the parts known to open no files'
            )
    if isinstance(value, str):
        if not _PLAIN_TEXT.fullmatch(value):
            raise ValueError(f'{key}={_shown(value)} is no plain name')
    elif isinstance(value, (int, float)):
        # Not every whole number can be asked whether it is finite.
        if abs(value) > largest and (isinstance(value, int) or math.isfinite(value)):
            raise ValueError(f'{key}={_shown(value)} is out of range')
    elif isinstance(value, dict):
        # What it wants to build is the better thing to tell.
        for inner in sorted(value, key=lambda name: name != 'type'):
            _check_value(value, inner, parts, largest)
    elif isinstance(value, (list, tuple)):
        if len(value) > MAX_LENGTH:
            raise ValueError(f'{key} has {len(value)} parts')
        if key == _WITHOUT_LIMIT:
            largest = math.inf
        for number in range(len(value)):
            _check_value(value, number, parts, largest)
    elif value is not None:
        raise ValueError(f'{key} is a {type(value).__name__}')


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f'{text[:57]}...'
