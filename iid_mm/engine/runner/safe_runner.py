# SPDX-License-Identifier: Apache-2.0
"""The runner of all tools."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.model import MMDistributedDataParallel, is_model_wrapper
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from iid_mm.datasets.loader_workers import harden_loader
from iid_mm.engine.hooks import FiniteLossHook, StopHook
from iid_mm.engine.runner.distributed import check_sync_bn, join_cpu_processes
from iid_mm.errors import InputError
from iid_mm.registry import RUNNERS
from iid_mm.utils.checkpoint import load_from_source, load_weights, prepare_resuming, trusted_checkpoints
from iid_mm.utils.config import pipeline_input_size
from iid_mm.utils.files import reason_of, replacing
from iid_mm.utils.latest_checkpoint import checkpoint_folders, find_checkpoint

TEMPORARY = '.{}.tmp'
"""Name of a checkpoint while it is written."""


@RUNNERS.register_module()
class SafeRunner(Runner):
    """MMEngine's runner with safe checkpoints, clean stops and distributed training on CPUs.

    * A checkpoint, whatever hook writes it, appears whole or not at all. Loading one whose keys or shapes are
      not the model's is an error, and unpickling anything but weights and training history is refused unless
      the config sets ``trust_checkpoint = True``.
    * Resuming without a name takes a checkpoint of the work directory, never one of another folder.
    * Training ends when losses or weights are no longer finite, and saves when a signal asks it to end.
    * Data loader workers need few open files, and a worker that hangs or dies ends the run.
    * Parts of the model that do not fit each other, and metrics that cannot be computed on their dataset, are
      refused before training.
    * Without a GPU, processes communicate through gloo. ``sync_bn = 'torch'`` in a config computes batch norm
      statistics over all processes; it needs GPUs.

    Models, modules, hooks and metrics take part by what they offer:

    * ``model.check_wiring(size)`` is called with the input size (w, h) once the model is built;
    * a module with a true ``has_unstored_weights`` is initialized before hooks copy the model;
    * a hook's ``during_training()`` is a context manager around training, and hooks with a true ``runs_last``
      come after all others;
    * ``metric.check_dataset(dataset, name)`` may refuse the dataset of its data loader ``name``.

    Attributes:
        saved_position: ``epoch`` and ``iter`` of the last checkpoint that training can resume from.
    """

    saved_position: dict[str, int] | None = None
    _load_from: str | None

    def setup_env(self, env_cfg: dict[str, Any]) -> None:
        """Set up processes and libraries as the config's ``env_cfg`` says."""
        join_cpu_processes(self._launcher, env_cfg.get('dist_cfg'))
        super().setup_env(env_cfg)

    def build_model(self, model: nn.Module | dict[str, Any]) -> nn.Module:
        """Build the model.

        Raises:
            InputError: If its parts do not fit each other.
        """
        built: nn.Module = super().build_model(model)
        check_wiring = getattr(built, 'check_wiring', None)
        if check_wiring is not None and (size := _input_size(self.cfg)) is not None:
            check_wiring(size)
        return built

    def wrap_model(self, model_wrapper_cfg: dict[str, Any] | None, model: nn.Module) -> nn.Module:
        """Wrap the model for distributed training; in a single process it stays as it is.

        Raises:
            InputError: If the config's ``sync_bn`` is not available on this device.
        """
        if self.distributed:
            check_sync_bn(self.cfg.get('sync_bn'))
        if self.distributed and not torch.cuda.is_available() and model_wrapper_cfg is None:
            return MMDistributedDataParallel(
                module=model,
                broadcast_buffers=False,
                find_unused_parameters=self.cfg.get('find_unused_parameters', False),
            )
        return super().wrap_model(model_wrapper_cfg, model)

    @staticmethod
    def build_dataloader(dataloader: Any, *args: Any, **kwargs: Any) -> DataLoader[Any]:
        """Build a data loader, see :func:`~iid_mm.datasets.loader_workers.harden_loader`.

        The arguments are those of :meth:`mmengine.runner.Runner.build_dataloader`.
        """
        return harden_loader(Runner.build_dataloader(dataloader, *args, **kwargs))

    def build_val_loop(self, loop: Any) -> Any:
        """Build the validation loop.

        Raises:
            InputError: If a metric cannot be computed on the validation data.
        """
        return _check_metrics(super().build_val_loop(loop), 'val_dataloader')

    def build_test_loop(self, loop: Any) -> Any:
        """Build the test loop.

        Raises:
            InputError: If a metric cannot be computed on the test data.
        """
        return _check_metrics(super().build_test_loop(loop), 'test_dataloader')

    def register_hooks(self, default_hooks: Any = None, custom_hooks: Any = None) -> None:
        """Register the config's hooks, and those that every training needs."""
        super().register_hooks(default_hooks, custom_hooks)
        present = {type(hook) for hook in self.hooks}
        for needed in (FiniteLossHook, StopHook):
            if needed not in present:
                self.register_hook(needed())

    def register_hook(self, hook: Any, priority: Any = None) -> None:
        """Register a hook; those that run last stay behind it."""
        super().register_hook(hook, priority)
        self._hooks.sort(key=lambda registered: getattr(registered, 'runs_last', False))

    def train(self) -> nn.Module:
        """Train.

        Returns:
            The model.

        Raises:
            StoppedError: If a signal asked for it; a checkpoint has been written.
        """
        for handler in self.logger.handlers:
            if isinstance(handler, logging.FileHandler):
                handler.handleError = _raise  # type: ignore[method-assign]
        if is_main_process():
            self._remove_leftovers()
        # Pretrained weights are loaded within.
        with trusted_checkpoints(self._trusts_checkpoints), _short_thread_errors(), ExitStack() as stack:
            for module in self.model.modules():
                # EMAHook copies the model before its weights are initialized, and weights that no checkpoint
                # holds would never reach the copy.
                if getattr(module, 'has_unstored_weights', False):
                    module.init_weights()
            for hook in self.hooks:
                if hasattr(hook, 'during_training'):
                    stack.enter_context(hook.during_training())
            model: nn.Module = super().train()
        return model

    def load_or_resume(self) -> None:
        """Load the checkpoint that the config names, or find the one to resume from.

        Raises:
            InputError: If there are checkpoints to resume from and none of them can be read.
        """
        if self._resume is True and self._load_from is None and not self._has_loaded:
            found, told = find_checkpoint(self.work_dir, self._other_folders)
            if told:
                self.logger.warning(told)
            if found is None:
                self.logger.info(f'no checkpoint in {self.work_dir} yet; training starts from the beginning')
                return
            self._load_from = str(found)
        super().load_or_resume()

    def resume(self, filename: str, *args: Any, **kwargs: Any) -> None:
        """Resume training from a checkpoint.

        Args:
            filename: The file.
            *args: Further arguments of :meth:`mmengine.runner.Runner.resume`.
            **kwargs: The same.

        Raises:
            InputError: As :meth:`load_checkpoint`, or if the optimizer, the schedules or the history in the
                file are not of this run.
        """
        try:
            super().resume(filename, *args, **kwargs)
        except InputError:
            raise
        # What optimizers, schedulers and MMEngine's message hub raise for a state that is not theirs.
        except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InputError(
                f'checkpoint {filename} cannot be resumed from: {reason}; its optimizer, schedules or '
                'history are not of this config. Start anew from its weights with load_from=...'
            ) from error

    def load_checkpoint(
        self,
        filename: str,
        map_location: str | Callable[..., Any] = 'cpu',
        strict: bool = True,
        revise_keys: list[tuple[str, str]] | None = None,
    ) -> dict[str, Any]:
        """Load a checkpoint into the model.

        Args:
            filename: The file, or its address.
            map_location: Not used: weights are read to the CPU and copied from there.
            strict: Not used: all keys must match.
            revise_keys: Not used.

        Returns:
            The checkpoint.

        Raises:
            FileNotFoundError: If there is no such file.
            InputError: If the file cannot be read, is of another model, or training is to be resumed
                and the file does not say where it stood.
        """
        with trusted_checkpoints(self._trusts_checkpoints):
            checkpoint = load_from_source(filename)
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        model = self.model.module if is_model_wrapper(self.model) else self.model
        load_weights(model, checkpoint, name=filename)
        if self._resume:
            prepare_resuming(checkpoint, filename, self.work_dir)
        self._has_loaded = True
        self.logger.info(f'loaded checkpoint {filename}')
        return checkpoint

    def save_checkpoint(self, out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        """Save a checkpoint; a file of that name is replaced once the new one is complete.

        Args:
            out_dir: The folder. At an address such as ``s3://...`` the storage itself must write atomically.
            filename: The name.
            *args: Further arguments of :meth:`mmengine.runner.Runner.save_checkpoint`.
            **kwargs: The same.

        Raises:
            InputError: If the file cannot be written; the one before is still there.
        """
        by_epoch = kwargs.get('by_epoch', True)
        position = dict(epoch=self.epoch + by_epoch, iter=self.iter + (not by_epoch))
        position |= {name: count for name, count in (kwargs.get('meta') or {}).items() if name in position}
        if '://' in str(out_dir):
            super().save_checkpoint(out_dir, filename, *args, **kwargs)
        elif is_main_process():
            path = Path(out_dir, filename)
            try:
                # A name of its own, by which `_remove_leftovers` knows it.
                place = path.with_name(TEMPORARY.format(path.name))
                with replacing(path, place, durable=True) as temporary:
                    super().save_checkpoint(out_dir, os.path.relpath(temporary, out_dir), *args, **kwargs)
            except OSError as error:
                raise InputError(
                    f'checkpoint {path} could not be written: {reason_of(error)}; earlier checkpoints '
                    'are intact. Free disk space or choose another --work-dir, and continue with --resume'
                ) from error
        if kwargs.get('save_optimizer', True):
            self.saved_position = position

    @property
    def _trusts_checkpoints(self) -> bool:
        return bool(self.cfg.get('trust_checkpoint', False))

    @property
    def _other_folders(self) -> list[str]:
        """Folders beside the work directory that hold checkpoints of this run."""
        return checkpoint_folders(self.work_dir, self.cfg.get('default_hooks'))

    def _remove_leftovers(self) -> None:
        """Remove checkpoints that were being written when a run was killed."""
        for folder in (self.work_dir, *self._other_folders):
            for path in Path(folder).glob(TEMPORARY.format('*.pth')):
                path.unlink(missing_ok=True)


def build_runner(cfg: Config) -> SafeRunner:
    """Build the runner of a config: :class:`SafeRunner`, or the subclass that ``runner_type`` names.

    Raises:
        InputError: If there is no such runner, or it is no :class:`SafeRunner`: MMEngine's own would run code
            that checkpoints hold.
    """
    name = cfg.get('runner_type', SafeRunner.__name__)
    # Not `RUNNERS.build`, which looks names up in the current scope; that scope is set by the runner.
    runner_class = RUNNERS.get(name)
    if runner_class is None or not issubclass(runner_class, SafeRunner):
        raise InputError(f"runner_type={name!r}: must be 'SafeRunner' or the name of a subclass of it")
    runner: SafeRunner = runner_class.from_cfg(cfg)
    return runner


def _input_size(cfg: Config) -> tuple[int, int] | None:
    """Input size (w, h) of the config's test pipeline; None if it sets none."""
    try:
        return pipeline_input_size(cfg)
    except InputError:
        return None


def _check_metrics(loop: Any, name: str) -> Any:
    """Let the metrics of a loop check its dataset."""
    dataset = getattr(getattr(loop, 'dataloader', None), 'dataset', None)
    for metric in getattr(getattr(loop, 'evaluator', None), 'metrics', ()):
        if dataset is not None and hasattr(metric, 'check_dataset'):
            metric.check_dataset(dataset, name)
    return loop


def _raise(record: logging.LogRecord) -> None:
    """Let a log that cannot be written, as on a full disk, end training like any other file."""
    raise


@contextmanager
def _short_thread_errors() -> Iterator[None]:
    """Report a log that a thread cannot write in one line; the next one written here ends training."""
    before = threading.excepthook

    def report(args: threading.ExceptHookArgs) -> None:
        if isinstance(args.exc_value, OSError):
            print(f'warning: a log cannot be written: {args.exc_value}', file=sys.stderr)
        else:
            before(args)

    threading.excepthook = report
    try:
        yield
    finally:
        threading.excepthook = before
