# SPDX-License-Identifier: Apache-2.0
"""A record of the data that the checkpoint of a run was chosen on."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from iid_mm.errors import InputError
from iid_mm.registry import HOOKS
from iid_mm.utils.files import write_json
from iid_mm.utils.finished import read_record

RECORD = 'selection.json'
PROGRESS = 'progress.json'
SECONDS_BETWEEN = 2.0


@HOOKS.register_module()
class SelectionRecordHook(Hook):
    """Refuse to choose a checkpoint on unseen manipulations, and record every validation.

    Before training, it inspects the samples of both datasets, not their settings:
    training samples and validation samples must be fakes of ``methods`` and genuine ones only, and the
    validation samples must not be those of the test split.

    Every validation is written to ``selection.json`` in the work directory, including one that a kill
    interrupted and that :class:`~iid_mm.engine.ResumableEpochTrainLoop` runs again. ``progress.json`` holds
    the current iteration.

    Args:
        methods: The manipulations that are trained on.
    """

    # After the checkpoint hook (VERY_LOW), which chooses.
    priority = 'LOWEST'

    def __init__(self, methods: Sequence[str]) -> None:
        self.methods = tuple(methods)
        self._record: dict[str, Any] | None = None
        self._written = -math.inf
        self._seconds_before = 0.0

    def before_train(self, runner: Runner) -> None:
        """Check the data and read the record.

        Args:
            runner: The runner, with the checkpoint loaded.

        Raises:
            InputError: The data hold a manipulation that is not trained on.
        """
        facts = {
            'train': self._check(runner.train_loop.dataloader.dataset, 'train_dataloader'),
        }
        if runner.val_loop is not None:
            facts['val'] = self._check(runner.val_loop.dataloader.dataset, 'val_dataloader')
        folder = Path(runner.work_dir)
        shared = [
            [read_record(folder / RECORD), read_record(folder / PROGRESS)] if is_main_process() else None
        ]
        broadcast_object_list(shared)
        before, progress = shared[0] or ({}, {})
        # Iterations behind the checkpoint are repeated, and so are their validations.
        kept = [v for v in before.get('validations', []) if v['iter'] <= runner.iter] if runner.iter else []
        self._record = {'methods': list(self.methods), 'data': facts, 'validations': kept}
        self._seconds_before = float(progress.get('seconds', 0.0)) if runner.iter else 0.0
        self._started = time.monotonic()
        self._write_record(runner)

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Write the current iteration, every other second."""
        if time.monotonic() - self._written >= SECONDS_BETWEEN:
            self._write_progress(runner, runner.iter + 1)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Record a validation, in the place of one at the same iteration.

        Args:
            runner: The runner.
            metrics: The metrics.
        """
        if self._record is None:
            return
        best = runner.message_hub.runtime_info.get('best_ckpt')
        # After resuming, the epoch before may be validated again.
        before = [v for v in self._record['validations'] if v['iter'] != runner.iter]
        self._record['validations'] = before
        before.append(
            {
                'epoch': runner.epoch,
                'iter': runner.iter,
                'metrics': {key: float(value) for key, value in (metrics or {}).items()},
                'best_checkpoint': Path(best).name if best else None,
                'best_score': runner.message_hub.runtime_info.get('best_score'),
            }
        )
        self._write_record(runner)

    def after_train(self, runner: Runner) -> None:
        """Write that training has ended."""
        self._write_progress(runner, runner.iter)

    def _check(self, dataset: Any, name: str) -> dict[str, Any]:
        """Count the samples of a dataset, and refuse those that must not be there."""
        counts: dict[str, int] = {}
        splits = set()
        for part in _leaves(dataset):
            splits.add(getattr(part, 'split', None))
            for number in range(len(part)):
                info = part.get_data_info(number)
                key = info['method'] if info['gt_label'] else ''
                counts[key] = counts.get(key, 0) + 1
        genuine = counts.pop('', 0)
        if unseen := sorted(set(counts) - set(self.methods)):
            raise InputError(
                f'{name} holds fakes of {", ".join(unseen)}, which this run is not trained on '
                f'({", ".join(self.methods)}): a checkpoint chosen with them would not be one of unseen '
                f'manipulations. Set {name}.dataset.methods to the manipulations that are trained on'
            )
        if 'test' in splits:
            raise InputError(
                f"{name} reads the split 'test', which is for the metrics alone; give it its own"
            )
        return {
            'splits': sorted(filter(None, splits)),
            'genuine': genuine,
            'fakes': dict(sorted(counts.items())),
        }

    def _write_record(self, runner: Runner) -> None:
        if is_main_process():
            write_json(Path(runner.work_dir) / RECORD, self._record)

    def _write_progress(self, runner: Runner, done: int) -> None:
        self._written = time.monotonic()
        if is_main_process():
            seconds = self._seconds_before + self._written - self._started
            content = {'iter': done, 'max_iters': runner.max_iters, 'seconds': round(seconds, 1)}
            write_json(Path(runner.work_dir) / PROGRESS, content)


def _leaves(dataset: Any) -> Iterator[Any]:
    """Visit the datasets that a dataset wraps, or itself."""
    inner = [dataset.dataset] if hasattr(dataset, 'dataset') else getattr(dataset, 'datasets', None)
    if inner is None:
        yield dataset
        return
    for child in inner:
        yield from _leaves(child)
