# SPDX-License-Identifier: Apache-2.0
"""Registered classes are found by their names, and only in the registries of this package."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from support.paths import REPOSITORY

BY_NAME = """
import os, sys
from iid_mm import registry

for names in sys.argv[1:]:
    # A process for each registry: the modules that one imports must not help another.
    if (child := os.fork()) == 0:
        for name in names.split():
            holder, _, component = name.partition('.')
            found = getattr(registry, holder).get(component)
            if found is None or not found.__module__.startswith('iid_mm.'):
                print('missing:', name, flush=True)
        os._exit(0)
    # A child ends otherwise if an import fails.
    if os.waitpid(child, 0)[1] != 0:
        print('missing:', names)
print('done')
"""
ROOTS = """
import pkgutil
from importlib import import_module
from mmengine.registry import Registry, root
import iid_mm

for module in pkgutil.walk_packages(iid_mm.__path__, 'iid_mm.'):
    import_module(module.name)
print('registered:', *[
    name
    for registry in vars(root).values() if isinstance(registry, Registry)
    for name, component in registry.module_dict.items() if component.__module__.startswith('iid_mm')
])
"""


def registered() -> list[str]:
    """What ``register_module`` decorates in the package, as REGISTRY.Name."""
    return sorted(
        f'{ast.unparse(decorator.func.value)}.{node.name}'
        for path in (REPOSITORY / 'iid_mm').rglob('*.py')
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.ClassDef, ast.FunctionDef))
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Attribute)
        if decorator.func.attr == 'register_module'
    )


def run(code: str, *arguments: str) -> str:
    """What a fresh process prints."""
    done = subprocess.run([sys.executable, '-c', code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_components_are_found_before_anything_else_is_imported() -> None:
    groups: dict[str, list[str]] = {}
    for name in registered():
        groups.setdefault(name.partition('.')[0], []).append(name)
    assert len(groups) > 10
    output = run(BY_NAME, *map(' '.join, groups.values()))
    assert 'done' in output
    assert 'missing' not in output, output


@pytest.mark.slow
def test_nothing_is_registered_in_the_registries_of_mmengine() -> None:
    assert run(ROOTS).strip().splitlines()[-1] == 'registered:'
