# SPDX-License-Identifier: Apache-2.0
"""Test a detector: print its metrics, or write a report on one or more test sets.

Example: python tools/test.py configs/iid_effb4_ffpp.py best.pth --test-sets ffpp celebdf_v2 dfdc=/data/dfdc
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from mmengine.config import Config

from iid_mm.engine import SafeRunner
from iid_mm.errors import InputError
from iid_mm.evaluation.functional.aggregate import AGGREGATIONS
from iid_mm.evaluation.scores import SCORES_SCHEMA
from iid_mm.reporting import BOOTSTRAP_UNITS, ReportOptions
from iid_mm.reporting.testing import TestRequest, run_test
from iid_mm.utils.cli import add_run_options, add_trust_option, load_run_config, run_tool
from iid_mm.utils.files import check_output


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    add_run_options(parser)
    parser.add_argument('--out', help='without a report: Parquet file for the score of every frame')
    add_trust_option(parser)
    add_report_options(parser.add_argument_group('report (with --test-sets or --out-dir)'))
    return parser.parse_args()


def add_report_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        '--test-sets',
        action='extend',
        nargs='*',
        metavar='SET',
        help='name in test_sets of the config, prepared folder next to its data_root, path, or name=path; '
        'without names: all test_sets of the config; default: its own test set',
    )
    group.add_argument('--out-dir', type=Path, help='report folder (default: WORK_DIR/report_CHECKPOINT)')
    group.add_argument('--resume', action='store_true', help='reuse the scores of finished test sets')
    threshold = group.add_mutually_exclusive_group()
    threshold.add_argument('--threshold', type=float, help='lowest video score classified as fake')
    threshold.add_argument(
        '--threshold-from',
        choices=['val'],
        help='use the EER threshold of the validation split (default if there is one)',
    )
    group.add_argument(
        '--aggregation',
        default='mean',
        choices=AGGREGATIONS,
        help='how frame scores are aggregated to a video score (mean)',
    )
    group.add_argument('--top-k', type=int, default=3, help='number of frames used by --aggregation topk (3)')
    group.add_argument(
        '--missing-as-abstention',
        action='store_true',
        help='count videos without a face as errors in the accuracy',
    )
    group.add_argument('--pooled', action='store_true', help='add metrics pooled over all datasets')
    group.add_argument('--resamples', type=int, default=1000, help='bootstrap resamples (1000)')
    group.add_argument(
        '--bootstrap-over',
        default='videos',
        choices=BOOTSTRAP_UNITS,
        help='what the bootstrap resamples (videos)',
    )
    group.add_argument(
        '--localization', action='store_true', help='evaluate boxes and heat maps against manipulation masks'
    )


def prepare_config(args: argparse.Namespace) -> Config:
    cfg = load_run_config(args)
    if not Path(args.checkpoint).is_file():
        raise FileNotFoundError(f'checkpoint {args.checkpoint} does not exist')
    cfg.load_from, cfg.resume = args.checkpoint, False
    cfg.trust_checkpoint = args.trust_checkpoint
    if args.out is not None:
        check_scores_file(args.out, [args.config, args.checkpoint])
        evaluator = cfg.test_evaluator[0] if isinstance(cfg.test_evaluator, list) else cfg.test_evaluator
        evaluator.scores_file = args.out
    return cfg


def check_scores_file(path: str, inputs: list[str]) -> None:
    """Refuse to overwrite any file, e.g. an index, except scores of an earlier test."""
    check_output(path, inputs)
    if not Path(path).is_file():
        return
    try:
        names = pq.read_schema(path).names
    except (OSError, pa.ArrowException):
        names = []
    if names != SCORES_SCHEMA.names:
        raise InputError(
            f'--out {path} exists and is no scores file, so it is not replaced; name another file'
        )


def make_request(args: argparse.Namespace, cfg: Config) -> TestRequest:
    checkpoint = Path(args.checkpoint)
    return TestRequest(
        config_file=Path(args.config),
        checkpoint=checkpoint,
        out_dir=args.out_dir or Path(cfg.work_dir) / f'report_{checkpoint.stem}',
        names=args.test_sets,
        options=ReportOptions(
            aggregation=args.aggregation,
            top_k=args.top_k,
            missing_as_abstention=args.missing_as_abstention,
            threshold=args.threshold,
            resamples=args.resamples,
            bootstrap_over=args.bootstrap_over,
            pooled=args.pooled,
        ),
        needs_validation=args.threshold_from == 'val',
        resume=args.resume,
        localization=args.localization,
        cfg_options=args.cfg_options or {},
        command=sys.argv,
    )


def main() -> None:
    args = parse_args()
    if args.out_dir is not None and args.out_dir.exists() and not args.out_dir.is_dir():
        raise InputError(f'--out-dir {args.out_dir} is a file; name a folder')
    cfg = prepare_config(args)
    if args.test_sets is None and args.out_dir is None:
        SafeRunner.from_cfg(cfg).test()
        return
    if args.out is not None:
        raise InputError('--out is for tests without a report; the report has all scores in its folder')
    run_test(cfg, make_request(args, cfg))


if __name__ == '__main__':
    sys.exit(run_tool(main))
