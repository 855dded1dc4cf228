# SPDX-License-Identifier: Apache-2.0
"""What both runners do so that training loses nothing and waits for nobody."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from iid_mm.datasets.loader_workers import harden_loader
from iid_mm.engine.hooks import FiniteLossHook, StopHook
from iid_mm.errors import InputError
from iid_mm.utils.files import reason_of
from iid_mm.utils.latest_checkpoint import checkpoint_folders, find_checkpoint

TEMPORARY = '.{}.tmp'
"""Name of a checkpoint while it is written."""


class SafeTraining:
    """Part of a runner, in front of MMEngine's class.

    * Checkpoints, of whatever hook, appear whole or not at all.
    * Resuming without a name takes a checkpoint of the work directory and never of another folder.
    * Training ends when losses or weights are no longer finite, and saves when it is asked to end.
    * Data loaders have workers that need few open files and are not waited for without end.
    * A validation that its metric cannot compute is refused before training.

    Attributes:
        saved_position: ``epoch`` and ``iter`` of the last checkpoint that training can go on from.
    """

    saved_position: dict[str, int] | None = None

    @staticmethod
    def build_dataloader(dataloader: Any, *args: Any, **kwargs: Any) -> DataLoader[Any]:
        """Build a data loader.

        Args:
            dataloader: The data loader or its config.
            *args: Of the parent.
            **kwargs: Of the parent.

        Returns:
            The data loader.
        """
        return harden_loader(Runner.build_dataloader(dataloader, *args, **kwargs))

    def build_val_loop(self, loop: Any) -> Any:
        """Build the loop that validates.

        Args:
            loop: The loop or its config.

        Returns:
            The loop.

        Raises:
            InputError: If a metric cannot be computed of its data.
        """
        return _checked(super().build_val_loop(loop), 'val_dataloader')  # type: ignore[misc]

    def build_test_loop(self, loop: Any) -> Any:
        """Build the loop that tests.

        Args:
            loop: The loop or its config.

        Returns:
            The loop.

        Raises:
            InputError: If a metric cannot be computed of its data.
        """
        return _checked(super().build_test_loop(loop), 'test_dataloader')  # type: ignore[misc]

    def register_hooks(self, default_hooks: Any = None, custom_hooks: Any = None) -> None:
        """Register the hooks of the config and those that every training needs.

        Args:
            default_hooks: The config's ``default_hooks``.
            custom_hooks: The config's ``custom_hooks``.
        """
        super().register_hooks(default_hooks, custom_hooks)  # type: ignore[misc]
        present = {type(hook) for hook in self.hooks}  # type: ignore[attr-defined]
        for needed in (FiniteLossHook, StopHook):
            if needed not in present:
                self.register_hook(needed())

    def register_hook(self, hook: Any, priority: Any = None) -> None:
        """Register a hook.

        Args:
            hook: The hook or its config.
            priority: Its priority.
        """
        super().register_hook(hook, priority)  # type: ignore[misc]
        # All others have done their part of an iteration before training stops behind it.
        self._hooks.sort(key=lambda registered: isinstance(registered, StopHook))  # type: ignore[attr-defined]

    def train(self) -> nn.Module:
        """Train.

        Returns:
            The model.

        Raises:
            StoppedError: If a signal asked for it; a checkpoint is written.
        """
        for handler in self.logger.handlers:  # type: ignore[attr-defined]
            if isinstance(handler, logging.FileHandler):
                handler.handleError = _raise  # type: ignore[method-assign]
        if is_main_process():
            _remove_leftovers(self)
        stop = next(hook for hook in self.hooks if isinstance(hook, StopHook))  # type: ignore[attr-defined]
        with stop.listening(), _brief_threads():
            model: nn.Module = super().train()  # type: ignore[misc]
        return model

    def load_or_resume(self) -> None:
        """Load the checkpoint that the config names, or find the one to go on from."""
        runner: Any = self
        if runner._resume is True and runner._load_from is None and not runner._has_loaded:
            found, told = find_checkpoint(runner.work_dir, _other_folders(runner))
            if told:
                runner.logger.warning(told)
            if found is None:
                runner.logger.info(f'no checkpoint in {runner.work_dir} yet, so training begins')
                return
            runner._load_from = str(found)
        super().load_or_resume()  # type: ignore[misc]

    def save_checkpoint(self, out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        """Save a checkpoint; a file of that name is replaced once the new one is complete.

        Args:
            out_dir: The folder, or the address of one, for which its storage has to see to that.
            filename: The name.
            *args: Of the parent.
            **kwargs: Of the parent.

        Raises:
            InputError: If the file cannot be written; the one before is still there.
        """
        runner: Any = self
        by_epoch = kwargs.get('by_epoch', True)
        position = dict(kwargs.get('meta') or {})
        position.setdefault('epoch', runner.epoch + by_epoch)
        position.setdefault('iter', runner.iter + (not by_epoch))
        if '://' in str(out_dir):
            super().save_checkpoint(out_dir, filename, *args, **kwargs)  # type: ignore[misc]
        else:
            path = Path(out_dir, filename)
            temporary = path.with_name(TEMPORARY.format(path.name))
            try:
                relative = str(temporary.relative_to(out_dir))
                super().save_checkpoint(out_dir, relative, *args, **kwargs)  # type: ignore[misc]
                if is_main_process():
                    _replace(temporary, path)
            except OSError as error:
                raise InputError(
                    f'checkpoint {path} could not be written: {reason_of(error)}; the checkpoints '
                    'before it are whole. Make room, or choose another --work-dir, and go on with --resume'
                ) from error
            finally:
                if is_main_process():
                    temporary.unlink(missing_ok=True)
        if kwargs.get('save_optimizer', True):
            self.saved_position = {name: position[name] for name in ('epoch', 'iter')}


def _raise(record: logging.LogRecord) -> None:
    """Let a log that cannot be written, as on a full disk, end training like any other file."""
    raise


@contextmanager
def _brief_threads() -> Iterator[None]:
    """Let threads that write logs tell a full disk in a line; the next that they write ends training."""
    before = threading.excepthook

    def tell(args: threading.ExceptHookArgs) -> None:
        if isinstance(args.exc_value, OSError):
            print(f'warning: a log cannot be written: {args.exc_value}', file=sys.stderr)
        else:
            before(args)

    threading.excepthook = tell
    try:
        yield
    finally:
        threading.excepthook = before


def _replace(temporary: Path, path: Path) -> None:
    """Put a file into place, so that also a power cut leaves the old one or the new one."""
    with open(temporary, 'rb+') as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _other_folders(runner: Any) -> list[str]:
    return checkpoint_folders(runner.work_dir, runner.cfg.get('default_hooks'))


def _remove_leftovers(runner: Any) -> None:
    """Remove what a kill left of a checkpoint that was being written."""
    for folder in (runner.work_dir, *_other_folders(runner)):
        for path in Path(folder).glob(TEMPORARY.format('*.pth')):
            path.unlink(missing_ok=True)


def _checked(loop: Any, name: str) -> Any:
    """Let metrics look at the data before they are computed."""
    dataset = getattr(getattr(loop, 'dataloader', None), 'dataset', None)
    for metric in getattr(getattr(loop, 'evaluator', None), 'metrics', ()):
        check = getattr(metric, 'check_dataset', None)
        if check is not None and dataset is not None:
            check(dataset, name)
    return loop
