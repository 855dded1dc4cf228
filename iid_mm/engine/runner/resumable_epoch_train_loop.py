# SPDX-License-Identifier: Apache-2.0
"""Training by epochs that resumes at any iteration."""

from __future__ import annotations

from typing import Any

from mmengine.runner import EpochBasedTrainLoop
from torch import nn

from iid_mm.errors import InputError
from iid_mm.registry import LOOPS

LENGTH_KEY = 'iterations_per_epoch'
"""Name in the message hub, which is part of every checkpoint."""


@LOOPS.register_module()
class ResumableEpochTrainLoop(EpochBasedTrainLoop):
    """MMEngine's epoch loop, except that a checkpoint from within an epoch resumes within it.

    The parent would start the epoch again. Needs a sampler with ``skip``, such as
    :class:`~iid_mm.datasets.resumable_sampler.ResumableSampler`, so that nothing is loaded only to be thrown
    away. All arguments are those of :class:`mmengine.runner.EpochBasedTrainLoop`.

    Gradients that are accumulated over several iterations (``optim_wrapper.accumulative_counts``) are not
    part of checkpoints. Unlike the parent's, the last step of an epoch therefore uses what there is, be it
    fewer iterations, and a checkpoint from before a step is not resumed from.

    Raises:
        InputError: If the data do not fill a batch.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Here, because schedules are made of the length of an epoch before the run begins.
        loader = self.dataloader
        if len(loader) == 0:
            raise InputError(
                f'an epoch has {len(loader.sampler)} of {len(loader.dataset)} training samples in each '
                f'process, which do not fill a batch of {loader.batch_size}, and drop_last=True leaves out '
                'what is not full; lower train_dataloader.batch_size, raise the size of the sampler if it '
                'has one, or prepare more data'
            )

    def run(self) -> nn.Module:
        """Train.

        Returns:
            The model.

        Raises:
            InputError: If training is resumed and the number of iterations of an epoch has changed, by which
                the place within the data would be lost.
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
        return super().run()

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
                f'the checkpoint stands at iteration {done} of an epoch, between two steps of the optimizer, '
                'and the gradients accumulated so far are not stored; resume from interrupted.pth or an '
                'epoch_*.pth, with the optim_wrapper.accumulative_counts that the run was started with'
            )

    def _skip(self, done: int) -> None:
        if done == 0:
            return
        length = len(self.dataloader)
        if not 0 < done <= length:
            raise InputError(
                f'the checkpoint stands at iteration {self._iter} of epoch {self._epoch}, which does not '
                f'fit {length} iterations an epoch; resume with the data and the total batch size that '
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
