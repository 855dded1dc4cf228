# SPDX-License-Identifier: Apache-2.0
"""Test a detector and print its table of figures.

Example: python tools/test.py configs/iid_effb4_ffpp.py best.pth --out scores.parquet
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmengine.config import Config

from iid_mm.engine import ForgeryRunner
from iid_mm.utils.cli import add_run_options, load_run_config, run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    add_run_options(parser)
    parser.add_argument('--out', help='write the score of every frame to this Parquet file')
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='run code that the checkpoint may hold; only for files whose origin you trust',
    )
    return parser.parse_args()


def prepare_config(args: argparse.Namespace) -> Config:
    cfg = load_run_config(args)
    if not Path(args.checkpoint).is_file():
        raise FileNotFoundError(f'checkpoint {args.checkpoint} does not exist')
    cfg.load_from, cfg.resume = args.checkpoint, False
    cfg.trust_checkpoint = args.trust_checkpoint
    if args.out is not None:
        evaluator = cfg.test_evaluator[0] if isinstance(cfg.test_evaluator, list) else cfg.test_evaluator
        evaluator.scores_file = args.out
    return cfg


def main() -> None:
    ForgeryRunner.from_cfg(prepare_config(parse_args())).test()


if __name__ == '__main__':
    sys.exit(run_tool(main))
