# SPDX-License-Identifier: Apache-2.0
"""Generate a small synthetic dataset of genuine and manipulated videos (FaceForensics++ layout)."""

from __future__ import annotations

import argparse
import sys

from iid_mm.toy import METHODS, ToyConfig, generate_toy_set
from iid_mm.utils.cli import run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    default = ToyConfig()
    parser.add_argument('out', metavar='OUT', help='folder to write; an interrupted run resumes')
    parser.add_argument('--num-identities', type=int, default=default.num_identities, help='number of people')
    parser.add_argument('--frames', type=int, default=default.frames, help='frames per video')
    parser.add_argument('--size', type=int, default=default.size, help='frame width and height in pixels')
    parser.add_argument('--fps', type=int, default=default.fps, help='frame rate')
    parser.add_argument('--methods', nargs='+', default=list(METHODS), metavar='METHOD', help='manipulations')
    parser.add_argument('--pairs-per-identity', type=int, default=default.pairs_per_identity)
    parser.add_argument(
        '--split-fractions',
        nargs=3,
        type=float,
        default=default.split_fractions,
        metavar=('TRAIN', 'VAL', 'TEST'),
        help='fractions of people in each split',
    )
    parser.add_argument('--crf', type=int, default=default.crf, help='H.264 quality, 0 is best')
    parser.add_argument(
        '--strength',
        type=float,
        default=default.strength,
        help='visibility of the artifacts: 1 is subtle, 2 is obvious',
    )
    parser.add_argument('--seed', type=int, default=default.seed)
    parser.add_argument(
        '--take',
        type=int,
        default=default.take,
        help='recording session: other clips of the same people; use one folder per take',
    )
    parser.add_argument('--num-workers', type=int, default=1, help='number of processes')
    parser.add_argument(
        '--overwrite', action='store_true', help='delete a toy dataset with other settings in OUT'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    config = ToyConfig(
        num_identities=args.num_identities,
        frames=args.frames,
        size=args.size,
        fps=args.fps,
        methods=tuple(args.methods),
        pairs_per_identity=args.pairs_per_identity,
        split_fractions=tuple(args.split_fractions),
        crf=args.crf,
        seed=args.seed,
        strength=args.strength,
        take=args.take,
    )
    root = generate_toy_set(args.out, config, num_workers=args.num_workers, overwrite=args.overwrite)
    genuine = config.num_identities
    fakes = genuine * config.pairs_per_identity * len(config.methods)
    print(f'{root}: {genuine} genuine and {fakes} manipulated videos of {config.frames} frames')


if __name__ == '__main__':
    sys.exit(run_tool(main))
