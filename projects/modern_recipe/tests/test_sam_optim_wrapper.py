# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from mmengine.model import BaseModel
from torch import nn

from iid_mm.errors import InputError
from modern_recipe.sam_optim_wrapper import SAMOptimWrapper


class Quadratic(BaseModel):
    """loss = sum(scale * w^2) / 2 + 0 * dropout, with a batch norm that sees the data."""

    def __init__(self, weights: list[float], scale: list[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weights))
        self.scale = torch.tensor(scale)
        self.bn = nn.BatchNorm1d(1, affine=False)
        self.dropout = nn.Dropout(0.5)
        self.masks: list[torch.Tensor] = []
        self.at: list[list[float]] = []

    def forward(self, inputs: torch.Tensor, mode: str = 'loss') -> dict[str, torch.Tensor]:
        self.bn(inputs)
        self.masks.append(self.dropout(torch.ones(20)))
        self.at.append(self.weight.tolist())
        return dict(loss=(self.scale * self.weight**2).sum() / 2)


BATCH = dict(inputs=torch.tensor([[1.0], [3.0]]))


def make(rho: float = 0.5, lr: float = 0.1, **options: Any) -> tuple[Quadratic, SAMOptimWrapper]:
    model = Quadratic([3.0, 4.0], [1.0, 1.0])
    return model, SAMOptimWrapper(torch.optim.SGD(model.parameters(), lr=lr), rho=rho, **options)


def test_a_step_by_hand() -> None:
    model, wrapper = make()
    outputs = wrapper.train_step(model, BATCH)
    # g = w = (3, 4), ||g|| = 5, e = 0.5 * g / 5 = (0.3, 0.4); the gradient there is (3.3, 4.4).
    assert model.at[0] == [3.0, 4.0]
    assert model.at[1] == pytest.approx([3.3, 4.4])
    assert model.weight.tolist() == pytest.approx([3 - 0.33, 4 - 0.44])
    # The loss at w itself.
    assert outputs['loss'].item() == 12.5
    assert model.weight.grad is None


def test_an_adaptive_step_by_hand() -> None:
    model, wrapper = make(rho=1.0, adaptive=True)
    wrapper.train_step(model, BATCH)
    # w * g = (9, 16), norm sqrt(337); e = w^2 g / norm = (27, 64) / sqrt(337).
    norm = math.sqrt(337)
    assert model.at[1] == pytest.approx([3 + 27 / norm, 4 + 64 / norm])


def test_both_passes_see_the_same_and_statistics_follow_the_first() -> None:
    model, wrapper = make()
    model.train()
    plain = nn.BatchNorm1d(1, affine=False)
    plain(BATCH['inputs'])
    wrapper.train_step(model, BATCH)
    assert torch.equal(*model.masks)
    assert 0 < model.masks[0].count_nonzero() < 20
    for name, value in plain.state_dict().items():
        assert torch.equal(model.bn.state_dict()[name], value), name
    assert model.bn.momentum == 0.1


def test_weights_return_exactly_when_the_second_pass_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    model, wrapper = make()
    plain = model.forward

    def fail(*args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        if model.at:
            raise MemoryError
        return plain(*args, **kwargs)

    monkeypatch.setattr(model, 'forward', fail)
    with pytest.raises(MemoryError):
        wrapper.train_step(model, BATCH)
    assert model.weight.tolist() == [3.0, 4.0]


def test_clips_the_second_gradient() -> None:
    model, wrapper = make(clip_grad=dict(type='value', clip_value=1.0))
    wrapper.train_step(model, BATCH)
    assert model.weight.tolist() == pytest.approx([2.9, 3.9])


def test_bfloat16() -> None:
    linear = nn.Linear(1, 1)
    wrapper = SAMOptimWrapper(torch.optim.SGD(linear.parameters(), lr=0.1), dtype='bfloat16')
    with wrapper.optim_context(linear):
        assert linear(torch.ones(1, 1)).dtype == torch.bfloat16


def test_needs_the_loop() -> None:
    model, wrapper = make()
    with pytest.raises(InputError, match=r"train_cfg.type='SAMTrainLoop'"):
        model.train_step(BATCH, wrapper)


@pytest.mark.parametrize(
    ('options', 'text'),
    [
        (dict(rho=0.0), r'rho=0.0: must be above 0'),
        (dict(dtype='float16'), "dtype='float16': must be one of float32, bfloat16"),
        (dict(accumulative_counts=2), 'accumulative_counts=2'),
    ],
)
def test_bad_input(options: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        make(**options)
