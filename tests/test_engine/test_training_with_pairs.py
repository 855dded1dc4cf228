# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook


class BatchRecorder(Hook):
    """Remembers labels and paths of every batch."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[int, str]]] = []

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        self.batches.append([(int(s.gt_label), s.img_path) for s in data_batch['data_samples']])


def test_every_batch_holds_fakes_and_their_genuine_frames(make_runner: Any) -> None:
    loader = 'train_dataloader__'
    runner = make_runner(
        train_cfg__max_epochs=1,
        **{
            f'{loader}collate_fn': dict(type='iid_mm.collate_pairs'),
            f'{loader}batch_size': 2,
            f'{loader}dataset__paired_only': True,
            f'{loader}dataset__pipeline__5__type': 'PackForgeryPair',
        },
    )
    hook = BatchRecorder()
    runner.register_hook(hook)
    runner.train()
    assert len(hook.batches) == 8
    for batch in hook.batches:
        assert [label for label, _ in batch] == [1, 0, 1, 0]
        for (_, fake), (_, genuine) in zip(batch[::2], batch[1::2], strict=True):
            assert fake.split('/')[-1] == genuine.split('/')[-1]
            assert fake.split('/')[-2].split('_')[0] == genuine.split('/')[-2]
