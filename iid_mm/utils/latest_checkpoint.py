# SPDX-License-Identifier: Apache-2.0
"""The checkpoint that training in a work directory resumes from."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from iid_mm.errors import InputError
from iid_mm.utils.files import read_limited, reason_of, write_text
from iid_mm.utils.unpickling import load_record

POINTER = 'last_checkpoint'
"""File of a work directory that names its newest checkpoint, as MMEngine writes it."""

_LONGEST_POINTER = 8192
# Written by MMEngine and this package; other files may be anything.
_WRITTEN_HERE = re.compile(r'(epoch_\d+|iter_\d+|interrupted)\.pth')


def find_checkpoint(
    work_dir: str | os.PathLike[str], out_dirs: Sequence[str | os.PathLike[str]] = ()
) -> tuple[Path | None, str]:
    """Find the checkpoint that training in a work directory resumes from.

    It is the file that :data:`POINTER` names. Only its name counts, not its folder, since work directories
    are moved and copied: a checkpoint of another folder is never used. If that file is missing or damaged, it
    is the checkpoint of the folder with the most iterations.

    Args:
        work_dir: The work directory.
        out_dirs: Further folders that hold this run's checkpoints, see :func:`checkpoint_folders`.

    Returns:
        The checkpoint, None if there is none yet, and a sentence on why it is not the one that the pointer
        names; empty if it is.

    Raises:
        InputError: If there are checkpoints and none of them can be read.
    """
    folders = [Path(work_dir), *map(Path, out_dirs)]
    pointer = folders[0] / POINTER
    name, fault = _pointed_name(pointer)
    if name is not None:
        named = [folder / name for folder in folders if stored_position(folder / name) is not None]
        if named:
            return named[0], ''
        present = any((folder / name).is_file() for folder in folders)
        fault = f'names {name!r}, which {"cannot be read" if present else "is not in that folder"}'
    newest, unreadable = _newest(folders)
    if newest is None and unreadable:
        raise InputError(
            f'{folders[0]}: none of its checkpoints ({", ".join(unreadable)}) is complete and has the '
            'state of training; restore one, or remove them to start from scratch'
        )
    if newest is None or not fault:
        return newest, ''
    return newest, f'{pointer} {fault}; using the newest checkpoint of the folder, {newest.name}'


def checkpoint_folders(work_dir: str, default_hooks: Any) -> list[str]:
    """List the folders beside the work directory in which a run keeps checkpoints.

    Args:
        work_dir: The work directory.
        default_hooks: The config's ``default_hooks``.

    Returns:
        The folder that ``default_hooks.checkpoint.out_dir`` means to MMEngine, if it is a local one.
    """
    hook = (default_hooks or {}).get('checkpoint') or {}
    out_dir = hook.get('out_dir') if isinstance(hook, dict) else None
    if not out_dir or '://' in str(out_dir):
        return []
    return [os.path.join(out_dir, os.path.basename(work_dir.rstrip(os.sep)))]


def write_pointer(work_dir: str | os.PathLike[str], checkpoint: str | os.PathLike[str]) -> None:
    """Make :data:`POINTER` name a checkpoint."""
    write_text(Path(work_dir) / POINTER, os.fspath(checkpoint))


def stored_position(path: Path) -> tuple[int, int] | None:
    """Read how far training was when a checkpoint was written, without reading weights or running code.

    Args:
        path: The checkpoint.

    Returns:
        Iterations and epochs done. None if the file is missing, truncated or no checkpoint, or has only
        weights.
    """
    try:
        content = load_record(path)
        meta = content['meta']
        return (int(meta['iter']), int(meta['epoch'])) if 'optimizer' in content else None
    except Exception:  # whatever a damaged file makes a parser raise
        return None


def _pointed_name(pointer: Path) -> tuple[str | None, str]:
    """File name in a pointer, or what is wrong with it; neither if there is no pointer."""
    try:
        text = read_limited(pointer, _LONGEST_POINTER).decode().strip()
    except FileNotFoundError:
        return None, ''
    except UnicodeDecodeError:
        return None, 'is no text'
    except (OSError, InputError) as error:
        return None, f'cannot be read ({reason_of(error)})'
    # Runs move between systems.
    name = re.split(r'[/\\]', text)[-1]
    if not text:
        return None, 'is empty'
    if not name.isprintable() or name in ('', '.', '..'):
        return None, 'names no file'
    return name, ''


def _newest(folders: Iterable[Path]) -> tuple[Path | None, list[str]]:
    """The checkpoint with the most iterations, and the names of those that cannot be read."""
    best: tuple[tuple[int, int], int, Path] | None = None
    unreadable = []
    for folder in folders:
        for path in sorted(folder.glob('*.pth')):
            if path.name.startswith('.') or not path.is_file():
                continue
            position = stored_position(path)
            if position is None:
                if _WRITTEN_HERE.fullmatch(path.name):
                    unreadable.append(path.name)
            # The end of an epoch is further than its last iteration.
            elif best is None or (position, path.stat().st_mtime_ns) >= best[:2]:
                best = position, path.stat().st_mtime_ns, path
    return None if best is None else best[2], unreadable
