# SPDX-License-Identifier: Apache-2.0
"""Training by epochs that resumes at any iteration."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn

from iid_mm.errors import InputError
from iid_mm.registry import LOOPS

LENGTH_KEY = 'iterations_per_epoch'
"""Name in the message hub, which is part of every checkpoint."""


@LOOPS.register_module()
class ResumableEpochTrainLoop(EpochBasedTrainLoop):
    """MMEngine's epoch loop, except that it resumes exactly where a checkpoint was written.

    * Within an epoch it continues with the remaining samples; the parent would start the epoch again. This
      needs a sampler with ``skip``, such as :class:`~iid_mm.datasets.resumable_sampler.ResumableSampler`, so
      that no sample is loaded only to be dropped.
    * MMEngine writes the checkpoint of an epoch before it validates the epoch. If training stopped in
      between, the missed validation runs first; otherwise this checkpoint could never become the best one. A
      checkpoint does not show whether its validation has ended, so it may run again, with the same result.
    * Checkpoints do not hold gradients that are accumulated over several iterations
      (``optim_wrapper.accumulative_counts``). The last step of an epoch therefore uses the iterations that
      there are, even if they are fewer, and resuming between two steps is refused.

    All arguments are those of :class:`mmengine.runner.EpochBasedTrainLoop`.

    Raises:
        InputError: If the data do not fill a batch.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Before schedulers are built from the length of an epoch.
        loader = self.dataloader
        if len(loader) == 0:
            raise InputError(
                f'an epoch has {len(loader.sampler)} of {len(loader.dataset)} training samples in each '
                f'process, which do not fill a batch of {loader.batch_size}, and drop_last=True drops '
                'incomplete batches; lower train_dataloader.batch_size, raise the size of the sampler if it '
                'has one, or prepare more data'
            )

    def run(self) -> nn.Module:
        """Train.

        Returns:
            The model.

        Raises:
            InputError: If training resumes and the number of iterations of an epoch has changed, so that the
                position within the data is lost.
        """
        length = len(self.dataloader)
        before = self.runner.message_hub.get_info(LENGTH_KEY)
        if self._iter > 0 and before not in (None, length):
            raise InputError(
                f'the run was started with {before} iterations an epoch and there are {length} now; resume '
                'with the data and the total batch size that it was started with (if they are the same, with '
                'as many processes), or start anew from its weights with load_from=...'
            )
        self.runner.message_hub.update_info(LENGTH_KEY, length)
        self.runner.register_hook(_MissedValidationHook())
        return super().run()

    def missed_validation(self) -> bool:
        """Whether training resumes at the end of an epoch that was to be validated."""
        at_end = self._epoch > 0 and self._iter == self._epoch * len(self.dataloader)
        if self.runner.val_loop is None or not at_end or self._epoch < self.val_begin:
            return False
        return bool(self._epoch % self.val_interval == 0 or self._epoch == self._max_epochs)

    def run_epoch(self) -> None:
        """Run the rest of the epoch.

        Raises:
            InputError: If the epoch has begun and the sampler cannot skip, or gradients were being
                accumulated.
        """
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        done = self._iter - self._epoch * len(self.dataloader)
        self._skip(done)
        self._count_accumulation(done)
        for idx, data_batch in enumerate(self.dataloader, start=done):
            self.run_iter(idx, data_batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def _count_accumulation(self, done: int) -> None:
        wrapper = self.runner.optim_wrapper
        wrapper.initialize_count_status(self.runner.model, done, len(self.dataloader))
        if not wrapper.should_update():
            raise InputError(
                f'the checkpoint was written at iteration {done} of an epoch, between two steps of the '
                'optimizer, and the gradients accumulated so far are not stored; resume from '
                'interrupted.pth or an epoch_*.pth, with the optim_wrapper.accumulative_counts of the run'
            )

    def _skip(self, done: int) -> None:
        if done == 0:
            return
        length = len(self.dataloader)
        if not 0 < done <= length:
            raise InputError(
                f'the checkpoint was written at iteration {self._iter} of epoch {self._epoch}, which does '
                f'not fit {length} iterations an epoch; resume with the data and the total batch size that '
                'the run was started with'
            )
        sampler = self.dataloader.sampler
        if not hasattr(sampler, 'skip'):
            raise InputError(
                f'the checkpoint is from within an epoch and the sampler {type(sampler).__name__} cannot '
                "skip; use sampler=dict(type='ResumableSampler') or resume from an epoch_*.pth"
            )
        self.runner.logger.info(f'resuming within epoch {self._epoch + 1} after {done} iterations')
        sampler.skip(done * self.dataloader.batch_size)


class _MissedValidationHook(Hook):
    """Run a missed validation once all other hooks are ready, before training goes on."""

    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        if runner.train_loop.missed_validation():
            runner.logger.info(f'validating epoch {runner.epoch}, after which training stopped')
            runner.val_loop.run()
