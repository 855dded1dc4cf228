# SPDX-License-Identifier: Apache-2.0
"""Run the controlled study: train several arms on datasets in which identity predicts the label.

Example:
  export PYTHONPATH=projects/identity_leakage:projects/cross_manipulation
  python projects/identity_leakage/run_study.py work_dirs/identity_leakage/toy --jobs 2

The folder contains the prepared takes (prepared/take0 to take4, see prepare_toy.sh). You can stop it at any
time; the same command resumes. report.md, report.json and report.png are updated after every run.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from identity_leakage.leakage_report import write_report
from identity_leakage.study_run import ARMS, MORE_ARMS, StudyRun, check_data, run_all
from iid_mm.errors import InputError
from iid_mm.utils.cli import run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('root', type=Path, help='folder of the study')
    parser.add_argument('--arms', nargs='+', default=ARMS, choices=(*ARMS, *MORE_ARMS))
    parser.add_argument('--confounds', nargs='+', type=float, default=[0.0, 0.5, 0.9], metavar='C')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2], metavar='S')
    parser.add_argument('--jobs', type=int, default=1, help='parallel runs, one thread each (default: 1)')
    parser.add_argument('--report', action='store_true', help='only write the report of finished runs')
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    if args.jobs < 1:
        raise InputError(f'--jobs {args.jobs}: give at least 1')
    if not args.report:
        check_data(args.root)
        # Seed by seed, so that an unfinished table has all its rows early.
        runs = [
            StudyRun(args.root, arm, confound, seed)
            for seed in args.seeds
            for confound in sorted(args.confounds, reverse=True)
            for arm in args.arms
        ]
        if not run_all(runs, args.jobs):
            return 1
    print(write_report(args.root).read_text())
    return 0


if __name__ == '__main__':
    sys.exit(run_tool(main))
