# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError

import pytest

from iid_mm.errors import MissingExtraError
from iid_mm.utils.dependencies import SUPPORTED, DependencyError, check_dependencies, import_extra

RULES = (
    ('torch', ('torch',), '>=2.6,<2.12'),
    ('mmcv', ('onedl-mmcv', 'mmcv', 'mmcv-lite'), '>=2.0.1,<2.4'),
)


def installed(**versions: str) -> Callable[[str], str]:
    def find_version(name: str) -> str:
        if name.replace('-', '_') not in versions:
            raise PackageNotFoundError(name)
        return versions[name.replace('-', '_')]

    return find_version


@pytest.mark.parametrize(
    'versions',
    [
        dict(torch='2.6.0', onedl_mmcv='2.3.6'),
        dict(torch='2.11.0+cu130', onedl_mmcv='2.3.9'),
        dict(torch='2.7.0', mmcv='2.1.0'),
        dict(torch='2.7.0', mmcv_lite='2.0.1'),
        dict(torch='2.7.0a0+git1234', mmcv='2.1.0'),
        # The maintained distribution comes first where both are there.
        dict(torch='2.7.0', onedl_mmcv='2.3.6', mmcv='1.7.0'),
    ],
)
def test_supported_versions(versions: dict[str, str]) -> None:
    check_dependencies(RULES, installed(**versions))


@pytest.mark.parametrize('version', ['2.0.1', '2.12.0', '2.12.0+cpu', '3.0'])
def test_version_outside_the_range(version: str) -> None:
    with pytest.raises(DependencyError) as caught:
        check_dependencies(RULES, installed(torch=version, mmcv='2.1.0'))
    assert str(caught.value) == (
        f'iid_mm supports torch >=2.6,<2.12, and torch {version} is installed; '
        "run: pip install 'torch>=2.6,<2.12'"
    )


def test_the_distribution_that_is_installed_is_named() -> None:
    with pytest.raises(
        DependencyError, match=r"and mmcv 1\.7\.2 is installed; run: pip install 'onedl-mmcv>="
    ):
        check_dependencies(RULES, installed(torch='2.7.0', mmcv='1.7.2'))


def test_missing_package() -> None:
    with pytest.raises(DependencyError) as caught:
        check_dependencies(RULES, installed(torch='2.7.0'))
    assert str(caught.value) == (
        "iid_mm needs mmcv >=2.0.1,<2.4, which is not installed; run: pip install 'onedl-mmcv>=2.0.1,<2.4'"
    )


def test_what_is_installed_here_is_supported() -> None:
    check_dependencies()
    assert {'torch', 'numpy', 'mmengine', 'mmcv', 'mmdet', 'mmpretrain'} <= {name for name, *_ in SUPPORTED}


def test_optional_dependencies_are_named_with_their_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    assert import_extra('json.decoder', 'x').JSONDecoder
    monkeypatch.setitem(sys.modules, 'lmdb', None)
    with pytest.raises(MissingExtraError, match=r"pylmdb is not installed; .*'iid-mm\[lmdb\]'"):
        import_extra('lmdb', 'lmdb', 'pylmdb')
