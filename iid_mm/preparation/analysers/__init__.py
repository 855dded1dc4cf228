# SPDX-License-Identifier: Apache-2.0
"""Face analysers behind one interface."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from iid_mm.errors import InputError, MissingExtraError
from iid_mm.preparation.analysers.base import AnalyserOptions, Face, FaceAnalyser, FrameRef
from iid_mm.preparation.analysers.precomputed_analyser import PrecomputedAnalyser

ANALYSERS = ('mediapipe', 'insightface', 'precomputed')
DEVICES = ('auto', 'cpu', 'cuda')
DATASET_FACES = 4
"""Faces of an image that preparation analyzes: the people whom videos of datasets are about."""


def check_analyser(options: AnalyserOptions) -> str:
    """Check that an analyser can be built, before long work relies on it.

    Models that are missing are fetched here, once, and not by the worker processes.

    Args:
        options: Which analyser.

    Returns:
        What its results depend on, for the settings of the prepared folder: the version of the library
        and digests of its models.

    Raises:
        InputError: If an option is unknown or does not fit, or a model is damaged.
        MissingExtraError: If the library is not installed.
        FileNotFoundError: If models are missing and cannot be fetched.
    """
    if options.name not in ANALYSERS:
        raise InputError(f'analyser={options.name!r} is unknown; choose from {", ".join(ANALYSERS)}')
    if options.device not in DEVICES:
        raise InputError(f'device={options.device!r} is unknown; choose from {", ".join(DEVICES)}')
    if options.max_faces is not None and options.max_faces < 1:
        raise InputError(f'max_faces={options.max_faces}: give at least 1, or None for all')
    if options.name == 'insightface':
        return _check_insightface(options)
    if options.device == 'cuda':
        raise InputError(f"device='cuda': the analyser {options.name!r} runs on the CPU; leave --device out")
    if options.model_dir is not None:
        raise InputError(
            f'model_dir={str(options.model_dir)!r}: the analyser {options.name!r} reads no model files; '
            'leave --model-dir out'
        )
    return '1' if options.name == 'precomputed' else _find_version('mediapipe')


def _check_insightface(options: AnalyserOptions) -> str:
    from iid_mm.preparation.analysers.insightface_models import choose_providers, fetch_models, load_models

    release = _find_version('insightface')
    choose_providers(options.device)
    files = fetch_models(options.model_dir)
    # On the CPU, unless the GPU is demanded: this process does not work on frames.
    load_models(files, 'cuda' if options.device == 'cuda' else 'cpu')
    return f'{release} {files.digest()}'


def _find_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError as error:
        raise MissingExtraError.of(package, package) from error


def build_analyser(options: AnalyserOptions, root: Path) -> FaceAnalyser:
    """Build an analyser that :func:`check_analyser` has passed.

    Args:
        options: Which analyser.
        root: Folder of the data set.

    Raises:
        InputError: If the name is unknown, or a model is damaged.
        MissingExtraError: If the library is not installed.
        FileNotFoundError: If models are missing.
    """
    if options.name == 'precomputed':
        return PrecomputedAnalyser(root)
    if options.name == 'insightface':
        from iid_mm.preparation.analysers.insightface_analyser import InsightFaceAnalyser

        return InsightFaceAnalyser(options.model_dir, options.device, options.max_faces)
    check_analyser(options)
    from iid_mm.preparation.analysers.mediapipe_analyser import MediapipeAnalyser

    return MediapipeAnalyser(options.max_faces)


__all__ = [
    'ANALYSERS',
    'DATASET_FACES',
    'DEVICES',
    'AnalyserOptions',
    'Face',
    'FaceAnalyser',
    'FrameRef',
    'PrecomputedAnalyser',
    'build_analyser',
    'check_analyser',
]
