# SPDX-License-Identifier: Apache-2.0
"""Loading checkpoints without running code that they may contain."""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import struct
import zipfile
from collections.abc import Iterator
from contextvars import ContextVar
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from mmengine.dist import barrier, get_rank
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from iid_mm.errors import InputError
from iid_mm.utils.files import printable
from iid_mm.utils.unpickling import load_plain

# Errors of torch.load for files that it cannot read, some only with trust.
DAMAGE = (
    *(RuntimeError, EOFError, OSError, LookupError, ValueError, TypeError, AttributeError, ImportError),
    *(AssertionError, ArithmeticError, MemoryError, struct.error, zipfile.BadZipFile),
)
MAX_NAMED_KEYS = 8
"""Keys that an error message lists."""
MAX_NAME = 200
"""Characters of a key, or of a reason, in an error message."""
WEB = ('http://', 'https://')

_trusted: ContextVar[bool] = ContextVar('trusted', default=False)


@contextlib.contextmanager
def trusted_checkpoints(trust: bool) -> Iterator[None]:
    """Trust checkpoints that are loaded inside, such as the pretrained weights of a model."""
    token = _trusted.set(trust)
    try:
        yield
    finally:
        _trusted.reset(token)


def load_checkpoint_file(path: str | os.PathLike[str], trust: bool | None = None) -> dict[str, Any]:
    """Read a checkpoint to the CPU.

    Args:
        path: A file written by ``torch.save``.
        trust: Whether to run code that the file may contain (full unpickling). Only for files whose origin
            you trust like that of a program. None: no, except in :func:`trusted_checkpoints`.

    Returns:
        The stored dictionary.

    Raises:
        FileNotFoundError: If there is no such file.
        InputError: If the file is damaged, is no dictionary, or contains classes that are not allowed.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f'checkpoint {path} is a folder; name the file in it')
    if not path.exists():
        raise FileNotFoundError(f'checkpoint {path} does not exist')
    if not path.is_file():
        raise InputError(f'checkpoint {path} is not a regular file')
    trust = _trusted.get() if trust is None else trust
    try:
        content = torch.load(path, map_location='cpu', weights_only=False) if trust else load_plain(path)
    except InputError:
        raise
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
    if not isinstance(content.get('meta', {}), dict):
        kind = type(content['meta']).__name__
        raise InputError(f"checkpoint {path} is damaged: 'meta' is a {kind}, expected a dictionary")
    return content


def fetch_checkpoint(url: str) -> Path:
    """Download a checkpoint into PyTorch's cache, unless it is there, without opening it.

    Args:
        url: An address that begins with ``http://`` or ``https://``.

    Returns:
        The file.

    Raises:
        InputError: The address names no file.
        OSError: It cannot be reached.
    """
    name = os.path.basename(urlparse(url).path)
    if name in ('', '.', '..'):
        raise InputError(f'checkpoint {url}: the address names no file')
    path = Path(torch.hub.get_dir()) / 'checkpoints' / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), progress=os.isatty(2))
    return path


def install_safe_loader() -> None:
    """Make MMEngine load everything, pretrained weights above all, with :func:`load_checkpoint_file`.

    MMEngine's own loader fully unpickles what the restricted unpickler refuses, and downloads always.
    """
    for prefix in list(CheckpointLoader._schemes):
        CheckpointLoader.register_scheme(prefix, loader=load_from_source, force=True)


def load_from_source(filename: str | os.PathLike[str], map_location: Any = None) -> dict[str, Any]:
    """Load weights that a config names.

    Args:
        filename: A file, an address, or ``torchvision://``, ``open-mmlab://`` or ``mmcls://`` and a name in
            MMEngine's lists of published weights.
        map_location: Not used: weights are read to the CPU.

    Returns:
        The stored dictionary; of ``mmcls://`` the backbone's weights.

    Raises:
        FileNotFoundError: There is no such file.
        InputError: As :func:`load_checkpoint_file`, or the address cannot be reached.
    """
    filename = os.fspath(filename)
    scheme, separator, name = filename.partition('://')
    if filename.startswith(WEB):
        try:
            # One process of each machine downloads, and the others wait.
            if int(os.environ.get('LOCAL_RANK', get_rank())) == 0:
                fetch_checkpoint(filename)
        except (OSError, HTTPException) as error:
            raise InputError(
                f'checkpoint {filename} cannot be reached ({error}); download the file and name its path'
            ) from error
        barrier()
        return load_checkpoint_file(fetch_checkpoint(filename))
    if not separator:
        return load_checkpoint_file(os.path.expanduser(filename))
    lists = {
        **dict.fromkeys(('modelzoo', 'torchvision'), mmengine_checkpoint.get_torchvision_models),
        **dict.fromkeys(('open-mmlab', 'openmmlab'), mmengine_checkpoint.get_external_models),
        'mmcls': mmengine_checkpoint.get_mmcls_models,
    }
    if scheme not in lists:
        raise InputError(
            f'checkpoint {filename}: {scheme}:// is not supported; fetch the file and name its path'
        )
    if scheme in ('open-mmlab', 'openmmlab'):
        name = mmengine_checkpoint.get_deprecated_model_names().get(name, name)
    address = str(lists[scheme]().get(name))
    if not address.startswith(WEB):
        raise InputError(f'checkpoint {filename}: no weights of that name are known')
    content = load_from_source(address)
    if scheme == 'mmcls':
        state = content.get('state_dict', content)
        prefix = 'backbone.'
        return {'state_dict': {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}}
    return content


def load_weights(
    model: nn.Module,
    checkpoint: str | os.PathLike[str] | dict[str, Any],
    trust: bool | None = None,
    name: str = 'given',
) -> dict[str, Any]:
    """Load a checkpoint into a model, all keys or none.

    Args:
        model: The model to fill.
        checkpoint: A file with the weights under 'state_dict' or at the top, or the content of one.
        trust: See :func:`load_checkpoint_file`.
        name: Name of a content in messages.

    Returns:
        The checkpoint's content.

    Raises:
        FileNotFoundError: If there is no such file.
        InputError: If the file cannot be read or its keys or shapes are not the model's.
    """
    if isinstance(checkpoint, dict):
        content = checkpoint
    else:
        name, content = os.fspath(checkpoint), load_checkpoint_file(checkpoint, trust=trust)
    state = content.get('state_dict', content)
    check_state_dict(model, state, name)
    try:
        model.load_state_dict(state)
    # Tensors of the right shape may be of a type that cannot be copied.
    except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
        raise InputError(f'the weights of checkpoint {name} cannot be copied: {_reason(error)}') from error
    return content


def check_state_dict(model: nn.Module | dict[str, torch.Tensor], state: dict[str, Any], name: str) -> None:
    """Check that weights fit a model.

    Args:
        model: The model, or tensors by name with the shapes of its weights.
        state: Weights by name.
        name: Name of the weights in messages.

    Raises:
        InputError: Naming missing keys, unexpected keys and keys of another shape, or if the weights are no
            dictionary.
    """
    if not isinstance(state, dict):
        raise InputError(
            f"checkpoint {name}: 'state_dict' is a {type(state).__name__}, expected a dictionary"
        )
    expected = model.state_dict() if isinstance(model, nn.Module) else model
    missing = [k for k in expected if k not in state]
    unexpected = [k for k in state if k not in expected]
    reshaped = [
        f'{k} {_shape(state[k])} instead of {_shape(v)}'
        for k, v in expected.items()
        if k in state and _shape(state[k]) != _shape(v)
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


def prepare_resuming(checkpoint: dict[str, Any], name: str, work_dir: str | os.PathLike[str]) -> None:
    """Check that a checkpoint has the state of training, and remove what MMEngine would trust.

    MMEngine runs ``meta.config`` as Python, and once a checkpoint is better deletes the previous best one,
    whose path is in the file.

    Args:
        checkpoint: Its content; changed in place.
        name: Its name in messages.
        work_dir: Folder of the run, for checkpoints that the file names.

    Raises:
        InputError: If it has weights only, or is damaged.
    """
    meta, hub = checkpoint.get('meta'), checkpoint.get('message_hub')
    if not ('optimizer' in checkpoint and isinstance(meta, dict) and 'epoch' in meta):
        raise InputError(
            f'checkpoint {name} holds weights only and not where training stood; resume from an '
            'epoch_*.pth or interrupted.pth, or start anew from its weights with load_from=...'
        )
    counts = [meta.get('epoch'), meta.get('iter')]
    parts = ('log_scalars', 'runtime_info', 'resumed_keys')
    if not all(isinstance(count, int) and count >= 0 for count in counts):
        # A list that contains another one twice, which contains another one twice, ... is endless as text.
        shown = [count if isinstance(count, (int, float, str)) else type(count).__name__ for count in counts]
        raise InputError(f'checkpoint {name} is damaged: epoch and iteration are {str(shown)[:MAX_NAME]}')
    if not isinstance(hub, dict) or not all(isinstance(hub.get(part), dict) for part in parts):
        raise InputError(f'checkpoint {name} is damaged: its message_hub lacks one of {", ".join(parts)}')
    meta.pop('config', None)
    info = hub['runtime_info']
    for key, value in list(info.items()):
        if str(key).startswith(('best_ckpt', 'last_ckpt')):
            info[key] = os.path.join(work_dir, os.path.basename(value)) if isinstance(value, str) else None


def _shape(value: Any) -> Any:
    if not isinstance(value, torch.Tensor):
        return type(value).__name__
    if value.is_nested:
        return 'nested tensor'
    # PyTorch would copy the real part with only a warning.
    return 'complex numbers' if value.is_complex() else tuple(value.shape)


def _shorten(keys: list[Any]) -> str:
    more = f', ... ({len(keys) - MAX_NAMED_KEYS} more)' if len(keys) > MAX_NAMED_KEYS else ''
    return ', '.join(map(_one_line, keys[:MAX_NAMED_KEYS])) + more


def _one_line(key: Any) -> str:
    """A key of a checkpoint, which may be anything, for a message."""
    text = printable(key) if isinstance(key, str) else f'a key of type {type(key).__name__}'
    return text if len(text) <= MAX_NAME else text[:MAX_NAME] + ' ...'


def _reason(error: BaseException) -> str:
    """The line of an error that says what is wrong."""
    text = str(error).strip()
    if match := re.search(r'WeightsUnpickler error: (.+)', text):
        return match[1]
    return (text.splitlines() or [type(error).__name__])[0]
