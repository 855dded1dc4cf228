#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Print the metrics table of a scores file and plot its ROC curves and score histograms."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from iid_mm.evaluation.functional.aggregate import AGGREGATIONS
from iid_mm.evaluation.functional.per_method import format_table, per_method
from iid_mm.evaluation.scores import read_scores
from iid_mm.utils.cli import run_tool
from iid_mm.visualization import score_plots


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('scores', type=Path, help='Parquet file written by tools/test.py --out')
    parser.add_argument('--out', type=Path, required=True, help='folder for the plots')
    parser.add_argument('--threshold', type=float, default=0.5, help='lowest score classified as fake (0.5)')
    parser.add_argument('--how', default='mean', choices=AGGREGATIONS, help='frame aggregation (mean)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    scored = read_scores(args.scores).by_video(args.how)
    print(format_table(per_method(scored, threshold=args.threshold)))
    for plot in score_plots(scored, args.out, threshold=args.threshold):
        print(plot)


if __name__ == '__main__':
    sys.exit(run_tool(main))
