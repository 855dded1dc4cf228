# SPDX-License-Identifier: Apache-2.0
"""Errors that a user can fix, in one line."""

from __future__ import annotations

import errno
import re
import traceback
from pathlib import Path

from iid_mm.errors import InputError, MissingExtraError

USER_ERRORS = (InputError, FileNotFoundError, MissingExtraError)

_FULL = 'make room, or choose another folder'
_SYSTEM = {
    'ENOSPC': _FULL,
    'EDQUOT': _FULL,
    'EFBIG': 'the file would exceed the size limit; see ulimit -f',
    'EROFS': 'choose another folder',
    'EACCES': 'check its permissions, or choose another folder',
    'EPERM': 'check its permissions, or choose another folder',
    'EIO': 'check the disk, or the network between',
    'EMFILE': 'raise the limit (ulimit -n), or use fewer num_workers',
    'ENFILE': 'the limit of the whole system; close other programs, or use fewer num_workers',
}
_REMEDIES = {getattr(errno, name): text for name, text in _SYSTEM.items() if hasattr(errno, name)}
"""Remedies for errors of the system, by number."""

PEER_ENDED = 'another process of this run has ended; see its message'
"""Message of processes that were waiting for one that has ended."""

_OUT_OF_MEMORY = 'the machine may be out of memory: use fewer num_workers or a smaller batch_size'

KEPT = 'Checkpoints are kept; continue training with --resume'
"""What a training tool adds to errors that its arguments did not cause."""


def user_message(error: BaseException, after: str = '') -> str | None:
    """Describe an error that a user can fix.

    Args:
        error: The error that ended a tool.
        after: What is kept and how to continue; added where the system or a data loader failed.

    Returns:
        One line for an error of this package, a missing file, an unknown name or a wrong argument in a
        config, a full disk or another limit of the system, or a data loader worker that was killed or hangs.
        None for defects.
    """
    text = _without_worker_trace(str(error))
    if isinstance(error, USER_ERRORS):
        return text
    if isinstance(error, OSError):
        return _and(_of_lost_worker(error) or _of_system(error, text), after)
    if isinstance(error, KeyError):
        # MMEngine's errors of configs; others are defects.
        if 'is not in the' in str(error):
            return str(error.args[0])
        return _one_line(error) if 'must contain the key "type"' in str(error) else None
    if isinstance(error, (TypeError, ValueError, AssertionError)):
        return _of_config(error)
    return _and(_of_workers(text), after) if isinstance(error, RuntimeError) else None


def _and(text: str | None, after: str) -> str | None:
    return f'{text}. {after}' if text and after and text != PEER_ENDED else text


def _of_system(error: OSError, text: str) -> str | None:
    number = error.errno
    if number is None and (match := re.match(r'\[Errno (\d+)\]', text)):
        # A worker's error has lost its number.
        number = int(match[1])
    if number not in _REMEDIES:
        return None
    name = '' if error.filename is None else f' ({error.filename})'
    reason = error.strerror or re.sub(r'^\[Errno \d+\] ', '', text)
    return f'{reason}{name}: {_REMEDIES[number]}'


def _of_lost_worker(error: OSError) -> str | None:
    """A worker killed while it sends a batch breaks the connection before PyTorch sees that it has ended."""
    frames = traceback.extract_tb(error.__traceback__)
    if not isinstance(error, ConnectionError) or not any(
        Path(frame.filename).parts[-2:] == ('data', 'dataloader.py') for frame in frames
    ):
        return None
    return f'data loader worker ended while it sent a batch; {_OUT_OF_MEMORY}'


def _of_workers(text: str) -> str | None:
    if re.search(r'gloo.*Connection (closed|reset) by peer|remote process exited', text, re.DOTALL):
        return PEER_ENDED
    if 'Too many open files' in text or 'ancdata' in text:
        return f'too many open files: {_REMEDIES[errno.EMFILE]}'
    if match := re.search(r'DataLoader timed out after (\S+) seconds', text):
        return (
            f'a data loader waited {match[1]} s for a batch: its storage hangs, or batches take longer '
            'than train_dataloader.timeout'
        )
    if not (match := re.search(r'DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (.+)', text)):
        return None
    how = match[2].rstrip('. ')
    hint = _OUT_OF_MEMORY
    if 'Bus error' in how:
        how = 'is killed by signal: Bus error'
        hint = (
            'shared memory (/dev/shm) is full: enlarge it, or use fewer num_workers or a smaller batch_size'
        )
    return f'data loader worker {match[1]} {how}; {hint}'


def _of_config(error: Exception) -> str | None:
    """Message of a constructor about wrong arguments in a config; errors of other calls are defects."""
    frames = traceback.extract_tb(error.__traceback__)
    last = Path(frames[-1].filename) if frames else Path()
    if str(error) and last.parts[-3:-1] == ('mmengine', 'runner') and frames[-1].name == '__init__':
        # Not built by a registry; it checks whether parts of the config belong together.
        return f'the config does not fit: {_one_line(error)}'
    builders = [
        number for number, frame in enumerate(frames) if frame.name in ('build_from_cfg', 'build_dataloader')
    ]
    if (
        not builders
        or not str(error)
        or any(frame.name != '__init__' for frame in frames[builders[-1] + 1 :])
    ):
        return None
    where = Path(frames[-1].filename).stem
    within = f' ({where})' if len(frames) > builders[-1] + 1 else ''
    return f'the config does not fit{within}: {_one_line(error)}'


def _one_line(error: BaseException) -> str:
    text = ' '.join(str(error.args[0] if error.args else error).split())
    return text if len(text) <= 400 else text[:400] + ' ...'


def _without_worker_trace(message: str) -> str:
    """Reduce an error that a data loader's worker sent, traceback and all, to its own message."""
    if 'Original Traceback' not in message:
        return message
    return message.rstrip().splitlines()[-1].split(': ', 1)[-1]
