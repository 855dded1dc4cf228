# SPDX-License-Identifier: Apache-2.0
"""Optimizer states by number, as PyTorch keeps them, and by name, as FSDP does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from iid_mm.errors import InputError


def number_parameters(state: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Turn a state by name into one by number.

    Args:
        state: ``state`` and ``param_groups`` that call parameters by name.
        names: The optimizer's parameters in its order.

    Returns:
        The same with the positions in ``names``, as :meth:`torch.optim.Optimizer.state_dict` gives it.
    """
    return _rekey(state, {name: number for number, name in enumerate(names)})


def name_parameters(state: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Turn a state by number into one by name.

    Args:
        state: What :meth:`torch.optim.Optimizer.state_dict` gave.
        names: The optimizer's parameters in its order.

    Returns:
        The same with names.

    Raises:
        InputError: If the state is of an optimizer with other parameters.
    """
    count = sum(len(group['params']) for group in state['param_groups'])
    if count != len(names):
        raise InputError(
            f'the checkpoint has the state of an optimizer with {count} parameters and there are '
            f'{len(names)}; resume with the model and optim_wrapper that the run was started with'
        )
    return _rekey(state, dict(enumerate(names)))


def _rekey(state: dict[str, Any], keys: dict[Any, Any]) -> dict[str, Any]:
    return dict(
        state={keys[key]: value for key, value in state['state'].items()},
        param_groups=[
            {**group, 'params': [keys[key] for key in group['params']]} for group in state['param_groups']
        ],
    )
