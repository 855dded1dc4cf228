# SPDX-License-Identifier: Apache-2.0
"""MMEngine's checkpoint hook for disks that fill up and folders that move."""

from __future__ import annotations

import os
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook

from iid_mm.registry import HOOKS
from iid_mm.utils.latest_checkpoint import write_pointer


@HOOKS.register_module()
class CheckpointHook(MMEngineCheckpointHook):
    """MMEngine's hook, which configs get by the same name, with three differences.

    * An outdated checkpoint, or the previous best one, is removed once the new one is written, not before.
    * ``last_checkpoint`` never is half written.
    * The best checkpoint that a resumed run replaces is that of its own folder: the path that a checkpoint
      remembers is that of the folder that a moved or copied work directory had.
    """

    def before_train(self, runner: Any) -> None:
        """Look for the best checkpoint so far."""
        super().before_train(runner)
        self._set_best_paths(
            {key: path and self._path(os.path.basename(path)) for key, path in self._best_paths().items()}
        )

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
        # The parent removes what it finds here.
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
