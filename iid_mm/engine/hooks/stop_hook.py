# SPDX-License-Identifier: Apache-2.0
"""Stop training on a signal, with a checkpoint to resume from."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce, barrier, get_world_size
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner

from iid_mm.engine.hooks.checkpoint_hook import INTERRUPTED, save_interrupted
from iid_mm.errors import StoppedError
from iid_mm.registry import HOOKS

STATUS_STOPPED, STATUS_CTRL_C = 75, 130
"""Exit status of a run that was asked to stop and saved: EX_TEMPFAIL (try again later), or as of any command
after Ctrl+C."""

SIGNALS = tuple(name for name in ('SIGTERM', 'SIGUSR1', 'SIGINT') if hasattr(signal, name))
ECHO = 1.0
"""Seconds within which a repeated signal counts as the same: terminals and launchers both send Ctrl+C."""


@HOOKS.register_module()
class StopHook(Hook):
    """Save a checkpoint and stop training on SIGTERM, SIGUSR1 (as Slurm's ``--signal`` sends) or Ctrl+C.

    Training stops after the current iteration and writes ``interrupted.pth``, from which ``--resume``
    continues with the same results. The processes of a distributed run agree on the iteration, within
    ``interval`` iterations. A validation is interrupted if training can resume from the state before it. A
    second Ctrl+C exits at once. :class:`~iid_mm.engine.SafeRunner` registers the hook itself.

    Args:
        interval: Iterations between agreements of several processes; None: 1 on CPUs, 10 on GPUs, where an
            agreement waits for the work that is queued.
    """

    # After all others, so that checkpoint hooks have saved and schedulers stand at the next iteration.
    priority = 'LOWEST'
    runs_last = True

    def __init__(self, interval: int | None = None) -> None:
        self.interval = interval or (10 if torch.cuda.is_available() else 1)
        self._asked = 0
        self._since = 0.0
        self._process = 0
        self._training = False

    @contextmanager
    def during_training(self) -> Iterator[None]:
        """Note signals within the block instead of their usual effect."""
        self._asked, self._training, self._process = 0, True, os.getpid()
        is_main = threading.current_thread() is threading.main_thread()
        before = {name: signal.signal(getattr(signal, name), self._note) for name in SIGNALS if is_main}
        stopped = False
        try:
            yield
        except StoppedError:
            # Once the first process has ended, launchers ask the others to end: they are ending already.
            stopped = get_world_size() > 1
            raise
        finally:
            self._training = False
            for name, handler in before.items() if not stopped else ():
                signal.signal(getattr(signal, name), handler if handler is not None else signal.SIG_DFL)

    def _note(self, number: int, frame: Any) -> None:
        """Handle a signal."""
        if os.getpid() != self._process:
            # A child process that has not set its own handlers yet.
            return
        again = self._asked and time.monotonic() - self._since > ECHO
        if again and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self._asked:
            self._asked, self._since = number, time.monotonic()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Stop if the processes agree on it and no gradients are being accumulated."""
        if not runner.optim_wrapper.should_update():
            return
        due = get_world_size() == 1 or self.every_n_train_iters(runner, self.interval)
        if due and (number := self._agreed()):
            self._stop(runner, number, dict(epoch=runner.epoch, iter=runner.iter + 1))

    def after_train_epoch(self, runner: Runner) -> None:
        """Stop before a validation."""
        if number := self._agreed():
            self._stop(runner, number, dict(epoch=runner.epoch + 1, iter=runner.iter))

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Stop within a validation if no other process has to agree."""
        if not (self._asked and self._training):
            return
        position = dict(epoch=runner.epoch, iter=runner.iter)
        if getattr(runner, 'saved_position', None) == position:
            raise _stopped(self._asked, 'the checkpoint of the epoch')
        # Processes may have different numbers of batches here, so they cannot agree on one; and EMAHook has
        # exchanged the model's weights for their moving average.
        if get_world_size() == 1 and not any(isinstance(hook, EMAHook) for hook in runner.hooks):
            self._stop(runner, self._asked, position)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Stop after a validation, when its result has been used."""
        if self._training and (number := self._agreed()):
            self._stop(runner, number, dict(epoch=runner.epoch, iter=runner.iter))

    def _agreed(self) -> int:
        """The signal that any process received; 0 for none. All processes must call this."""
        if get_world_size() == 1:
            return self._asked
        device = 'cuda' if torch.distributed.get_backend() == 'nccl' else 'cpu'
        number = torch.tensor(self._asked, device=device)
        all_reduce(number, op='max')
        return int(number)

    def _stop(self, runner: Runner, number: int, position: dict[str, int]) -> None:
        """Save, unless a checkpoint of this position exists, and end training."""
        name = 'the checkpoint of the epoch'
        if getattr(runner, 'saved_position', None) != position:
            runner.call_hook('before_writing')
            save_interrupted(runner, position)
            name = str(Path(runner.work_dir) / INTERRUPTED)
        # All must be written before the first process leaves, upon which launchers end the others.
        barrier()
        raise _stopped(number, name)


def _stopped(number: int, name: str) -> StoppedError:
    """The error that ends training after a signal."""
    by_user = number == signal.SIGINT
    asked = 'Ctrl+C' if by_user else signal.Signals(number).name
    return StoppedError(
        f'{asked}: training stopped, {name} holds its state; continue with --resume',
        STATUS_CTRL_C if by_user else STATUS_STOPPED,
    )
