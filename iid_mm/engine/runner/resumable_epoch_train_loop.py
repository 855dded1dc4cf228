# SPDX-License-Identifier: Apache-2.0
"""Training by epochs that resumes at any iteration."""

from __future__ import annotations

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
    :class:`~iid_mm.datasets.ForgerySampler`, so that nothing is loaded only to be thrown away. All
    arguments are those of :class:`mmengine.runner.EpochBasedTrainLoop`.
    """

    def run(self) -> nn.Module:
        """Train.

        Returns:
            The model.

        Raises:
            InputError: If the data do not fill a batch, or training is resumed and the number of iterations
                of an epoch has changed, by which the place within the data would be lost.
        """
        length = len(self.dataloader)
        if length == 0:
            raise InputError(
                f'the training set has {len(self.dataloader.dataset)} samples, which do not fill a batch of '
                f'{self.dataloader.batch_size} in each process, and drop_last=True leaves out what is not '
                'full; lower train_dataloader.batch_size or prepare more data'
            )
        before = self.runner.message_hub.get_info(LENGTH_KEY)
        if self._iter > 0 and before not in (None, length):
            raise InputError(
                f'the run was started with {before} iterations an epoch and there are {length} now; resume '
                'with the data and the total batch size that it was started with, or start anew from its '
                'weights with load_from=...'
            )
        self.runner.message_hub.update_info(LENGTH_KEY, length)
        return super().run()

    def run_epoch(self) -> None:
        """Run the rest of the epoch.

        Raises:
            InputError: If the epoch has begun and the sampler cannot skip.
        """
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        done = self._iter - self._epoch * len(self.dataloader)
        self._skip(done)
        for idx, data_batch in enumerate(self.dataloader, start=done):
            self.run_iter(idx, data_batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

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
                "skip; use sampler=dict(type='ForgerySampler') or resume from an epoch_*.pth"
            )
        self.runner.logger.info(f'resuming within epoch {self._epoch + 1} after {done} iterations')
        sampler.skip(done * self.dataloader.batch_size)
