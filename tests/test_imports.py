# SPDX-License-Identifier: Apache-2.0
"""Imports go one way: between packages, and between files."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from support.paths import REPOSITORY

PACKAGE = REPOSITORY / 'iid_mm'
LAYERS = (
    ('utils', 'structures', 'registry', 'errors', 'version'),
    ('models', 'datasets', 'media'),
    ('faces',),
    ('evaluation',),
    ('engine',),
    ('preparation', 'visualization', 'toy'),
    ('reporting', 'identity'),
    ('inference', 'deployment'),
    ('apis',),
)
"""Packages, lowest first; a package may import from lower layers and, without a ring, from its own."""
LAYER_OF = {name: number for number, names in enumerate(LAYERS) for name in names}


def module_name(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


@cache
def modules() -> dict[str, Path]:
    return {module_name(path): path for path in sorted(PACKAGE.rglob('*.py'))}


def imported(path: Path) -> Iterator[str]:
    """Absolute names that a file imports, within functions and for type checkers, too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}: relative import'
            # A name may be a module or something within one.
            yield from (f'{node.module}.{alias.name}' for alias in node.names)


@cache
def file_graph() -> dict[str, set[str]]:
    """For each module the modules of the package that it imports."""
    graph: dict[str, set[str]] = {}
    for name, path in modules().items():
        graph[name] = set()
        for target in imported(path):
            while target not in modules() and '.' in target:
                target = target.rpartition('.')[0]
            if target in modules():
                graph[name].add(target)
        graph[name].discard(name)
    return graph


def package_of(module: str) -> str:
    return module.split('.')[1] if '.' in module else ''


def package_graph() -> dict[str, set[str]]:
    graph: dict[str, set[str]] = {}
    for module, targets in file_graph().items():
        if package := package_of(module):
            graph.setdefault(package, set()).update(
                {package_of(target) for target in targets} - {package, ''}
            )
    return graph


def test_every_package_has_a_layer() -> None:
    assert {package_of(module) for module in modules()} - {''} == set(LAYER_OF)


def test_packages_import_from_lower_layers_only() -> None:
    wrong = [
        f'{module} imports {target}'
        for module, targets in sorted(file_graph().items())
        for target in sorted(targets)
        if package_of(module) and package_of(target)
        if LAYER_OF[package_of(module)] < LAYER_OF[package_of(target)]
    ]
    assert not wrong, '\n'.join(wrong)


@pytest.mark.parametrize('graph', [package_graph, file_graph])
def test_there_is_no_ring(graph: Callable[[], dict[str, set[str]]]) -> None:
    try:
        TopologicalSorter(graph()).prepare()
    except CycleError as error:
        pytest.fail(' <- '.join(error.args[1]))


def test_the_package_imports_nothing_that_is_built_on_it() -> None:
    outside = {path.parent.name for path in REPOSITORY.glob('projects/*/*/__init__.py')} | {
        'support',
        'tools',
    }
    outside |= {path.stem for path in (REPOSITORY / 'tools' / 'benchmarks').glob('*.py')} - {'__init__'}
    wrong = [
        f'{name} imports {target}'
        for name, path in modules().items()
        for target in imported(path)
        if target.split('.')[0] in outside
    ]
    assert not wrong, '\n'.join(wrong)


def test_stand_in_operators_are_registered_before_models_of_mmdet_are_imported() -> None:
    wrong = []
    for name, path in modules().items():
        targets = [
            target for target in imported(path) if target.startswith(('mmdet.models', 'iid_mm.models'))
        ]
        if package_of(name) != 'models' and targets and targets[0].startswith('mmdet'):
            wrong.append(name)
    assert not wrong, 'import iid_mm.models first: ' + ', '.join(wrong)


@pytest.mark.slow
def test_every_package_can_be_imported_first() -> None:
    """As a user's script or a tool does: nothing may rest on what another package happens to have loaded."""
    code = """
import os, sys
from importlib import import_module
import torch, cv2, mmengine.runner, pyarrow.parquet

for name in sys.argv[1:]:
    if (child := os.fork()) == 0:
        import_module(name)
        os._exit(0)
    if os.waitpid(child, 0)[1] != 0:
        print('failed:', name)
"""
    packages = [f'iid_mm.{package}' for package in LAYER_OF]
    done = subprocess.run([sys.executable, '-c', code, *packages], capture_output=True, text=True, check=True)
    assert 'failed' not in done.stdout, done.stdout + done.stderr


def test_training_loads_no_video_library_no_plots_and_no_preparation() -> None:
    code = 'import sys, iid_mm.engine; print(*sorted(sys.modules), sep="\\n")'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert 'iid_mm.engine' in loaded
    assert not loaded & {'av', 'matplotlib', 'iid_mm.preparation', 'iid_mm.visualization', 'iid_mm.media'}
