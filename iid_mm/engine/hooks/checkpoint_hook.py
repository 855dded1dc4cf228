# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of epochs, of iterations and of the best epoch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook
from mmengine.runner import Runner

from iid_mm.errors import InputError
from iid_mm.registry import HOOKS
from iid_mm.utils.latest_checkpoint import write_pointer

INTERRUPTED = 'interrupted.pth'
"""The checkpoint from within an epoch."""


def save_interrupted(runner: Runner, meta: dict[str, Any] | None = None) -> None:
    """Write :data:`INTERRUPTED` and point ``last_checkpoint`` to it; all processes must call this.

    Args:
        runner: The runner.
        meta: ``epoch`` and ``iter`` that are finished; None: those of an iteration that is ending.
    """
    runner.save_checkpoint(runner.work_dir, INTERRUPTED, by_epoch=False, meta=meta)
    if is_main_process():
        write_pointer(runner.work_dir, Path(runner.work_dir) / INTERRUPTED)


@HOOKS.register_module()
class CheckpointHook(MMEngineCheckpointHook):
    """MMEngine's checkpoint hook, which configs get by the same name, with these differences:

    * It also keeps one checkpoint from within the epoch, ``interrupted.pth``, so that a run that is killed
      loses at most ``iteration_interval`` iterations. Where gradients are accumulated, which checkpoints do
      not hold, it waits for the optimizer step that uses them.
    * An outdated checkpoint, or the previous best one, is removed once the new one is written, not before.
    * ``last_checkpoint`` is never half written.
    * The best checkpoint that a resumed run replaces is the one in its own folder: the path stored in a
      checkpoint is that of the folder before the work directory was moved or copied.

    Args:
        *args: Arguments of :class:`mmengine.hooks.CheckpointHook`.
        iteration_interval: Iterations between replacements of ``interrupted.pth``; None: it is not written.
        **kwargs: Arguments of :class:`mmengine.hooks.CheckpointHook`.

    Raises:
        InputError: If ``iteration_interval`` is below 1.
    """

    def __init__(self, *args: Any, iteration_interval: int | None = 500, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if iteration_interval is not None and iteration_interval < 1:
            raise InputError(f'iteration_interval={iteration_interval}: give at least 1, or None')
        self.iteration_interval = iteration_interval
        self._interrupted_due = False

    def before_train(self, runner: Any) -> None:
        """Find the best checkpoint so far."""
        super().before_train(runner)
        self._set_best_paths(
            {key: path and self._path(os.path.basename(path)) for key, path in self._best_paths().items()}
        )

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Save by iterations, if the config says so, and ``interrupted.pth`` when it is due."""
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        if self.iteration_interval is not None:
            self._interrupted_due |= self.every_n_train_iters(runner, self.iteration_interval)
        if self._interrupted_due and runner.optim_wrapper.should_update():
            self._interrupted_due = False
            runner.call_hook('before_writing')
            save_interrupted(runner)

    def _path(self, name: str) -> str:
        path: str = self.file_backend.join_path(self.out_dir, name)
        return path

    def _save_checkpoint_with_step(self, runner: Any, step: int, meta: dict[str, Any]) -> None:
        runner.call_hook('before_writing')
        outdated = []
        if self.max_keep_ckpts > 0 and not (self.keep_ckpt_ids and self.keep_ckpt_ids[-1] == step):
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                outdated.append(self._path(self.filename_tmpl.format(self.keep_ckpt_ids.popleft())))
            self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self._path(name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():
            write_pointer(runner.work_dir, self.last_ckpt)
            self._remove(outdated)

    def _save_best_checkpoint(self, runner: Any, metrics: dict[str, float]) -> None:
        runner.call_hook('before_writing')
        before = self._best_paths()
        # The parent removes the checkpoints that it finds here.
        self._set_best_paths(dict.fromkeys(before))
        try:
            super()._save_best_checkpoint(runner, metrics)
        finally:
            found = self._best_paths()
            self._set_best_paths({key: found[key] or before[key] for key in before})
        if is_main_process():
            self._remove([path for key, path in before.items() if path and found[key] not in (None, path)])

    def _best_paths(self) -> dict[str, str | None]:
        """Best checkpoints by the metrics that choose them."""
        if hasattr(self, 'best_ckpt_path_dict'):
            return dict(self.best_ckpt_path_dict)
        return {'': getattr(self, 'best_ckpt_path', None)}

    def _set_best_paths(self, paths: dict[str, str | None]) -> None:
        if hasattr(self, 'best_ckpt_path_dict'):
            self.best_ckpt_path_dict = paths
        elif hasattr(self, 'best_ckpt_path'):
            self.best_ckpt_path = paths['']

    def _remove(self, paths: list[str]) -> None:
        for path in paths:
            if self.file_backend.isfile(path):
                self.file_backend.remove(path)
            elif self.file_backend.isdir(path):
                self.file_backend.rmtree(path)
