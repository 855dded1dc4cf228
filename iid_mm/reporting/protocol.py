# SPDX-License-Identifier: Apache-2.0
"""The protocol card: which model was tested, on what and how; hashes, versions, no paths of the machine."""

from __future__ import annotations

import copy
import hashlib
import json
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PureWindowsPath
from typing import Any

import torch
from mmengine.config import Config

from iid_mm.utils.config import datasets_of
from iid_mm.version import __version__

CONFIG_FILE = 'config.py'
LIBRARIES = (
    *('torch', 'torchvision', 'numpy', 'scipy', 'scikit-learn', 'opencv-python', 'pyarrow', 'av'),
    *('onedl-mmengine', 'mmengine', 'onedl-mmcv', 'mmcv', 'onedl-mmdetection', 'mmdet'),
    *('onedl-mmpretrain', 'mmpretrain', 'matplotlib'),
)
"""Distributions whose versions a report lists; those that are not installed are left out."""

# They say where and how a run was started, not what it computes.
_RUN_KEYS = ('work_dir', 'launcher', 'load_from', 'resume', 'trust_checkpoint', 'local_rank')
# Start of a text or a word, then an absolute path of POSIX, of Windows, or below a home folder.
_ABSOLUTE = re.compile(r'(?:(?<=^)|(?<=[\s=,;\'"(\[{]))(?:~[\w.-]*|[A-Za-z]:(?=[\\/]))?[\\/][^\s,\'")\]}]*')


def protocol_card(
    cfg: Config,
    config_file: Path,
    cfg_options: Mapping[str, Any] | None,
    checkpoint_file: Path,
    checkpoint_sha256: str,
    checkpoint_meta: Mapping[str, Any],
) -> dict[str, Any]:
    """Describe model, data processing and software.

    Args:
        cfg: Config as it was used, before test sets were entered.
        config_file: File it was read from.
        cfg_options: Values that replaced those of the file.
        checkpoint_file: The weights.
        checkpoint_sha256: Their hash.
        checkpoint_meta: ``meta`` of the checkpoint; may be empty.

    Returns:
        Plain data without paths of the machine.
    """
    epoch, iteration = (checkpoint_meta.get(name) for name in ('epoch', 'iter'))
    return {
        'checkpoint': {
            'file': checkpoint_file.name,
            'sha256': checkpoint_sha256,
            'epoch': int(epoch) if isinstance(epoch, (int, float)) else None,
            'iteration': int(iteration) if isinstance(iteration, (int, float)) else None,
            'selection': _selection(cfg),
        },
        'config': {
            'file': config_file.name,
            'text': CONFIG_FILE,
            'sha256': text_sha256(config_text(cfg)),
            'options': {name: without_paths(str(value)) for name, value in (cfg_options or {}).items()},
        },
        'alignment': _alignment(cfg),
        'training_manipulations': _training_manipulations(cfg),
        'seed': (cfg.get('randomness') or {}).get('seed'),
        'device': device_name(),
        'libraries': library_versions(),
        'git': git_version(),
    }


def _selection(cfg: Config) -> str | None:
    """How training chose its best checkpoint."""
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    chosen = hook.get('save_best')
    if not chosen:
        return None
    split = ((cfg.get('val_dataloader') or {}).get('dataset') or {}).get('split', 'val')
    return f'{chosen} on split {split} of the source data'


def _alignment(cfg: Config) -> dict[str, Any] | None:
    pipeline = ((cfg.get('test_dataloader') or {}).get('dataset') or {}).get('pipeline') or []
    for transform in pipeline:
        if transform.get('type') in ('AlignFace', 'iid_mm.AlignFace'):
            size = list(transform.get('size', (224, 224)))
            return {'size': size, 'scale': transform.get('scale', 0.9)}
    return None


def _training_manipulations(cfg: Config) -> list[str] | None:
    """Manipulations that training reads; None: all of an index; empty: not known."""
    datasets = [dataset for dataset in datasets_of(cfg, 'train_dataloader') if 'ann_file' in dataset]
    chosen = [dataset.get('methods') for dataset in datasets]
    if any(methods is None for methods in chosen):
        return None
    return sorted({str(method) for methods in chosen for method in methods})


def text_sha256(text: str) -> str:
    """SHA-256 of a text in UTF-8, hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def settings_sha256(settings: Mapping[str, Any]) -> str:
    """Hash of plain settings that does not depend on the order of their keys."""
    return text_sha256(json.dumps(settings, sort_keys=True, default=repr))


def without_paths(text: str) -> str:
    """Reduce every absolute path in a text to its last part.

    Args:
        text: Any text; relative paths stay.

    Returns:
        The text without folders of the machine it comes from.
    """
    head, equals, tail = text.rpartition('=')
    absolute = tail.startswith(('/', '~', '\\')) or PureWindowsPath(tail).is_absolute()
    if absolute and not re.search(r'[\s\'"(\[{,]', head):
        # A path as a whole, alone or as name=path, may hold spaces.
        return head + equals + _last_part(tail)
    return _ABSOLUTE.sub(lambda found: _last_part(found[0]), text)


def _last_part(path: str) -> str:
    return PureWindowsPath(path).name or path


def command_line(arguments: Sequence[str]) -> str:
    """Write a command as it was typed, without absolute paths and ``backend_args``, which may be secret.

    Args:
        arguments: ``sys.argv``.
    """
    tool, *others = arguments
    parts = Path(tool).parts
    # `tools/test.py`, wherever the checkout is.
    room = next((name for name in ('tools', 'projects') if name in parts), None)
    typed = '/'.join(parts[-1:] if room is None else parts[parts.index(room) :])
    words = [typed, *(without_paths(argument) for argument in others)]
    words = [re.sub(r'^([^=]*backend_args[^=]*=).*', r'\1...', word, flags=re.DOTALL) for word in words]
    return ' '.join(f"'{word}'" if re.search(r'[\s"]', word) or not word else word for word in words)


def config_text(cfg: Config) -> str:
    """Write out everything in a config that affects a result.

    Args:
        cfg: The config.

    Returns:
        Text of a config file: the same for every number of processes, work directory and place of the data.
    """
    plain = {key: value for key, value in cfg.to_dict().items() if key not in _RUN_KEYS}
    plain = _cleaned(copy.deepcopy(plain), plain.get('data_root'))
    return str(Config(plain).pretty_text).rstrip() + '\n'


def _cleaned(node: Any, data_root: Any) -> Any:
    if isinstance(node, dict):
        return {key: _cleaned(value, data_root) for key, value in node.items() if key != 'backend_args'}
    if isinstance(node, (list, tuple)):
        return type(node)(_cleaned(value, data_root) for value in node)
    if isinstance(node, str):
        # The hash of the index identifies the data, wherever they are.
        return 'DATA_ROOT' if node == data_root else without_paths(node)
    return node


def library_versions() -> dict[str, str]:
    """Versions of Python, this package and the libraries that the metrics depend on."""
    found = {'python': platform.python_version(), 'iid-mm': __version__}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def device_name() -> str:
    """The kind of processor that the model runs on."""
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return f'CPU ({platform.machine()})'


def git_version() -> str | None:
    """Commit of the package's checkout, ``-dirty`` if files differ from it; None outside of git."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / '.git').exists():
        return None
    command = ['git', '-C', str(folder), 'describe', '--always', '--dirty', '--abbrev=40', '--exclude=*']
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None if result.returncode == 0 else None
