# SPDX-License-Identifier: Apache-2.0
"""Test one checkpoint on several sets and write the report."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.logging import print_log

from iid_mm.errors import InputError
from iid_mm.evaluation.eval_sets import (
    VALIDATION,
    EvalSet,
    check_eval_set,
    check_eval_sets,
    find_eval_sets,
    validation_set,
)
from iid_mm.evaluation.localization.config import add_localization
from iid_mm.reporting.document import (
    FORMAT,
    PLOTS_FOLDER,
    REPORT_FILE,
    VIDEO_SCORES_FILE,
    compute,
    video_table,
    write_report,
)
from iid_mm.reporting.options import ReportOptions
from iid_mm.reporting.plots import report_plots
from iid_mm.reporting.protocol import CONFIG_FILE, command_line, config_text, protocol_card
from iid_mm.reporting.scoring import score_sets
from iid_mm.reporting.text import localization_table, main_table, report_text
from iid_mm.utils.files import replacing, sha256, write_text
from iid_mm.utils.tables import markdown_table


@dataclass(frozen=True)
class TestRequest:
    """A test that was requested.

    Attributes:
        config_file: The config's file.
        checkpoint: The weights.
        out_dir: The report's folder.
        names: Test sets, see :func:`~iid_mm.evaluation.eval_sets.find_eval_sets`.
        options: How scores become metrics.
        needs_validation: Whether it is an error if no threshold can be chosen on the validation split.
        resume: Whether sets that an earlier run has finished are skipped.
        localization: Whether boxes and heat maps are compared with masks.
        cfg_options: Values that replaced those of the config.
        command: ``sys.argv``.
    """

    __test__ = False

    config_file: Path
    checkpoint: Path
    out_dir: Path
    names: Sequence[str] | None
    options: ReportOptions
    needs_validation: bool = False
    resume: bool = False
    localization: bool = False
    cfg_options: dict[str, Any] = field(default_factory=dict)
    command: Sequence[str] = ()


def run_test(cfg: Config, request: TestRequest) -> Path:
    """Score all sets with one loaded model and write the report.

    Everything that can be checked is checked before the model is built. Scores of finished sets stay in the
    folder when a later set fails.

    Args:
        cfg: Config of a run, with launcher and work directory.
        request: Sets, checkpoint and options.

    Returns:
        The report's folder.

    Raises:
        FileNotFoundError: A set is missing.
        InputError: A set is unknown, empty or damaged, or holds one class only.
    """
    sets = find_eval_sets(cfg, request.names)
    tables = check_eval_sets(sets)
    validation, obstacle = _validation(cfg, request)
    # Localization changes the config.
    described = copy.deepcopy(cfg)
    if request.localization:
        sets = _localizing(cfg, sets)
    scored = validation | {test_set.name: (test_set, tables[test_set.name]) for test_set in sets}
    records, meta = score_sets(cfg, request.checkpoint, scored, request.out_dir, request.resume)
    if is_main_process():
        card = protocol_card(
            *(described, request.config_file, request.cfg_options),
            *(request.checkpoint, sha256(request.checkpoint), meta),
        )
        chosen = records.pop(VALIDATION, None)
        report = {
            'format': FORMAT,
            'run': {
                'date': datetime.now(timezone.utc).isoformat(timespec='seconds'),
                'command': command_line(request.command),
            },
            'protocol': card,
            'options': asdict(request.options),
            'no_validation_because': obstacle or None,
            'test_sets': list(records.values()),
            'validation': chosen,
        }
        write_text(request.out_dir / CONFIG_FILE, config_text(described))
        _write(report, request.out_dir)
    return request.out_dir


def _validation(cfg: Config, request: TestRequest) -> tuple[dict[str, tuple[EvalSet, pa.Table]], str]:
    """The set to choose the threshold on, by name; or none, and why."""
    if request.options.threshold is not None:
        return {}, ''
    try:
        validation = validation_set(cfg)
        return {VALIDATION: (validation, check_eval_set(validation))}, ''
    except (InputError, FileNotFoundError) as error:
        if request.needs_validation:
            raise
        if isinstance(error, FileNotFoundError):
            return {}, 'the set that the config validates on was not there'
        return {}, 'the config has no validation split with genuine and fake videos'


def _localizing(cfg: Config, sets: Sequence[EvalSet]) -> list[EvalSet]:
    """Add localization to the sets that have masks, and heat maps to the model."""
    changed, errors = [], []
    for test_set in sets:
        loader, evaluator = test_set.dataloader, cfg.test_evaluator
        local = Config(dict(model=cfg.model, test_dataloader=loader, test_evaluator=evaluator))
        try:
            add_localization(local)
        except InputError as error:
            errors.append(error)
        else:
            cfg.model = local.model
            own = len(evaluator) if isinstance(evaluator, (list, tuple)) else 1
            metrics = tuple(dict(metric) for metric in local.test_evaluator[own:])
            test_set = replace(test_set, dataloader=local.test_dataloader.to_dict(), metrics=metrics)
        changed.append(test_set)
    if len(errors) == len(sets):
        raise errors[0]
    return changed


def _write(report: dict[str, Any], folder: Path) -> None:
    """Compute the metrics from the scores in the folder and write all files that show them."""
    computed = compute(folder, report)
    with replacing(folder / VIDEO_SCORES_FILE) as temporary:
        pq.write_table(video_table(computed, report), temporary, compression='zstd')
    plots = folder / PLOTS_FOLDER
    for old in plots.glob('*.png'):
        old.unlink()
    names = [CONFIG_FILE, VIDEO_SCORES_FILE]
    choices = {'threshold': computed.threshold.value, 'confidence': report['options']['confidence']}
    for tested in computed.sets:
        names += [path.relative_to(folder).as_posix() for path in report_plots(tested, plots, **choices)]
    for record in [*report['test_sets'], *([report['validation']] if report['validation'] else [])]:
        entries = [record['scores'], record['localization_scores']]
        names += [entry['file'] for entry in entries if entry]
    hashes = {name: sha256(folder / name) for name in sorted(names)}
    report = computed.complete(report) | {'files': hashes}
    write_report(report, report_text(report), folder)
    _log(report, folder)


def _log(content: dict[str, Any], folder: Path) -> None:
    lines = markdown_table(main_table(content['metrics']))
    lines += [f'threshold {content["threshold"]["value"]:.6f}: {content["threshold"]["text"]}']
    if table := localization_table(content['test_sets']):
        lines += ['', *markdown_table(table)]
    lines += [
        f'report: {folder}',
        f'SHA-256 of {REPORT_FILE}: {sha256(folder / REPORT_FILE)} (note it elsewhere: it shows whether '
        'the report was changed later)',
    ]
    print_log('\n' + '\n'.join(lines), logger='current')
