# SPDX-License-Identifier: Apache-2.0
"""Face analyzers behind one interface."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from iid_mm.errors import InputError, MissingExtraError
from iid_mm.faces.analyzers.base import AnalyzerOptions, Face, FaceAnalyzer, FrameRef
from iid_mm.faces.analyzers.precomputed_analyzer import PrecomputedAnalyzer

ANALYZERS = ('mediapipe', 'insightface', 'precomputed')
DEVICES = ('auto', 'cpu', 'cuda')
DATASET_FACES = 4
"""Maximum number of faces per image in preparation: videos of datasets are about few people."""


def check_analyzer(options: AnalyzerOptions) -> str:
    """Check that an analyzer can be built, before long work relies on it.

    Missing models are downloaded here, once, and not by the worker processes.

    Args:
        options: Options of the analyzer.

    Returns:
        What its results depend on, for the settings of a prepared folder: the version of the library and
        digests of its models.

    Raises:
        InputError: If an option is unknown or does not fit, or a model is damaged.
        MissingExtraError: If the library is not installed.
        FileNotFoundError: If models are missing and cannot be downloaded.
    """
    if options.name not in ANALYZERS:
        raise InputError(f'analyzer={options.name!r} is unknown; choose from {", ".join(ANALYZERS)}')
    if options.device not in DEVICES:
        raise InputError(f'device={options.device!r} is unknown; choose from {", ".join(DEVICES)}')
    if options.max_faces is not None and options.max_faces < 1:
        raise InputError(f'max_faces={options.max_faces}: give at least 1, or None for all')
    if options.name == 'insightface':
        return _check_insightface(options)
    if options.device == 'cuda':
        raise InputError(f"device='cuda': the analyzer {options.name!r} runs on the CPU; leave --device out")
    if options.model_dir is not None:
        raise InputError(
            f'model_dir={str(options.model_dir)!r}: the analyzer {options.name!r} reads no model files; '
            'leave --model-dir out'
        )
    return '1' if options.name == 'precomputed' else _find_version('mediapipe')


def _check_insightface(options: AnalyzerOptions) -> str:
    from iid_mm.faces.analyzers.insightface_models import choose_providers, fetch_models, load_models

    release = _find_version('insightface')
    choose_providers(options.device)
    files = fetch_models(options.model_dir)
    # On the CPU unless the GPU is required: this process does not analyze frames.
    load_models(files, 'cuda' if options.device == 'cuda' else 'cpu')
    return f'{release} {files.digest()}'


def _find_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError as error:
        raise MissingExtraError.of(package, package) from error


def build_analyzer(options: AnalyzerOptions, root: Path) -> FaceAnalyzer:
    """Build an analyzer that :func:`check_analyzer` has accepted.

    Args:
        options: Options of the analyzer.
        root: Folder of the dataset.

    Raises:
        InputError: If the name is unknown, or a model is damaged.
        MissingExtraError: If the library is not installed.
        FileNotFoundError: If models are missing.
    """
    if options.name == 'precomputed':
        return PrecomputedAnalyzer(root)
    if options.name == 'insightface':
        from iid_mm.faces.analyzers.insightface_analyzer import InsightFaceAnalyzer

        return InsightFaceAnalyzer(options.model_dir, options.device, options.max_faces)
    check_analyzer(options)
    from iid_mm.faces.analyzers.mediapipe_analyzer import MediapipeAnalyzer

    return MediapipeAnalyzer(options.max_faces)


__all__ = [
    'ANALYZERS',
    'DATASET_FACES',
    'DEVICES',
    'AnalyzerOptions',
    'Face',
    'FaceAnalyzer',
    'FrameRef',
    'PrecomputedAnalyzer',
    'build_analyzer',
    'check_analyzer',
]
