# SPDX-License-Identifier: Apache-2.0
"""Face analysers behind one interface."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from iid_mm.errors import InputError, MissingExtraError
from iid_mm.preparation.analysers.base import Face, FaceAnalyser, FrameRef
from iid_mm.preparation.analysers.precomputed_analyser import PrecomputedAnalyser

ANALYSERS = ('mediapipe', 'precomputed')


def check_analyser(name: str) -> str:
    """Check that an analyser can be built, without loading it.

    Args:
        name: One of :data:`ANALYSERS`.

    Returns:
        Its version, for the report: that of the library behind it.

    Raises:
        InputError: If the name is unknown.
        MissingExtraError: If the library is not installed.
    """
    if name not in ANALYSERS:
        raise InputError(f'analyser={name!r} is unknown; choose from {", ".join(ANALYSERS)}')
    if name == 'precomputed':
        return '1'
    try:
        return version('mediapipe')
    except PackageNotFoundError as error:
        raise MissingExtraError.of('mediapipe', 'mediapipe') from error


def build_analyser(name: str, root: Path) -> FaceAnalyser:
    """Build an analyser.

    Args:
        name: One of :data:`ANALYSERS`.
        root: Folder of the data set.

    Raises:
        InputError: If the name is unknown.
        MissingExtraError: If the library is not installed.
        FileNotFoundError: If files that it needs are missing.
    """
    check_analyser(name)
    if name == 'precomputed':
        return PrecomputedAnalyser(root)
    from iid_mm.preparation.analysers.mediapipe_analyser import MediapipeAnalyser

    return MediapipeAnalyser()


__all__ = [
    'ANALYSERS',
    'Face',
    'FaceAnalyser',
    'FrameRef',
    'PrecomputedAnalyser',
    'build_analyser',
    'check_analyser',
]
