# SPDX-License-Identifier: Apache-2.0
"""The cells of a robustness test and what is kept of them."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from iid_mm.datasets.functional.distortion import CLEAN, strength
from iid_mm.datasets.transforms.distort import VIDEO
from iid_mm.errors import InputError
from iid_mm.evaluation.eval_sets import EvalSet
from iid_mm.reporting.provenance import library_versions, settings_sha256
from iid_mm.utils.files import sha256, write_text

# They say where data lie and how they are loaded, not what comes out.
_PLACES = ('data_root', 'ann_file', 'backend_args', 'originals', 'test_mode', 'lazy_init', 'serialize_data')
_VERSIONS = ('iid-mm', 'torch', 'numpy', 'opencv-python', 'av')


@dataclass(frozen=True)
class Cell:
    """One distortion at one level; level 0 is the clean set.

    Attributes:
        kind: Name of the distortion, '' for the clean set.
        level: 0 to 5.
    """

    kind: str = ''
    level: int = CLEAN

    @property
    def name(self) -> str:
        """Name in files and messages."""
        return f'{self.kind}_{self.level}' if self.level else 'clean'

    @property
    def value(self) -> float | None:
        """Strength of the distortion."""
        return strength(self.kind, self.level) if self.level else None


def make_cells(kinds: Sequence[str], levels: Sequence[int]) -> list[Cell]:
    """List all cells, the clean set first."""
    return [Cell(), *(Cell(kind, level) for kind in kinds for level in levels)]


def cell_loader(test_set: EvalSet, cell: Cell, originals: dict[str, Any] | None = None) -> dict[str, Any]:
    """Config of the data loader that gives the distorted samples of a cell.

    Args:
        test_set: The clean set.
        cell: The cell.
        originals: Where the original videos are, see
            :class:`~robustness.datasets.VideoForgeryDataset`; None: compress crops.

    Returns:
        A new config.

    Raises:
        InputError: The set's pipeline does not load images with LoadForgeryPair, or its dataset cannot give
            whole videos.
    """
    loader = copy.deepcopy(test_set.dataloader)
    if cell.level == CLEAN:
        return loader
    dataset = loader['dataset']
    pipeline = list(dataset['pipeline'])
    names = [str(step['type']).split('.')[-1] for step in pipeline]
    if 'LoadForgeryPair' not in names:
        raise InputError(
            f'the test pipeline ({", ".join(names)}) has no LoadForgeryPair, after which images are distorted'
        )
    transform = 'DistortOriginal' if originals is not None and cell.kind == VIDEO else 'DistortFace'
    step = dict(type=transform, kind=cell.kind, level=cell.level)
    pipeline.insert(names.index('LoadForgeryPair') + 1, step)
    dataset['pipeline'] = pipeline
    if cell.kind == VIDEO:
        if str(dataset['type']).split('.')[-1] != 'ForgeryDataset':
            raise InputError(f'{VIDEO} needs the dataset ForgeryDataset, the config has {dataset["type"]}')
        dataset['type'] = 'VideoForgeryDataset'
        dataset['originals'] = originals
        # The batch sampler takes only the dataset from it.
        loader['sampler'] = dict(type='DefaultSampler', shuffle=False)
        loader['batch_sampler'] = dict(type='VideoBatchSampler')
    return loader


def versions() -> dict[str, str]:
    """Versions of what decides the scores of a cell."""
    found = library_versions()
    if 'av' not in found:
        from importlib.metadata import version

        found['av'] = version('av')
    return {name: found[name] for name in _VERSIONS if name in found}


class CellStore:
    """Scores of finished cells in a folder.

    A cell is a Parquet file of scores and a JSON file that says what they were made from; the latter is
    written last. Scores are used again only if everything that decides them is the same: weights, model,
    index, choice of samples, pipeline, distortion, and the versions of the libraries.

    Args:
        folder: Where to keep them.
        cfg: Config with ``model``.
        checkpoint: Checkpoint file.
        test_set: The set.
        originals: See :func:`cell_loader`.
    """

    def __init__(
        self,
        folder: Path,
        cfg: Config,
        checkpoint: str | os.PathLike[str],
        test_set: EvalSet,
        originals: dict[str, Any] | None = None,
    ) -> None:
        self.folder = folder
        self.checkpoint_sha256 = sha256(checkpoint)
        self.index_sha256 = [sha256(path) for path in test_set.indices]
        self._cfg = cfg
        self._test_set = test_set
        self._originals = originals

    def scores_file(self, cell: Cell) -> Path:
        """The Parquet file of a cell."""
        return self.folder / f'{cell.name}.parquet'

    def settings(self, cell: Cell) -> dict[str, Any]:
        """Everything that decides the scores of a cell."""
        loader = cell_loader(self._test_set, cell, self._originals)
        return {
            'checkpoint': self.checkpoint_sha256,
            'index': self.index_sha256,
            'model': self._cfg.model.to_dict(),
            'test_cfg': dict(self._cfg.test_cfg),
            'dataset': {key: value for key, value in loader['dataset'].items() if key not in _PLACES},
            'batch_size': loader['batch_size'],
            'value': cell.value,
            'originals': self._originals['layout'] if self._originals and cell.kind == VIDEO else None,
            'versions': versions(),
        }

    def finished(self, cell: Cell) -> bool:
        """Whether the cell's scores are there and were made from what is given now."""
        record = self.record(cell)
        path = self.scores_file(cell)
        if (
            record is None
            or record.get('settings') != settings_sha256(self.settings(cell))
            or not path.is_file()
        ):
            return False
        return bool(record.get('scores') == sha256(path))

    def record(self, cell: Cell) -> dict[str, Any] | None:
        """What is noted of a cell: ``settings`` and ``scores`` (hashes) and ``seconds``; None: nothing."""
        try:
            content = json.loads(self._record_file(cell).read_text(encoding='utf-8'))
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) else None

    def begin(self, cell: Cell) -> None:
        """Forget what was noted of a cell, before its scores are written anew."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._record_file(cell).unlink(missing_ok=True)

    def finish(self, cell: Cell, seconds: float) -> None:
        """Note that the scores of a cell have been written."""
        record = {
            'settings': settings_sha256(self.settings(cell)),
            'scores': sha256(self.scores_file(cell)),
            'seconds': round(seconds, 2),
        }
        write_text(self._record_file(cell), json.dumps(record, indent=1) + '\n')

    def _record_file(self, cell: Cell) -> Path:
        return self.folder / f'{cell.name}.json'
