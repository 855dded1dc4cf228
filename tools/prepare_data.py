# SPDX-License-Identifier: Apache-2.0
"""Prepare a public deepfake data set: face crops and an index.

Example:
    python tools/prepare_data.py ffpp /data/FaceForensics++ data/ffpp --num-workers 8
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from iid_mm.preparation.analysers import ANALYSERS, check_analyser
from iid_mm.preparation.driver import prepare
from iid_mm.preparation.layouts import LAYOUTS
from iid_mm.preparation.report import format_report
from iid_mm.preparation.settings import IMAGE_FORMATS, Settings
from iid_mm.utils.cli import run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    # Names are checked by the package, whose messages say more than argparse's `choices`.
    parser.add_argument('layout', help=f'layout of the data set: {", ".join(LAYOUTS)}')
    parser.add_argument('data_root', type=Path, help='folder of the data set as downloaded')
    parser.add_argument('out_dir', type=Path, help='where crops and index are written')
    parser.add_argument('--analyser', default='mediapipe', help=f'one of {", ".join(ANALYSERS)}')
    parser.add_argument('--frames', type=int, default=32, help='evenly spaced frames a video')
    parser.add_argument('--compression', default='c23', help='compression level: raw, c23, c40')
    parser.add_argument('--methods', nargs='+', help='manipulations to read (default: all)')
    parser.add_argument('--splits-dir', type=Path, help='folder of the split files')
    parser.add_argument(
        '--margin', type=float, default=0.25, help='margin on each side, part of the face box'
    )
    parser.add_argument('--max-side', type=int, default=320, help='longest side of a crop, pixels')
    parser.add_argument('--image-format', default='png', help=f'one of {", ".join(IMAGE_FORMATS)}')
    parser.add_argument('--masks', action='store_true', help='also write mask crops')
    parser.add_argument(
        '--num-workers',
        type=int,
        default=os.cpu_count() or 1,
        help='worker processes; 0: none (default: one a core)',
    )
    parser.add_argument('--overwrite', action='store_true', help='delete what was prepared in out_dir before')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    settings = Settings(
        layout=args.layout,
        compression=args.compression,
        methods=tuple(sorted(set(args.methods))) if args.methods else None,
        analyser=args.analyser,
        analyser_version=check_analyser(args.analyser),
        frames=args.frames,
        margin=args.margin,
        max_side=args.max_side,
        image_format=args.image_format,
        masks=args.masks,
    )
    report = prepare(
        args.data_root,
        args.out_dir,
        settings,
        splits_dir=args.splits_dir,
        num_workers=args.num_workers,
        overwrite=args.overwrite,
    )
    print(format_report(report))
    print(f'index: {args.out_dir / "index.parquet"}')


if __name__ == '__main__':
    sys.exit(run_tool(main))
