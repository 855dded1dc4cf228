# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import torch
from torch import nn

from iid_mm.engine import BFloat16OptimWrapper
from iid_mm.registry import OPTIM_WRAPPERS


def test_forward_in_bfloat16_everything_else_in_float32() -> None:
    model = nn.Linear(2, 1, bias=False)
    nn.init.ones_(model.weight)
    wrapper = OPTIM_WRAPPERS.build(
        dict(type='BFloat16OptimWrapper', optimizer=torch.optim.SGD(model.parameters(), lr=0.5))
    )
    assert isinstance(wrapper, BFloat16OptimWrapper)
    with wrapper.optim_context(model):
        # 256 + 1.5 rounds to 258 in bfloat16, whose step is 2 from 256 on.
        out = model(torch.tensor([[256.0, 1.5]]))
    assert out.dtype == torch.bfloat16
    assert out.item() == 258
    assert model(torch.ones(1, 2)).dtype == torch.float32
    wrapper.update_params(out.float().sum())
    assert model.weight.dtype == torch.float32
    assert model.weight.grad is None or model.weight.grad.dtype == torch.float32
    assert model.weight.tolist() == [[1 - 0.5 * 256, 1 - 0.5 * 1.5]]


def test_accumulated_steps_equal_one() -> None:
    def weight(accumulative_counts: int, batches: list[float]) -> float:
        model = nn.Linear(1, 1, bias=False)
        nn.init.ones_(model.weight)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.25)
        wrapper = BFloat16OptimWrapper(optimizer, accumulative_counts=accumulative_counts)
        wrapper.initialize_count_status(model, 0, len(batches))
        for value in batches:
            with wrapper.optim_context(model):
                loss = model(torch.tensor([[value]])).float().mean()
            wrapper.update_params(loss)
        return model.weight.item()

    assert weight(2, [2.0, 4.0]) == weight(1, [3.0]) == 1 - 0.25 * 3
