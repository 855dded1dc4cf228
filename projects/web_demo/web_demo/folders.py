# SPDX-License-Identifier: Apache-2.0
"""Folders of temporary files, and the removal of those that killed servers left behind."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

FOLDER_PREFIX = 'iid_mm_web_'
LOCK = 'lock'


def clean_up() -> None:
    """Delete folders that killed servers left behind."""
    if not hasattr(os, 'getuid'):
        return
    for folder in Path(tempfile.gettempdir()).glob(f'{FOLDER_PREFIX}*'):
        try:
            # Everybody may write there: touch only our own folders, and follow no links.
            if folder.is_symlink() or not folder.is_dir() or folder.stat().st_uid != os.getuid():
                continue
            lock = folder / LOCK
            if lock.is_file():
                held = hold(lock)
                if held is None:
                    continue
                os.close(held)
            elif time.time() - folder.stat().st_mtime < 3600:
                # A server that is just starting.
                continue
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue


def hold(lock: Path) -> int | None:
    """Lock a file until it is closed or the process ends; None: locked already, or no locks here."""
    try:
        import fcntl
    except ImportError:
        return None
    held = os.open(lock, os.O_RDWR | os.O_CREAT | getattr(os, 'O_NOFOLLOW', 0), 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(held)
        return None
    return held
