# SPDX-License-Identifier: Apache-2.0
"""Scoring several test sets with one loaded model; every finished set is on disk at once."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pyarrow as pa
import torch
from mmengine.config import Config
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log
from mmengine.runner import Runner

from iid_mm.engine import SafeRunner
from iid_mm.errors import InputError
from iid_mm.evaluation.eval_sets import VALIDATION, EvalSet
from iid_mm.evaluation.scores import read_scores
from iid_mm.reporting.protocol import device_name, library_versions, settings_sha256
from iid_mm.utils.files import sha256
from iid_mm.utils.finished import finished_record, mark_finished, read_record
from iid_mm.utils.parquet import open_parquet

SCORES_FOLDER = 'frame_scores'
LOCALIZATION_FOLDER = 'localization'
_SETTINGS_KEY = b'iid_mm.preparation'
# They change how fast a set is read, not what is computed.
_LOADER_KEYS = ('num_workers', 'persistent_workers', 'prefetch_factor', 'pin_memory', 'sampler', 'dataset')
_PLACES = ('data_root', 'ann_file', 'backend_args')
_METRIC = ('ForgeryAUC', 'iid_mm.ForgeryAUC')
_LOCALIZATION = ('ArtifactLocalization', 'iid_mm.ArtifactLocalization')


def score_sets(
    cfg: Config,
    checkpoint: Path,
    sets: Mapping[str, tuple[EvalSet, pa.Table]],
    folder: Path,
    resume: bool = False,
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Load a model once and score all sets.

    Args:
        cfg: Config of a run, with launcher and work directory; it is not changed.
        checkpoint: The weights.
        sets: By name, the sets and their samples, from :func:`~iid_mm.evaluation.eval_sets.check_eval_set`.
        folder: The report's folder.
        resume: Whether sets are skipped that an earlier run of the same checkpoint on the same data finished.

    Returns:
        The records of the sets by name, see :meth:`ScoringJob.score`, and ``meta`` of the checkpoint.
    """
    cfg = copy.deepcopy(cfg)
    # A GPU chooses its algorithms by the shape of the input, not by what is fastest at the moment.
    cfg.setdefault('env_cfg', {})
    cfg.env_cfg.cudnn_benchmark = False
    torch.backends.cudnn.deterministic = True
    runner = SafeRunner.from_cfg(cfg)
    runner.call_hook('before_run')
    meta = runner.load_checkpoint(str(checkpoint)).get('meta') or {}
    job = ScoringJob(cfg, sha256(checkpoint), folder, resume)
    records = {name: job.score(runner, *entry) for name, entry in sets.items()}
    runner.call_hook('after_run')
    return records, meta


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
        """File of the scores of a set."""
        return self.folder / SCORES_FOLDER / f'{name}.parquet'

    def localization_file(self, name: str) -> Path:
        """File of the localization metrics of the frames of a set."""
        return self.folder / LOCALIZATION_FOLDER / f'{name}.parquet'

    def record_file(self, name: str) -> Path:
        """File that says what the scores of a set were made from."""
        return self.scores_file(name).with_suffix('.json')

    def score(self, runner: Runner, test_set: EvalSet, table: pa.Table) -> dict[str, Any]:
        """Score one set, or reuse the scores of an earlier run.

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
        path = self.record_file(test_set.name)
        shared = [finished_record(path, source) if self.resume else None]
        # One process decides: all must score, or none.
        broadcast_object_list(shared)
        record = shared[0]
        if record is not None:
            print_log(f'test set {test_set.name}: scored before, not scored again', logger='current')
        else:
            if is_main_process():
                path.unlink(missing_ok=True)
            metrics = self._run(runner, test_set)
            if not is_main_process():
                return {}
            facts, files = self._facts(test_set, table, metrics)
            record = mark_finished(path, source, files, indices=indices, **facts)
        # The report lists them with the others.
        return {key: value for key, value in record.items() if key != 'files'}

    def _settings(self, test_set: EvalSet) -> str:
        """Hash of everything but weights and data that affects a score."""
        return settings_sha256(
            {
                'dataset': {k: v for k, v in test_set.dataset.items() if k not in _PLACES},
                'loader': {k: v for k, v in test_set.dataloader.items() if k not in _LOADER_KEYS},
                'model': self.cfg.model,
                'metrics': self._other_metrics(test_set),
                'test_cfg': self.cfg.get('test_cfg'),
                'libraries': library_versions(),
                'device': device_name(),
            }
        )

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
        # The dataset of the previous loop is freed first.
        runner._test_loop = None
        runner._test_dataloader = test_set.dataloader
        runner._test_evaluator = self._evaluator(test_set)
        runner._test_loop = runner.build_test_loop(copy.deepcopy(self.cfg.get('test_cfg') or dict()))
        metrics: dict[str, Any] = runner.test_loop.run()
        return metrics

    def _facts(
        self, test_set: EvalSet, table: pa.Table, metrics: Mapping[str, Any]
    ) -> tuple[dict[str, Any], list[Path]]:
        """What the record of a scored set says, and the files that were written."""
        path, located = self.scores_file(test_set.name), self.localization_file(test_set.name)
        methods = test_set.dataset.get('methods')
        scored = read_scores(path).coded('video_key').names
        localized = any(name.startswith('localization/') for name in metrics)
        facts = {
            'name': test_set.name,
            'split': test_set.split,
            'methods': None if methods is None else list(methods),
            'frames_per_video': test_set.dataset.get('frames_per_video'),
            'coverage': coverage_facts(test_set, table, scored),
            'scores': self._file_entry(path),
            'localization_scores': self._file_entry(located) if localized else None,
        }
        return facts, [path, located] if localized else [path]

    def _file_entry(self, path: Path) -> dict[str, str]:
        return {'file': path.relative_to(self.folder).as_posix(), 'sha256': sha256(path)}


def index_facts(test_set: EvalSet) -> list[dict[str, Any]]:
    """Describe the indices of a set.

    Args:
        test_set: The set.

    Returns:
        For every index ``file`` (name), ``sha256`` and ``preparation``: the settings it was made with,
        None where they are not stored.
    """
    facts = []
    for path in test_set.indices:
        with open_parquet(path) as file:
            stored = (file.schema_arrow.metadata or {}).get(_SETTINGS_KEY)
        settings = None if stored is None else _preparation_settings(stored, path)
        facts.append({'file': path.name, 'sha256': sha256(path), 'preparation': settings})
    return facts


def _preparation_settings(stored: bytes, path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(stored)
    except (ValueError, RecursionError) as error:
        settings = error
    if not isinstance(settings, dict):
        raise InputError(
            f'{path}: its metadata {_SETTINGS_KEY.decode()} is no JSON object ({str(settings)[:80]!r})'
        )
    return settings


def coverage_facts(test_set: EvalSet, table: pa.Table, scored: npt.NDArray[Any]) -> dict[str, Any]:
    """Find out which videos have no score, and why.

    Args:
        test_set: The set.
        table: Its samples, from :func:`~iid_mm.evaluation.eval_sets.check_eval_set`.
        scored: Keys of the videos that have a score.

    Returns:
        Plain data:

        * ``videos``: number of videos in the index, one entry for each dataset, method and label.
        * ``unscored``: videos in the index that have no score.
        * ``without_face``: prepared videos of this split in which no face was found, each with
          ``video_key``, ``dataset``, ``method``, ``label``; None if that is not known.
        * ``without_face_any_split``: number of such videos in all splits; None if not known.
        * ``listed_but_absent``: number of videos that the dataset lists but that were not on disk.
        * ``left_out``: number of videos that the preparation left out, by reason.
        * ``compressions``: compression levels.
    """
    columns = ['video_key', 'dataset', 'method', 'label']
    videos = table.group_by([*columns, 'compression']).aggregate([])
    counts = (
        videos.group_by(columns[1:])
        .aggregate([('video_key', 'count')])
        .rename_columns({'video_key_count': 'videos'})
    )
    found = set(scored.tolist())
    rows = sorted(videos.select(columns).to_pylist(), key=lambda row: str(row['video_key']))
    reports = [read_record(index.parent / 'report.json') for index in test_set.indices]
    try:
        return {
            'videos': sorted(
                counts.select([*columns[1:], 'videos']).to_pylist(),
                key=lambda row: tuple(row[name] for name in columns[1:]),
            ),
            'unscored': [row for row in rows if row['video_key'] not in found],
            'without_face': _without_face(reports, test_set),
            'without_face_any_split': _sum(_faceless_count(report) for report in reports),
            'listed_but_absent': _sum(_length(report, 'missing') for report in reports),
            'left_out': _left_out(reports),
            'compressions': sorted(videos['compression'].unique().to_pylist()),
        }
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f'report.json beside an index of test set {test_set.name} lacks an entry or has one of the wrong '
            f'kind ({error!r}); prepare the set again, or remove it'
        ) from error


def _faceless_count(report: Mapping[str, Any]) -> int | None:
    methods = report.get('methods')
    if not isinstance(methods, dict):
        return None
    return sum(int(counts.get('videos_without_face', 0)) for counts in methods.values())


def _without_face(reports: Sequence[Mapping[str, Any]], test_set: EvalSet) -> list[dict[str, Any]] | None:
    """Videos without a face in the set's split, sorted; None if a report does not list the splits."""
    found: list[dict[str, Any]] = []
    chosen = test_set.dataset.get('methods')
    for report in reports:
        listed = report.get('without_face')
        if isinstance(listed, list):
            for video in listed:
                is_chosen = chosen is None or not video['label'] or video['method'] in chosen
                if video['split'] == test_set.split and is_chosen:
                    dataset = str(video['key']).split('/', 1)[0]
                    kept = {'video_key': video['key'], 'dataset': dataset}
                    found.append(kept | {name: video[name] for name in ('method', 'label')})
        elif _faceless_count(report) != 0:
            return None
    return sorted(found, key=lambda video: str(video['video_key']))


def _length(report: Mapping[str, Any], name: str) -> int | None:
    values = report.get(name)
    return len(values) if isinstance(values, list) else None


def _left_out(reports: Sequence[Mapping[str, Any]]) -> dict[str, int] | None:
    reasons: dict[str, int] = {}
    for report in reports:
        listed = report.get('left_out')
        if not isinstance(listed, dict):
            return None
        for reason in listed.values():
            reasons[str(reason)] = reasons.get(str(reason), 0) + 1
    return dict(sorted(reasons.items()))


def _sum(values: Iterable[int | None]) -> int | None:
    total = 0
    for value in values:
        if value is None:
            return None
        total += value
    return total
