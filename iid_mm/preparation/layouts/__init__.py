# SPDX-License-Identifier: Apache-2.0
"""Native layouts of public datasets, and of sets that others have processed; one module each."""

from __future__ import annotations

from pathlib import Path

from iid_mm.errors import InputError
from iid_mm.preparation.layouts import (
    caddm,
    celebdf,
    deeperforensics,
    deepfakebench,
    dfd,
    dfdc,
    dfdcp,
    ffiw,
    ffpp,
    folder,
    sbi,
    wilddeepfake,
)
from iid_mm.preparation.layouts.base import Layout, LayoutOptions, LayoutScan

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        *(ffpp.LAYOUT, dfd.LAYOUT, celebdf.LAYOUT, celebdf.LAYOUT_V1, celebdf.LAYOUT_V2, dfdc.LAYOUT),
        *(dfdcp.LAYOUT, deeperforensics.LAYOUT, wilddeepfake.LAYOUT, ffiw.LAYOUT, folder.LAYOUT),
        *(deepfakebench.LAYOUT, caddm.LAYOUT, sbi.LAYOUT),
    )
}
"""Name of a layout -> layout."""


def find_layout(name: str) -> Layout:
    """Layout of a name.

    Raises:
        InputError: If there is none.
    """
    if name not in LAYOUTS:
        raise InputError(f'layout={name!r} is unknown; choose from {", ".join(LAYOUTS)}')
    return LAYOUTS[name]


def scan_layout(name: str, root: Path, options: LayoutOptions) -> LayoutScan:
    """List the videos of a dataset.

    Args:
        name: Name of the layout, a key of :data:`LAYOUTS`.
        root: Folder of the dataset as downloaded.
        options: What to read.

    Returns:
        The videos, at least one.

    Raises:
        InputError: If the layout or an option is unknown, or a list file is unreadable.
        FileNotFoundError: If the root, a folder of the layout or every video is missing.
    """
    layout = find_layout(name)
    if not root.is_dir():
        raise FileNotFoundError(
            f'data root {str(root)!r} is not a folder; give the folder of the {name} dataset, '
            f'which holds\n{layout.tree}'
        )
    return layout.scan(root, options)


__all__ = ['LAYOUTS', 'Layout', 'find_layout', 'scan_layout']
