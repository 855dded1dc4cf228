# SPDX-License-Identifier: Apache-2.0
"""State of a run, read from its folder."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cross_manipulation.selection_record_hook import PROGRESS, RECORD
from cross_manipulation.settings import Tree, differences, digest
from iid_mm.errors import InputError
from iid_mm.utils.files import write_json
from iid_mm.utils.finished import finished_record, read_record
from iid_mm.utils.latest_checkpoint import find_checkpoint

Status = Literal['new', 'partial', 'trained', 'finished', 'changed']

SETTINGS, TRAINED, FINISHED, FAILED = 'settings.json', 'trained.json', 'finished.json', 'failed.json'
SCORES, LOCK = 'scores.parquet', 'lock'
KEEP = ('none', 'best', 'best-and-last', 'all')
_TRAINING_SHARE = 0.95


@dataclass(frozen=True)
class Choice:
    """The checkpoint of a run that is tested.

    Attributes:
        checkpoint: The file.
        epoch: Epochs it was trained for; None where it is not known.
        score: Its metric on the validation split; None if the last checkpoint is taken.
    """

    checkpoint: Path
    epoch: int | None
    score: float | None


class RunState:
    """The folder of a run, compared with the current settings.

    Args:
        directory: The folder.
        settings: The settings, see :func:`~cross_manipulation.settings.run_settings`.
    """

    def __init__(self, directory: Path, settings: Tree) -> None:
        self.directory = directory
        self.settings = settings
        self.train_hash = digest(settings['train'])
        self.test_hash = digest(settings['test'])

    @property
    def scores(self) -> Path:
        """Scores of the test split."""
        return self.directory / SCORES

    @property
    def finished(self) -> dict[str, Any]:
        """The marker of a finished run, empty if it is not finished or not with these settings."""
        source = {'train': self.train_hash, 'test': self.test_hash}
        return finished_record(self.directory / FINISHED, source) or {}

    @property
    def trained(self) -> dict[str, Any]:
        """The marker of a run whose checkpoint is chosen and still there, else empty."""
        marker = finished_record(self.directory / TRAINED, {'train': self.train_hash}) or {}
        return marker if marker and (self.directory / marker['checkpoint']).is_file() else {}

    def changes(self) -> list[str]:
        """What of the training settings differs from those that the folder was made with."""
        stored = read_record(self.directory / SETTINGS)
        return differences(stored['train'], self.settings['train']) if 'train' in stored else []

    def status(self) -> Status:
        """How far the run is."""
        if self.finished:
            return 'finished'
        has_results = (self.directory / FINISHED).is_file() or any(self.directory.glob('*.pth'))
        if self.changes():
            return 'changed' if has_results else 'new'
        if self.trained:
            return 'trained'
        return 'partial' if self.resumable() else 'new'

    def resumable(self) -> Path | None:
        """The newest checkpoint that training can go on from; one that is cut off does not count."""
        try:
            return find_checkpoint(self.directory)[0]
        except InputError:
            return None

    def progress(self) -> float:
        """Share of the run that is done, 0 to 1; an estimate."""
        if self.finished:
            return 1.0
        if self.changes():
            return 0.0
        content = read_record(self.directory / PROGRESS)
        share = content.get('iter', 0) / max(content.get('max_iters', 1), 1)
        return _TRAINING_SHARE * min(share, 1.0)

    def choose(self, select: str) -> Choice:
        """Say which checkpoint is tested, once training has ended.

        Args:
            select: 'best' or 'last'.

        Returns:
            The choice.

        Raises:
            InputError: There is no such checkpoint.
        """
        if select == 'last':
            last = self.resumable()
            if last is None:
                raise InputError(f'{self.directory} has no checkpoint of the end of training')
            validations = read_record(self.directory / RECORD).get('validations', [])
            return Choice(last, validations[-1]['epoch'] if validations else None, None)
        validations = read_record(self.directory / RECORD).get('validations', [])
        name = validations[-1]['best_checkpoint'] if validations else None
        if name is None or not (self.directory / name).is_file():
            raise InputError(
                f'{self.directory}: training has ended without a validation that chose a checkpoint; look at '
                'train_cfg.val_interval, train_cfg.val_begin and default_hooks.checkpoint.save_best'
            )
        score = validations[-1]['best_score']
        first = next(v for v in validations if v['best_checkpoint'] == name)
        return Choice(self.directory / name, first['epoch'], float(score))

    def begin(self) -> None:
        """Note the settings before anything is run; what belongs to other settings goes."""
        if self.changes():
            self.clear()
        if self.resumable() is None:
            for name in (PROGRESS, RECORD):
                (self.directory / name).unlink(missing_ok=True)
        write_json(self.directory / SETTINGS, self.settings)
        (self.directory / FAILED).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove all that the folder holds, except the lock, which may be held."""
        for path in self.directory.iterdir() if self.directory.is_dir() else ():
            if path.name == LOCK:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def prune(self, keep: str) -> None:
        """Remove checkpoints of a finished run that are not to be kept.

        Args:
            keep: 'none', 'best' (the one that was tested), 'best-and-last' or 'all'.
        """
        if keep == 'all':
            return
        kept = {self.trained.get('checkpoint')} if keep != 'none' else set()
        if keep == 'best-and-last':
            last = [*self.directory.glob('epoch_*.pth'), *self.directory.glob('iter_*.pth')]
            kept |= {path.name for path in sorted(last, key=lambda path: path.stat().st_mtime_ns)[-1:]}
        for path in self.directory.glob('*.pth'):
            if path.name not in kept:
                path.unlink()
        (self.directory / 'last_checkpoint').unlink(missing_ok=True)
