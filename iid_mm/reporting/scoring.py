# SPDX-License-Identifier: Apache-2.0
"""Scoring several test sets with one loaded model; every finished set is on disk at once."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from mmengine.config import Config
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log
from mmengine.runner import Runner

from iid_mm.evaluation.eval_sets import VALIDATION, EvalSet
from iid_mm.evaluation.scores import read_scores
from iid_mm.reporting.prepared import coverage_facts, index_facts
from iid_mm.reporting.provenance import device_name, library_versions, settings_sha256
from iid_mm.utils.files import read_json, sha256, write_text

SCORES_FOLDER = 'frame_scores'
LOCALIZATION_FOLDER = 'localization'
# They change how fast a set is read, not what is computed.
_LOADER_KEYS = ('num_workers', 'persistent_workers', 'prefetch_factor', 'pin_memory', 'sampler', 'dataset')
_PLACES = ('data_root', 'ann_file', 'backend_args')
_METRIC = ('ForgeryAUC', 'iid_mm.ForgeryAUC')
_LOCALIZATION = ('ArtifactLocalization', 'iid_mm.ArtifactLocalization')


@dataclass(frozen=True)
class ScoringJob:
    """What is scored, and with what.

    Attributes:
        cfg: Config with model and ``test_evaluator``.
        checkpoint_sha256: Hash of the checkpoint.
        folder: The report's folder.
        resume: Whether sets are skipped whose scores are there already.
    """

    cfg: Config
    checkpoint_sha256: str
    folder: Path
    resume: bool = False

    def scores_file(self, name: str) -> Path:
        """Where the scores of a set go."""
        return self.folder / SCORES_FOLDER / f'{name}.parquet'

    def localization_file(self, name: str) -> Path:
        """Where the metrics of localization of a set's frames go."""
        return self.folder / LOCALIZATION_FOLDER / f'{name}.parquet'

    def record_file(self, name: str) -> Path:
        """Where it is noted what the scores of a set were made from."""
        return self.scores_file(name).with_suffix('.json')

    def score(self, runner: Runner, test_set: EvalSet, table: pa.Table) -> dict[str, Any]:
        """Score one set, or take the scores of an earlier run over.

        Args:
            runner: Has the model and its weights.
            test_set: The set.
            table: Its samples, from :func:`~iid_mm.evaluation.eval_sets.check_eval_set`.

        Returns:
            The set's record, in the main process; elsewhere an empty dictionary.

        Raises:
            InputError: A score is NaN, or an image cannot be read.
        """
        indices = index_facts(test_set)
        source = {
            'checkpoint_sha256': self.checkpoint_sha256,
            'index_sha256': [facts['sha256'] for facts in indices],
            'settings_sha256': self._settings(test_set),
        }
        shared = [self.finished_record(test_set.name, source) if self.resume else None]
        # One process decides: all must score, or none.
        broadcast_object_list(shared)
        if shared[0] is not None:
            print_log(f'test set {test_set.name}: scored before, not scored again', logger='current')
            return shared[0]
        if is_main_process():
            self.record_file(test_set.name).unlink(missing_ok=True)
        metrics = self._run(runner, test_set)
        if not is_main_process():
            return {}
        return self._write_record(test_set, table, indices, source, metrics)

    def finished_record(self, name: str, source: Mapping[str, Any]) -> dict[str, Any] | None:
        """Record of an earlier run of the same checkpoint on the same data; None if there is none."""
        try:
            record = read_json(self.record_file(name))
            is_whole = record['source'] == source and self._has(record['scores'], self.scores_file(name))
            if is_whole and record['localization_scores'] is not None:
                is_whole = self._has(record['localization_scores'], self.localization_file(name))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return dict(record) if is_whole else None

    @staticmethod
    def _has(said: Mapping[str, Any], path: Path) -> bool:
        """Whether a record is of this file, as it is."""
        return path.is_file() and said['sha256'] == sha256(path)

    def _settings(self, test_set: EvalSet) -> str:
        """Hash of all that decides a score but weights and data."""
        dataset = {k: v for k, v in test_set.dataset.items() if k not in _PLACES}
        loader = {k: v for k, v in test_set.dataloader.items() if k not in _LOADER_KEYS}
        others = self._other_metrics(test_set)
        plain = {'dataset': dataset, 'loader': loader, 'model': self.cfg.model, 'metrics': others}
        software = {'libraries': library_versions(), 'device': device_name()}
        return settings_sha256(plain | software | {'test_cfg': self.cfg.get('test_cfg')})

    def _metrics(self) -> list[dict[str, Any]]:
        configured = self.cfg.get('test_evaluator') or dict(type='ForgeryAUC')
        several = configured if isinstance(configured, Sequence) else [configured]
        return [copy.deepcopy(dict(metric)) for metric in several]

    def _other_metrics(self, test_set: EvalSet) -> list[dict[str, Any]]:
        if test_set.name == VALIDATION:
            return []
        others = [metric for metric in self._metrics() if metric['type'] not in _METRIC]
        return others + [copy.deepcopy(metric) for metric in test_set.metrics]

    def _evaluator(self, test_set: EvalSet) -> list[dict[str, Any]]:
        ours = [metric for metric in self._metrics() if metric['type'] in _METRIC]
        metric: dict[str, Any] = ours[0] if ours else dict(type='ForgeryAUC')
        metric.update(
            scores_file=str(self.scores_file(test_set.name)),
            image_root=str(test_set.root),
            split=test_set.split,
            print_table=False,
        )
        others = self._other_metrics(test_set)
        for other in others:
            if other['type'] in _LOCALIZATION:
                other.update(
                    samples_file=str(self.localization_file(test_set.name)),
                    image_root=str(test_set.root),
                    print_table=False,
                )
        return [metric, *others]

    def _run(self, runner: Runner, test_set: EvalSet) -> dict[str, Any]:
        print_log(f'test set {test_set.name}, split {test_set.split}', logger='current')
        # The dataset of the loop before is freed first.
        runner._test_loop = None
        runner._test_dataloader = test_set.dataloader
        runner._test_evaluator = self._evaluator(test_set)
        runner._test_loop = runner.build_test_loop(copy.deepcopy(self.cfg.get('test_cfg') or dict()))
        metrics: dict[str, Any] = runner.test_loop.run()
        return metrics

    def _write_record(
        self,
        test_set: EvalSet,
        table: pa.Table,
        indices: list[dict[str, Any]],
        source: Mapping[str, Any],
        metrics: Mapping[str, Any],
    ) -> dict[str, Any]:
        path = self.scores_file(test_set.name)
        frames = read_scores(path)
        dataset = test_set.dataset
        located = self.localization_file(test_set.name)
        localization = {
            name: float(value) if math.isfinite(value) else None
            for name, value in sorted(metrics.items())
            if name.startswith('localization/')
        }
        record = {
            'name': test_set.name,
            'split': test_set.split,
            'methods': None if dataset.get('methods') is None else list(dataset['methods']),
            'frames_per_video': dataset.get('frames_per_video'),
            'indices': indices,
            'coverage': coverage_facts(test_set, table, frames.coded('video_key').names),
            'source': dict(source),
            'scores': {'file': f'{SCORES_FOLDER}/{path.name}', 'sha256': sha256(path)},
            'localization': localization,
            'localization_scores': {
                'file': f'{LOCALIZATION_FOLDER}/{located.name}',
                'sha256': sha256(located),
            }
            if localization
            else None,
        }
        write_json(record, self.record_file(test_set.name))
        return record


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Write plain data as JSON, the same bytes for the same data; the file is there whole or not at all.

    NaN and infinity, which JSON lacks, are refused.
    """
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + '\n')
