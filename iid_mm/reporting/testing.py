# SPDX-License-Identifier: Apache-2.0
"""Test one checkpoint on several sets and write the report."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.logging import print_log

from iid_mm.datasets.index import read_index
from iid_mm.errors import InputError
from iid_mm.evaluation.eval_sets import (
    VALIDATION,
    EvalSet,
    check_eval_set,
    check_eval_sets,
    find_eval_sets,
    validation_set,
)
from iid_mm.reporting.document import (
    PLOTS_FOLDER,
    REPORT_FILE,
    VIDEO_SCORES_FILE,
    compute,
    report_content,
    video_table,
    write_report,
    write_video_table,
)
from iid_mm.reporting.options import ReportOptions
from iid_mm.reporting.plots import report_plots
from iid_mm.reporting.protocol import CONFIG_FILE, command_line, config_text, protocol_card
from iid_mm.reporting.scoring import score_sets
from iid_mm.reporting.text import localization_table, main_table, report_text
from iid_mm.utils.files import sha256, write_text
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
        _write(request, described, card, list(records.values()), chosen, obstacle)
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
    from iid_mm.evaluation.localization.config import add_localization

    measured = [test_set.name for test_set in sets if _has_masks(test_set)]
    # Without any masks the error of the first set says so.
    names = measured or [sets[0].name]
    changed = []
    for test_set in sets:
        if test_set.name in names:
            local = Config(
                dict(model=cfg.model, test_dataloader=test_set.dataloader, test_evaluator=cfg.test_evaluator)
            )
            add_localization(local)
            cfg.model = local.model
            metrics = tuple(dict(metric) for metric in local.test_evaluator[len(_list(cfg.test_evaluator)) :])
            test_set = replace(test_set, dataloader=local.test_dataloader.to_dict(), metrics=metrics)
        changed.append(test_set)
    return changed


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _has_masks(test_set: EvalSet) -> bool:
    for path in test_set.indices:
        table = read_index(path, columns=['mask', 'split', 'label'])
        chosen = (
            (pc.field('split') == test_set.split) & (pc.field('label') == 1) & pc.field('mask').is_valid()
        )
        if table.filter(chosen).num_rows:
            return True
    return False


def _write(
    request: TestRequest,
    cfg: Config,
    card: dict[str, Any],
    records: list[dict[str, Any]],
    validation: dict[str, Any] | None,
    obstacle: str,
) -> None:
    folder, options = request.out_dir, request.options
    computed = compute(folder, records, validation, obstacle, options)
    write_text(folder / CONFIG_FILE, config_text(cfg))
    write_video_table(video_table(computed, records), folder / VIDEO_SCORES_FILE)
    plots = folder / PLOTS_FOLDER
    for old in plots.glob('*.png'):
        old.unlink()
    threshold = computed.threshold.value
    drawn = [
        path
        for tested in computed.sets
        for path in report_plots(tested, plots, threshold=threshold, confidence=options.confidence)
    ]
    names = [CONFIG_FILE, VIDEO_SCORES_FILE, *(path.relative_to(folder).as_posix() for path in drawn)]
    names += [
        record[kind]['file']
        for record in records + ([validation] if validation else [])
        for kind in ('scores', 'localization_scores')
        if record[kind] is not None
    ]
    run = {
        'date': datetime.now(timezone.utc).isoformat(timespec='seconds'),
        'command': command_line(request.command),
    }
    hashes = {name: sha256(folder / name) for name in names}
    content = report_content(computed, card, records, validation, obstacle, options, run, hashes)
    write_report(content, report_text(content), folder)
    _log(content, folder)


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
