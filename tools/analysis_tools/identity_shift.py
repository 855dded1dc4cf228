#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Measure how much the fake score depends on the person in the video.

The intraclass correlation (ICC) is the between-person share of the variance of genuine videos' scores. It is
0 for a detector that only responds to artifacts. It needs several genuine videos per person: give several
indices or scores files with different takes of the same people. AUC within identities compares fakes
with genuine videos of the same target, AUC across identities with those of other people; a score that shifts
from person to person only lowers the second. See iid_mm/identity/shift.py for the formulas.

Examples:
  python tools/analysis_tools/identity_shift.py CONFIG CKPT --index prepared takes/2 --json shift.json
  python tools/analysis_tools/identity_shift.py --scores test_scores.parquet
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from iid_mm.errors import InputError
from iid_mm.identity.shift import (
    IdentityScores,
    measure_shift,
    scores_of_faces,
    scores_of_files,
    shift_table,
)
from iid_mm.utils.cli import add_model_options, run_tool
from iid_mm.utils.files import write_json


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model_options(parser, nargs='?')
    parser.add_argument('--index', nargs='+', type=Path, help='prepared folders or index files')
    parser.add_argument('--scores', nargs='+', type=Path, help='or scores files of tools/test.py')
    parser.add_argument('--split', default='test', help='train, val, test (default) or all, with --index')
    parser.add_argument('--frames', type=int, help='maximum number of frames per video, with --index')
    parser.add_argument('--level', type=float, default=0.95, help='confidence level (default: 0.95)')
    parser.add_argument('--resamples', type=int, default=1000, help='resamples of identities (default: 1000)')
    parser.add_argument('--seed', type=int, default=0, help='seed of the bootstrap (default: 0)')
    parser.add_argument('--batch-size', type=int, default=64)
    parser.add_argument('--store', type=Path, help='folder that caches scores for later runs')
    parser.add_argument('--json', type=Path, help='JSON file for the metrics')
    return parser.parse_args()


def model_scores(args: argparse.Namespace) -> IdentityScores:
    # torch is not needed for scores files.
    from iid_mm.apis import init_model
    from iid_mm.identity.extraction import extract, face_datasets
    from iid_mm.utils.config import load_config

    cfg = load_config(args.config, args.cfg_options)
    model = init_model(cfg, args.checkpoint, args.device, trust=args.trust_checkpoint)
    datasets = face_datasets(cfg, args.index, split=args.split, frames=args.frames)
    with tempfile.TemporaryDirectory() as folder:
        store = args.store or folder
        return scores_of_faces(extract(model, datasets, ['logits'], store, batch_size=args.batch_size))


def main() -> None:
    args = parse_args()
    if args.scores:
        if args.config or args.index:
            raise InputError('--scores: give either scores files, or CONFIG CKPT and --index')
        scores = scores_of_files(args.scores)
    elif args.checkpoint and args.index:
        scores = model_scores(args)
    else:
        raise InputError('give CONFIG CKPT and --index, or --scores FILE')
    report = measure_shift(scores, level=args.level, resamples=args.resamples, seed=args.seed)
    print(shift_table(report))
    if args.json:
        facts = {name: [str(path) for path in getattr(args, name) or []] for name in ('index', 'scores')}
        facts |= {'config': args.config, 'checkpoint': args.checkpoint, 'split': args.split}
        content = {**facts, 'level': args.level, **report.as_dict()}
        write_json(args.json, content)


if __name__ == '__main__':
    sys.exit(run_tool(main))
