# SPDX-License-Identifier: Apache-2.0
"""Where a report comes from: hashes, versions, and texts without the paths of a machine."""

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

from iid_mm.version import __version__

LIBRARIES = (
    *('torch', 'torchvision', 'numpy', 'scipy', 'scikit-learn', 'opencv-python', 'pyarrow'),
    *('onedl-mmengine', 'mmengine', 'onedl-mmcv', 'mmcv', 'onedl-mmdetection', 'mmdet'),
    *('onedl-mmpretrain', 'mmpretrain', 'matplotlib'),
)
"""Distributions whose versions a report names; what is not installed is left out."""

# They say where and how a run was started, not what it computes.
_RUN_KEYS = ('work_dir', 'launcher', 'load_from', 'resume', 'trust_checkpoint', 'local_rank')
# Start of a text or a word, then an absolute path of POSIX, of Windows, or below a home folder.
_ABSOLUTE = re.compile(r'(?:(?<=^)|(?<=[\s=,;\'"(\[{]))(?:~[\w.-]*|[A-Za-z]:(?=[\\/]))?[\\/][^\s,\'")\]}]*')


def text_sha256(text: str) -> str:
    """SHA-256 of a text in UTF-8, hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def without_paths(text: str) -> str:
    """Reduce every absolute path in a text to its last part.

    Args:
        text: Any text; relative paths stay.

    Returns:
        The text, which names no folder of the machine it comes from.
    """
    head, equals, tail = text.rpartition('=')
    if _is_absolute(tail) and not re.search(r'[\s\'"(\[{,]', head):
        # A path as a whole, alone or as name=path, may hold spaces.
        return head + equals + _last_part(tail)
    return _ABSOLUTE.sub(lambda found: _last_part(found[0]), text)


def _is_absolute(path: str) -> bool:
    return path.startswith(('/', '~', '\\')) or PureWindowsPath(path).is_absolute()


def _last_part(path: str) -> str:
    return PureWindowsPath(path).name or path


def command_line(arguments: Sequence[str]) -> str:
    """Write a command as it was typed, without absolute paths and ``backend_args``, which may be secret.

    Args:
        arguments: ``sys.argv``.
    """
    tool, *others = arguments
    parts = Path(tool).parts
    # `tools/test.py`, wherever the tools are.
    typed = '/'.join(parts[parts.index('tools') :] if 'tools' in parts else parts[-1:])
    words = [typed, *(without_paths(argument) for argument in others)]
    words = [re.sub(r'^([^=]*backend_args[^=]*=).*', r'\1...', word, flags=re.DOTALL) for word in words]
    return ' '.join(f"'{word}'" if re.search(r'[\s"]', word) or not word else word for word in words)


def config_text(cfg: Config) -> str:
    """Write out all of a config that decides a result.

    Args:
        cfg: The config.

    Returns:
        Text of a config file: the same for every number of processes, work directory and place of the data.
    """
    plain = cfg.to_dict()
    plain = {key: value for key, value in plain.items() if key not in _RUN_KEYS}
    data_root = plain.get('data_root')
    plain = _cleaned(copy.deepcopy(plain), data_root)
    return str(Config(plain).pretty_text).rstrip() + '\n'


def _cleaned(node: Any, data_root: Any) -> Any:
    if isinstance(node, dict):
        return {key: _cleaned(value, data_root) for key, value in node.items() if key != 'backend_args'}
    if isinstance(node, (list, tuple)):
        return type(node)(_cleaned(value, data_root) for value in node)
    if isinstance(node, str):
        # Where the data lie is no part of the method: what they are, the hash of their index says.
        return 'DATA_ROOT' if node == data_root else without_paths(node)
    return node


def settings_sha256(settings: Mapping[str, Any]) -> str:
    """Hash of plain settings that does not depend on the order of their keys."""
    return text_sha256(json.dumps(settings, sort_keys=True, default=repr))


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
    folder = Path(__file__).resolve().parents[3]
    if not (folder / '.git').exists():
        return None
    command = ['git', '-C', str(folder), 'describe', '--always', '--dirty', '--abbrev=40', '--exclude=*']
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None if result.returncode == 0 else None
