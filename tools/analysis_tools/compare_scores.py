#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Compare two models on the same videos, using scores files of tools/test.py.

Prints for every manipulation, for every dataset and for all videos: the video AUC of both models, the
difference B - A with an interval from a paired bootstrap, and a p-value, the probability of a difference at
least this large if both models were equally good. The column "p (Holm)" is corrected for the number of rows.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from iid_mm.evaluation.functional.aggregate import AGGREGATIONS
from iid_mm.evaluation.scores import read_scores
from iid_mm.reporting.comparison import GROUPS, compare_scores, comparison_table, conclusion
from iid_mm.utils.cli import run_tool
from iid_mm.utils.files import write_json


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('a', type=Path, metavar='A.parquet', help='scores of model A, e.g. the baseline')
    parser.add_argument('b', type=Path, metavar='B.parquet', help='scores of model B')
    parser.add_argument('--how', default='mean', choices=AGGREGATIONS, help='frame aggregation (mean)')
    parser.add_argument('--top-k', type=int, default=3, help='frames used by --how topk (default: 3)')
    parser.add_argument('--level', type=float, default=0.95, help='confidence level (default: 0.95)')
    parser.add_argument('--resamples', type=int, default=1000, help='bootstrap resamples (default: 1000)')
    parser.add_argument('--seed', type=int, default=0, help='seed of the bootstrap (default: 0)')
    parser.add_argument(
        '--groups',
        choices=GROUPS,
        help='resample people instead of videos; needed if people appear in several videos',
    )
    parser.add_argument('--json', type=Path, help='JSON file for the metrics')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    found = compare_scores(
        *(read_scores(args.a), read_scores(args.b)),
        how=args.how,
        k=args.top_k,
        level=args.level,
        resamples=args.resamples,
        seed=args.seed,
        groups=args.groups,
    )
    print(f'A: {args.a}\nB: {args.b}\n')
    print(comparison_table(found))
    if found.unequal_frames:
        print(f'\nNote: A and B have different numbers of frames in {found.unequal_frames} videos.')
    print(f'\n{conclusion(found)}')
    if args.json:
        report = {
            'a': str(args.a),
            'b': str(args.b),
            'how': args.how,
            'top_k': args.top_k if args.how == 'topk' else None,
            'level': args.level,
            'resamples': args.resamples,
            'seed': args.seed,
            'groups': args.groups,
            'num_groups': found.num_groups,
            'unequal_frames': found.unequal_frames,
            'rows': [row.as_dict() for row in found.rows],
            'conclusion': conclusion(found),
        }
        args.json.parent.mkdir(parents=True, exist_ok=True)
        write_json(args.json, report)


if __name__ == '__main__':
    sys.exit(run_tool(main))
