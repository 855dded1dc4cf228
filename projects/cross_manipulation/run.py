# SPDX-License-Identifier: Apache-2.0
"""Train on some manipulations and test on all: one run per training set, seed and config, and one table.

Leave one manipulation out, two configs to compare, three seeds:
  python projects/cross_manipulation/run.py configs/baseline_r18_ffpp.py configs/iid_r18_ffpp.py \\
      --leave-one-out --seeds 0 1 2
Train on one, test on all:
  python projects/cross_manipulation/run.py configs/iid_effb4_ffpp.py --one-vs-rest

You can stop it at any time (Ctrl+C, SIGTERM, power failure); the same command resumes. The best checkpoint of
a run is chosen on validation videos of its training manipulations only.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cross_manipulation.cross_manipulation import CrossManipulation
from cross_manipulation.plan import Kind, ProtocolOptions, make_plan
from cross_manipulation.run_state import KEEP
from iid_mm.evaluation.functional.aggregate import AGGREGATIONS
from iid_mm.utils.cli import add_config_options, run_tool

TOOLS = Path(__file__).resolve().parents[2] / 'tools'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('configs', nargs='+', type=Path, help='configs to compare')
    sets = parser.add_argument_group('training sets (choose one)').add_mutually_exclusive_group(required=True)
    sets.add_argument('--leave-one-out', action='store_true', help='train on all manipulations but one')
    sets.add_argument('--one-vs-rest', action='store_true', help='train on one manipulation')
    sets.add_argument('--num-seen', type=int, metavar='K', help='train on each choice of K manipulations')
    sets.add_argument(
        '--train-sets', nargs='+', metavar='A+B', help='explicit sets, e.g. Deepfakes Face2Face+FaceSwap'
    )
    data = parser.add_argument_group('training and testing')
    data.add_argument('--methods', nargs='+', help='manipulations of the protocol (default: all)')
    data.add_argument('--test-methods', nargs='+', help='manipulations to test on (default: --methods)')
    data.add_argument('--seeds', nargs='+', type=int, default=[0], help='one run per seed (default: 0)')
    data.add_argument(
        '--select',
        choices=['best', 'last'],
        default='best',
        help='checkpoint to test: best on the validation split (default) or last',
    )
    data.add_argument('--how', default='mean', choices=AGGREGATIONS, help='frame aggregation (default: mean)')
    data.add_argument('--amp', action='store_true', help='automatic mixed precision')
    data.add_argument('--auto-scale-lr', action='store_true', help='scale the rate with the batch size')
    add_config_options(parser)
    work = parser.add_argument_group('execution')
    work.add_argument('--work-dir', type=Path, help='(default: work_dirs/cross_<training sets>)')
    work.add_argument('--jobs', type=int, default=1, metavar='N', help='parallel runs, one thread each (1)')
    work.add_argument('--gpus', type=int, default=1, metavar='N', help='processes per run, one per GPU (1)')
    work.add_argument(
        '--keep-checkpoints',
        choices=KEEP,
        default='best-and-last',
        help='checkpoints of a finished run to keep; best is the tested one',
    )
    work.add_argument('--overwrite', action='store_true', help='restart runs made with other settings')
    work.add_argument('--dry-run', action='store_true', help='only write the configs and print the commands')
    return parser.parse_args()


def read_options(args: argparse.Namespace) -> ProtocolOptions:
    kind: Kind = 'train-sets'
    if args.leave_one_out:
        kind = 'leave-one-out'
    elif args.one_vs_rest:
        kind = 'one-vs-rest'
    elif args.num_seen is not None:
        kind = 'num-seen'
    flags = {'--amp': args.amp, '--auto-scale-lr': args.auto_scale_lr}
    return ProtocolOptions(
        configs=args.configs,
        kind=kind,
        train_sets=args.train_sets or (),
        num_seen=1 if args.num_seen is None else args.num_seen,
        methods=args.methods,
        test_methods=args.test_methods,
        seeds=args.seeds,
        work_dir=args.work_dir,
        cfg_options=args.cfg_options or {},
        processes=args.gpus,
        flags=[flag for flag, is_set in flags.items() if is_set],
        select=args.select,
        how=args.how,
        keep=args.keep_checkpoints,
        overwrite=args.overwrite,
    )


def main() -> int:
    args = parse_args()
    plan = make_plan(read_options(args))
    protocol = CrossManipulation(plan, TOOLS, args.jobs)
    if args.dry_run:
        plan.write()
        print('\n'.join([protocol.describe(), *protocol.commands()]))
        return 0
    return protocol.execute()


if __name__ == '__main__':
    sys.exit(run_tool(main))
