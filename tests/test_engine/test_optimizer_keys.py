# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from iid_mm.engine.strategies import wrap_layers
from iid_mm.engine.strategies.optimizer_keys import name_parameters, number_parameters
from iid_mm.errors import InputError

NAMES = ['b', 'a', 'frozen']
BY_NAME = dict(
    state={'a': {'step': 1}, 'b': {'step': 2}},
    param_groups=[{'lr': 0.1, 'params': ['b']}, {'lr': 0.2, 'params': ['a', 'frozen']}],
)
BY_NUMBER = dict(
    state={1: {'step': 1}, 0: {'step': 2}},
    param_groups=[{'lr': 0.1, 'params': [0]}, {'lr': 0.2, 'params': [1, 2]}],
)


def test_names_become_numbers_and_back() -> None:
    assert number_parameters(BY_NAME, NAMES) == BY_NUMBER
    assert name_parameters(BY_NUMBER, NAMES) == BY_NAME


def test_state_of_another_optimizer() -> None:
    with pytest.raises(InputError, match=r'optimizer with 3 parameters and there are 2'):
        name_parameters(BY_NUMBER, NAMES[:2])


class Block:
    pass


@pytest.mark.parametrize(
    ('recurse', 'layers', 'expected'),
    [(True, [], True), (False, ['Block'], True), (False, ['Other'], False)],
)
def test_layers_are_wrapped_by_name(recurse: bool, layers: list[str], expected: bool) -> None:
    assert wrap_layers(Block(), recurse=recurse, nonwrapped_numel=0, layers=layers) is expected  # type: ignore[arg-type]
