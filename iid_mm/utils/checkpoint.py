# SPDX-License-Identifier: Apache-2.0
"""Loading checkpoints without running code that they may hold."""

from __future__ import annotations

import os
import pickle
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer
from torch import nn

from iid_mm.errors import InputError

# What torch.load raises for files that it cannot read, some only with trust.
DAMAGE = (RuntimeError, EOFError, OSError, LookupError, ValueError, TypeError, AttributeError, ImportError)
MAX_NAMED_KEYS = 8
"""How many keys an error message lists."""


HISTORY_METHODS = ('min', 'max', 'current', 'mean')
"""What MMEngine's training history looks up when it is unpickled."""


def _history_method(owner: type, name: str) -> Any:
    """Stand in for ``getattr``, which would let a file reach any code, while a checkpoint is read."""
    if owner is not HistoryBuffer or name not in HISTORY_METHODS:
        raise pickle.UnpicklingError(f'Unsupported global: GLOBAL getattr({owner!r}, {name!r})')
    return getattr(HistoryBuffer, name)


def _safe_globals() -> list[Any]:
    """List what MMEngine stores beside tensors: training history as numpy arrays."""
    core = 'core' if np.__version__.startswith('1.') else '_core'
    multiarray: Any = import_module(f'numpy.{core}.multiarray')
    dtypes = [type(np.dtype(t)) for t in (np.float64, np.float32, np.int64, np.int32, np.bool_)]
    # numpy 1 and numpy 2 name the module differently, and checkpoints move between them.
    functions = [
        (function, f'numpy.{name}.multiarray.{function.__name__}')
        for name in ('core', '_core')
        for function in (multiarray._reconstruct, multiarray.scalar)
    ]
    history = [HistoryBuffer, (_history_method, 'builtins.getattr')]
    return [*history, np.ndarray, np.dtype, *dtypes, *functions]


def load_checkpoint_file(path: str | os.PathLike[str], trust: bool = False) -> dict[str, Any]:
    """Read a checkpoint to the CPU.

    Args:
        path: A file written by ``torch.save``.
        trust: Whether to run code that the file may hold (full unpickling). Only for files whose origin
            you trust as you trust a program.

    Returns:
        The stored dictionary.

    Raises:
        FileNotFoundError: If there is no such file.
        InputError: If the file is damaged, is no dictionary, or holds classes that are not allowed.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f'checkpoint {path} is a folder; name the file in it')
    if not path.is_file():
        raise FileNotFoundError(f'checkpoint {path} does not exist')
    try:
        if trust:
            content = torch.load(path, map_location='cpu', weights_only=False)
        else:
            with torch.serialization.safe_globals(_safe_globals()):
                content = torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        refused = re.search(r'GLOBAL (\S+)', str(error))
        if trust or refused is None:
            raise InputError(f'{path} is no checkpoint, or is damaged: {_reason(error)}') from error
        raise InputError(
            f'checkpoint {path} holds more than weights ({refused[1]}), which loading would run, and was '
            'not loaded. If you trust its origin as you trust a program, allow it (--trust-checkpoint, '
            'trust=True, or trust_checkpoint=True in a training config)'
        ) from error
    except DAMAGE as error:
        raise InputError(f'{path} is damaged or no checkpoint: {_reason(error)}') from error
    if not isinstance(content, dict):
        raise InputError(f'checkpoint {path} holds a {type(content).__name__}, expected a dictionary')
    return content


def load_weights(model: nn.Module, path: str | os.PathLike[str], trust: bool = False) -> dict[str, Any]:
    """Load a checkpoint into a model, all keys or none.

    Args:
        model: The model to fill.
        path: Checkpoint with the weights under 'state_dict' or at the top.
        trust: See :func:`load_checkpoint_file`.

    Returns:
        The checkpoint's content.

    Raises:
        FileNotFoundError: If there is no such file.
        InputError: If the file cannot be read or its keys or shapes are not the model's.
    """
    content = load_checkpoint_file(path, trust=trust)
    state = content.get('state_dict', content)
    check_state_dict(model, state, str(path))
    model.load_state_dict(state)
    return content


def check_state_dict(model: nn.Module | dict[str, torch.Tensor], state: dict[str, Any], name: str) -> None:
    """Check that weights fit a model.

    Args:
        model: The model, or tensors by name with the shapes of its weights.
        state: Weights by name.
        name: What to call the weights in messages.

    Raises:
        InputError: Naming the keys that are missing, left over or of another shape, or if the weights
            are no dictionary.
    """
    if not isinstance(state, dict):
        raise InputError(
            f"checkpoint {name}: 'state_dict' is a {type(state).__name__}, expected a dictionary"
        )
    expected = model.state_dict() if isinstance(model, nn.Module) else model
    missing = [k for k in expected if k not in state]
    unexpected = [k for k in state if k not in expected]
    reshaped = [
        f'{k} {tuple(state[k].shape)} instead of {tuple(v.shape)}'
        for k, v in expected.items()
        if k in state and getattr(state[k], 'shape', None) != v.shape
    ]
    problems = [
        f'{len(keys)} {title}: {_shorten(keys)}'
        for title, keys in (
            ('missing', missing),
            ('not of this model', unexpected),
            ('of another shape', reshaped),
        )
        if keys
    ]
    if problems:
        raise InputError(
            f'checkpoint {name} is of another model than the config. Keys '
            + '; '.join(problems)
            + '. Use the config that the checkpoint was trained with'
        )


def check_resumable(checkpoint: dict[str, Any], name: str) -> None:
    """Check that a checkpoint says where training stood.

    Args:
        checkpoint: Its content.
        name: What to call it in messages.

    Raises:
        InputError: If it holds weights only.
    """
    if not ('optimizer' in checkpoint and 'epoch' in checkpoint.get('meta', {})):
        raise InputError(
            f'checkpoint {name} holds weights only and not where training stood; resume from an '
            'epoch_*.pth or interrupted.pth, or start anew from its weights with load_from=...'
        )


def _shorten(keys: list[Any]) -> str:
    more = f', ... ({len(keys) - MAX_NAMED_KEYS} more)' if len(keys) > MAX_NAMED_KEYS else ''
    return ', '.join(map(str, keys[:MAX_NAMED_KEYS])) + more


def _reason(error: BaseException) -> str:
    """Pick the one line that says what is wrong."""
    text = str(error).strip()
    if match := re.search(r'WeightsUnpickler error: (.+)', text):
        return match[1]
    return (text.splitlines() or [type(error).__name__])[0]
