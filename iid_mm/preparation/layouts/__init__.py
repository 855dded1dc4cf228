# SPDX-License-Identifier: Apache-2.0
"""Native layouts of public data sets, one module a layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from iid_mm.errors import InputError
from iid_mm.preparation.layouts.ffpp import scan_ffpp
from iid_mm.preparation.records import LayoutOptions, LayoutScan

LAYOUTS: dict[str, Callable[[Path, LayoutOptions], LayoutScan]] = {'ffpp': scan_ffpp}
"""Name of a layout -> function that lists the videos under a root."""


def scan_layout(layout: str, root: Path, options: LayoutOptions) -> LayoutScan:
    """List the videos of a data set.

    Args:
        layout: Name of the layout, a key of :data:`LAYOUTS`.
        root: Folder of the data set as downloaded.
        options: What to read.

    Returns:
        The videos, at least one.

    Raises:
        InputError: If the layout or an option is unknown, or a list file is unreadable.
        FileNotFoundError: If the root, a folder of the layout or every video is missing.
    """
    if layout not in LAYOUTS:
        raise InputError(f'layout={layout!r} is unknown; choose from {", ".join(LAYOUTS)}')
    if not root.is_dir():
        raise FileNotFoundError(
            f'data root {str(root)!r} is not a folder; give the folder of the {layout} data set'
        )
    return LAYOUTS[layout](root, options)


__all__ = ['LAYOUTS', 'scan_layout']
