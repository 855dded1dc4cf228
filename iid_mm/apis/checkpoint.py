# SPDX-License-Identifier: Apache-2.0
"""Loading checkpoints without running code that they may hold."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer
from torch import nn

from iid_mm.errors import InputError

MAX_NAMED_KEYS = 8
"""How many keys an error message lists."""


def _safe_globals() -> list[Any]:
    """List what MMEngine stores beside tensors: training history as numpy arrays."""
    multiarray = getattr(np, '_core', None) or np.core
    dtypes = [type(np.dtype(t)) for t in (np.float64, np.float32, np.int64, np.int32, np.bool_)]
    return [
        HistoryBuffer,
        np.ndarray,
        np.dtype,
        *dtypes,
        multiarray.multiarray._reconstruct,
        multiarray.multiarray.scalar,
    ]


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
    if not path.is_file():
        raise FileNotFoundError(f'checkpoint {path} does not exist')
    try:
        if trust:
            content = torch.load(path, map_location='cpu', weights_only=False)
        else:
            with torch.serialization.safe_globals(_safe_globals()):
                content = torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f'checkpoint {path} holds more than weights, or is no checkpoint, and was not loaded: '
            f'{_first_line(error)} If you trust its origin as you trust a program, allow it '
            '(--trust-checkpoint, or trust=True)'
        ) from error
    except (RuntimeError, EOFError, OSError, KeyError) as error:
        raise InputError(f'checkpoint {path} is damaged or no torch file: {_first_line(error)}') from error
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


def check_state_dict(model: nn.Module, state: dict[str, Any], name: str) -> None:
    """Check that weights fit a model.

    Args:
        model: The model.
        state: Weights by name.
        name: What to call the weights in messages.

    Raises:
        InputError: Naming the keys that are missing, left over or of another shape.
    """
    expected = model.state_dict()
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


def _shorten(keys: list[str]) -> str:
    more = f', ... ({len(keys) - MAX_NAMED_KEYS} more)' if len(keys) > MAX_NAMED_KEYS else ''
    return ', '.join(keys[:MAX_NAMED_KEYS]) + more


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
