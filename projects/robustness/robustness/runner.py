# SPDX-License-Identifier: Apache-2.0
"""The run over all cells with one model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log

from iid_mm.engine import SafeRunner
from iid_mm.evaluation.eval_sets import EvalSet
from iid_mm.registry import RUNNERS
from robustness.cells import Cell, CellStore, cell_loader


@RUNNERS.register_module()
class RobustnessRunner(SafeRunner):
    """Runner that tests one model on several data loaders, and loads it once."""

    def start(self) -> None:
        """Load the checkpoint that ``load_from`` of the config names."""
        self.call_hook('before_run')
        self.load_or_resume()

    def test_on(self, dataloader: dict[str, Any], evaluator: dict[str, Any]) -> dict[str, float]:
        """Test on one data loader.

        Args:
            dataloader: Its config.
            evaluator: Config of the metric.

        Returns:
            The metrics.
        """
        self._test_dataloader, self._test_evaluator = dataloader, evaluator
        self._test_loop = self.build_test_loop(dict(self.cfg.test_cfg))
        metrics: dict[str, float] = self._test_loop.run()
        return metrics

    def finish(self) -> None:
        """Close logs."""
        self.call_hook('after_run')


def run_cells(
    runner: RobustnessRunner,
    store: CellStore,
    test_set: EvalSet,
    cells: Sequence[Cell],
    *,
    resume: bool = False,
    originals: dict[str, Any] | None = None,
) -> list[Cell]:
    """Score all cells; each is on disk when the next one starts.

    Args:
        runner: The runner, built from a config with ``load_from``.
        store: Where scores are kept.
        test_set: The clean set.
        cells: The cells.
        resume: Leave out those that are finished.
        originals: See :func:`~robustness.cells.cell_loader`.

    Returns:
        The cells that were scored now.
    """
    # One process looks, so that all agree.
    todo = [cell for cell in cells if not (resume and store.finished(cell))] if is_main_process() else []
    shared: list[Any] = [todo]
    broadcast_object_list(shared)
    todo = shared[0]
    if resume:
        print_log(f'{len(cells) - len(todo)} of {len(cells)} cells are finished', logger='current')
    if not todo:
        return []
    runner.start()
    for number, cell in enumerate(todo, start=1):
        if is_main_process():
            store.begin(cell)
        evaluator = dict(
            type='ForgeryAUC',
            scores_file=str(store.scores_file(cell)),
            image_root=str(test_set.root),
            split=test_set.split,
            print_table=False,
        )
        start = time.perf_counter()
        metrics = runner.test_on(cell_loader(test_set, cell, originals), evaluator)
        seconds = time.perf_counter() - start
        if is_main_process():
            store.finish(cell, seconds)
        print_log(
            f'cell {number} of {len(todo)}, {cell.name}: video AUC '
            f'{100 * metrics["forgery/video_auc"]:.2f} % ({seconds:.1f} s)',
            logger='current',
        )
    runner.finish()
    return todo
