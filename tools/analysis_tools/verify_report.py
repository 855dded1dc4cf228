#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Verify a report of tools/test.py: recompute all its metrics from the stored scores and compare them.

Exit status: 0 if everything agrees, 1 if anything differs; every difference is listed.
Example: python tools/analysis_tools/verify_report.py work_dirs/x/report_best --checkpoint best.pth
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from iid_mm.reporting.verification import verify_report
from iid_mm.utils.cli import run_tool
from iid_mm.utils.files import printable, sha256


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('report', type=Path, help='folder of the report')
    parser.add_argument('--checkpoint', type=Path, help='checkpoint file that the report claims to be about')
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    if args.checkpoint is not None and not args.checkpoint.is_file():
        raise FileNotFoundError(f'checkpoint {args.checkpoint} does not exist')
    found = verify_report(args.report, args.checkpoint)
    for text in found.checked:
        print(f'agrees      {printable(text)}')
    for text in found.unchecked:
        print(f'not checked {printable(text)}')
    for text in found.problems:
        print(f'DIFFERS     {printable(text)}')
    print(f'SHA-256 of report.json: {sha256(args.report / "report.json")}')
    if found.problems:
        number = len(found.problems)
        plural = '' if number == 1 else 's'
        print(f'The report does not agree with its scores: {number} difference{plural}')
        return 1
    print('The report agrees with its scores. Only a new test can show that they are those of the checkpoint')
    return 0


if __name__ == '__main__':
    sys.exit(run_tool(main))
