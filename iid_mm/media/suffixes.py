# SPDX-License-Identifier: Apache-2.0
"""Suffixes of the files that are read, and names that are ignored."""

from __future__ import annotations

# For all commands.
VIDEO_SUFFIXES = (
    *('.mp4', '.avi', '.mkv', '.mov', '.webm', '.m4v', '.mpg', '.mpeg', '.m2v', '.vob'),
    *('.flv', '.f4v', '.wmv', '.asf', '.3gp', '.3g2', '.ts', '.mts', '.m2ts', '.ogv', '.gif'),
)
IMAGE_SUFFIXES = (
    *('.png', '.apng', '.jpg', '.jpeg', '.jpe', '.jfif', '.webp', '.bmp', '.tif', '.tiff'),
    *('.avif', '.avifs'),
)
ARCHIVE_SUFFIXES = ('.tar', '.tar.gz', '.tgz')
# Created by operating systems and storage devices beside media; they hold thumbnails with suffixes of images.
SYSTEM_FOLDERS = frozenset(
    name.lower()
    for name in (
        *('@eaDir', '#recycle', '#snapshot', '@Recycle', '__MACOSX', 'lost+found'),
        *('.Spotlight-V100', 'System Volume Information', '$RECYCLE.BIN'),
    )
)


def is_system_file(name: str) -> bool:
    """Whether a file or folder, given by its bare name, is hidden or created by the system."""
    return name.startswith('.') or name.lower() in SYSTEM_FOLDERS
