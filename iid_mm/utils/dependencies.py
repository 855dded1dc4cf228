# SPDX-License-Identifier: Apache-2.0
"""Installed versions, checked once when the package is imported, and optional dependencies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from packaging.specifiers import SpecifierSet

from iid_mm.errors import MissingExtraError

SUPPORTED: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ('torch', ('torch',), '>=2.6,<2.12'),
    ('numpy', ('numpy',), '>=1.26,<3'),
    # The maintained OpenMMLab line, or the original one where it is already installed.
    ('mmengine', ('onedl-mmengine', 'mmengine'), '>=0.10,<0.11'),
    ('mmcv', ('onedl-mmcv', 'mmcv', 'mmcv-lite'), '>=2.0.1,<2.4'),
    ('mmdet', ('onedl-mmdetection', 'mmdet'), '>=3.2,<3.6'),
    ('mmpretrain', ('onedl-mmpretrain', 'mmpretrain'), '>=1.1,<1.4'),
)
"""Import name, distributions that provide it, and the versions that are supported."""


class DependencyError(ImportError):
    """An installed package is missing or outside the supported range."""


def check_dependencies(
    supported: Sequence[tuple[str, tuple[str, ...], str]] = SUPPORTED,
    find_version: Callable[[str], str] = version,
) -> None:
    """Check that every package is installed in a supported version.

    Args:
        supported: Import name, distributions that provide it, version range.
        find_version: From a distribution's name to its version; raises PackageNotFoundError.

    Raises:
        DependencyError: Naming the package, the version found, the range and the remedy.
    """
    for name, distributions, supported_range in supported:
        installed = _first_installed(distributions, find_version)
        remedy = f"pip install '{distributions[0]}{supported_range}'"
        if installed is None:
            raise DependencyError(
                f'iid_mm needs {name} {supported_range}, which is not installed; run: {remedy}'
            )
        distribution, found = installed
        # A local build such as 2.11.0+cu130 or a pre-release counts as its release.
        if not SpecifierSet(supported_range).contains(found.split('+')[0], prereleases=True):
            raise DependencyError(
                f'iid_mm supports {name} {supported_range}, and {distribution} {found} is installed; '
                f'run: {remedy}'
            )


def _first_installed(
    distributions: Sequence[str], find_version: Callable[[str], str]
) -> tuple[str, str] | None:
    for distribution in distributions:
        try:
            return distribution, find_version(distribution)
        except PackageNotFoundError:
            continue
    return None


def import_extra(module: str, extra: str, package: str = '') -> Any:
    """Import a module of an optional dependency.

    Args:
        module: The module, e.g. ``onnxruntime.quantization``.
        extra: The extra of this package that installs it.
        package: Its name on PyPI, where it differs from that of the module.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        # A package that is there and lacks one of its own needs is another matter.
        if error.name != module.split('.')[0]:
            raise
        raise MissingExtraError.of(package or error.name, extra) from error
