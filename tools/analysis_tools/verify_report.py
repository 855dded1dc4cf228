#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Check a report of tools/test.py: compute all of its metrics again from the stored scores and compare.

Exit status 0: everything agrees; 1: something was changed, each place is named.
Example: python tools/analysis_tools/verify_report.py work_dirs/x/report_best --index ffpp=data/ffpp
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from iid_mm.errors import InputError
from iid_mm.reporting.verification import verify_report
from iid_mm.utils.cli import run_tool
from iid_mm.utils.files import printable, sha256


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('report', type=Path, help="the report's folder")
    parser.add_argument('--checkpoint', type=Path, help='checkpoint that the report should be of')
    parser.add_argument('--config', type=Path, help='config that it should have been made with')
    parser.add_argument(
        '--index',
        action='extend',
        nargs='+',
        default=[],
        metavar='NAME=PATH',
        help='index, or prepared folder, that a test set should be',
    )
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    indices = {}
    for text in args.index:
        name, equals, path = text.partition('=')
        if not equals:
            raise InputError(f'--index {text}: give NAME=PATH, the name of a test set and its index')
        indices[name] = Path(path)
    for path in (args.checkpoint, args.config, *indices.values()):
        if path is not None and not path.exists():
            raise FileNotFoundError(f'{path} does not exist')
    found = verify_report(args.report, checkpoint=args.checkpoint, config=args.config, indices=indices)
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
    print("The report agrees with its scores. That these are the checkpoint's, only a new test can show")
    return 0


if __name__ == '__main__':
    sys.exit(run_tool(main))
