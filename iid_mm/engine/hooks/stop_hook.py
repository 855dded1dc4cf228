# SPDX-License-Identifier: Apache-2.0
"""Training that is asked to stop saves where it stands."""

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

from iid_mm.engine.hooks.checkpoint_hook import INTERRUPTED as INTERRUPTED_FILE
from iid_mm.engine.hooks.checkpoint_hook import save_interrupted
from iid_mm.errors import StoppedError
from iid_mm.registry import HOOKS

STOPPED = 75
"""Exit status of a run that saved and ended because it was asked to (EX_TEMPFAIL: try again later)."""

INTERRUPTED = 130
"""Exit status after Ctrl+C, as of any command."""

SIGNALS = tuple(name for name in ('SIGTERM', 'SIGUSR1', 'SIGINT') if hasattr(signal, name))
ECHO = 1.0
"""Seconds within which a signal that comes again is the same one, sent by the terminal and by a launcher."""


@HOOKS.register_module()
class StopHook(Hook):
    """Save a checkpoint and end when a signal asks to: SIGTERM, SIGUSR1 (as Slurm's ``--signal`` sends) or
    Ctrl+C.

    Training ends behind the iteration that is running, with ``interrupted.pth``, from which ``--resume`` goes
    on as if nothing had happened. The processes of a distributed run agree on the iteration, which takes up
    to ``interval`` of them. A validation is broken off if the state before it can be gone on from. A second
    Ctrl+C ends at once. The runners of this package register the hook by themselves.

    Args:
        interval: Iterations between agreements of several processes; None: every one on CPUs, every tenth on
            GPUs, where an agreement waits for what was begun.
    """

    # Behind all others, also the checkpoint hooks, and parameter schedulers are those of the next iteration.
    priority = 'LOWEST'

    def __init__(self, interval: int | None = None) -> None:
        self.interval = interval or (10 if torch.cuda.is_available() else 1)
        self._asked = 0
        self._since = 0.0
        self._process = 0
        self._training = False
        self._meta: dict[str, Any] | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note signals while the block runs, in place of what they do otherwise."""
        self._asked, self._training, self._process = 0, True, os.getpid()
        is_main = threading.current_thread() is threading.main_thread()
        before = {name: signal.signal(getattr(signal, name), self._note) for name in SIGNALS if is_main}
        stopped = False
        try:
            yield
        except StoppedError:
            # Launchers ask the other processes to end when the first one has.
            stopped = get_world_size() > 1
            raise
        finally:
            self._training = False
            for name, handler in before.items() if not stopped else ():
                signal.signal(getattr(signal, name), handler if handler is not None else signal.SIG_DFL)

    def _note(self, number: int, frame: Any) -> None:
        if os.getpid() != self._process:
            # A child between its birth and its own settings.
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
        """Stop within a validation where no other process is needed for it."""
        if not (self._asked and self._training):
            return
        position = dict(epoch=runner.epoch, iter=runner.iter)
        if getattr(runner, 'saved_position', None) == position:
            raise _stopped(self._asked, 'the checkpoint of the epoch')
        # Processes may have different numbers of batches here, so they cannot agree on one; and a moving
        # average has the model's weights in its hands.
        if get_world_size() == 1 and not any(isinstance(hook, EMAHook) for hook in runner.hooks):
            self._stop(runner, self._asked, position)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Stop behind a validation, whose result was used."""
        if self._training and (number := self._agreed()):
            self._stop(runner, number, dict(epoch=runner.epoch, iter=runner.iter))

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Enter the position; flexible runners always enter that of an iteration that is running."""
        if self._meta is not None:
            checkpoint['meta'].update(self._meta)

    def _agreed(self) -> int:
        """The signal that any process got; 0 for none. All processes must call this."""
        if get_world_size() == 1:
            return self._asked
        device = 'cuda' if torch.distributed.get_backend() == 'nccl' else 'cpu'
        number = torch.tensor(self._asked, device=device)
        all_reduce(number, op='max')
        return int(number)

    def _stop(self, runner: Runner, number: int, position: dict[str, int]) -> None:
        name = 'the checkpoint of the epoch'
        if getattr(runner, 'saved_position', None) != position:
            runner.call_hook('before_writing')
            self._meta = position
            try:
                save_interrupted(runner, dict(position))
            finally:
                self._meta = None
            name = str(Path(runner.work_dir) / FILE_NAME)
        # Before the first process leaves, at which launchers end the others, all has to be written.
        barrier()
        raise _stopped(number, name)


def _stopped(number: int, name: str) -> StoppedError:
    status = INTERRUPTED if number == signal.SIGINT else STOPPED
    asked = 'Ctrl+C' if number == signal.SIGINT else signal.Signals(number).name
    return StoppedError(
        f'{asked}: training stopped, {name} holds where it stands; go on with --resume', status
    )
