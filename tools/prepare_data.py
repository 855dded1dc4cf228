# SPDX-License-Identifier: Apache-2.0
"""Prepare a public deepfake dataset as downloaded: face crops, landmarks and a verified index.

Examples:
    python tools/prepare_data.py ffpp /data/FaceForensics++ data/ffpp
    python tools/prepare_data.py celebdf --help        # expected folder structure
    python tools/prepare_data.py ffpp /data/FaceForensics++ data/ffpp --num-shards 4 --shard 0
    python tools/prepare_data.py merge data/ffpp       # when all shards are done

An interrupted run resumes when started again.

Exit status: 0 on success, 1 for invalid input or if nothing can be written, 130 after Ctrl+C.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from iid_mm.faces.analyzers import ANALYZERS
from iid_mm.media.image_writing import IMAGE_FORMATS
from iid_mm.preparation.driver import RunOptions, make_settings, merge, prepare
from iid_mm.preparation.layouts import LAYOUTS
from iid_mm.preparation.report import format_report
from iid_mm.preparation.shards import Shard
from iid_mm.utils.cli import run_tool

RAW = argparse.RawDescriptionHelpFormatter


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of all layouts; None leaves the choice to the layout or the settings."""
    add = parser.add_argument
    add('data_root', type=Path, help='folder of the dataset as downloaded')
    add('out_dir', type=Path, help='where crops and index are written')
    what = parser.add_argument_group('input').add_argument
    what('--compression', help='compression level, for datasets with several')
    what('--methods', nargs='+', help='manipulations to read (default: all)')
    what('--splits-dir', type=Path, help='folder of the split files, or list file, if not in DATA_ROOT')
    what('--split', help='split for datasets without official splits: train, val or test (default: test)')
    what('--val-fraction', type=float, help='fraction of the training identities to move to the val split')
    what('--stills', action='store_true', help='images are separate stills, not frames of one video')
    faces = parser.add_argument_group('faces').add_argument
    faces('--frames', type=int, help='number of evenly spaced frames per video (default: 32)')
    faces('--analyzer', help=f"one of {', '.join(ANALYZERS)} (default: the layout's)")
    faces('--model-dir', type=Path, help='folder of the insightface models')
    faces('--device', default='auto', help='device for insightface: auto, cpu or cuda (default: auto)')
    stored = parser.add_argument_group('output').add_argument
    stored('--margin', type=float, help='margin on each side, as a fraction of the face box (default: 0.25)')
    stored('--max-side', type=int, help='maximum side of a crop in pixels (default: 320)')
    stored('--image-format', help=f'one of {", ".join(IMAGE_FORMATS)} (default: lossless webp)')
    stored('--quality', type=int, help='quality of jpg (default: 98) or lossy webp')
    stored('--masks', action='store_true', help='also store the crops of manipulation masks')
    stored('--keep-frames', action='store_true', help='also store the whole frames')
    work = parser.add_argument_group('processing').add_argument
    workers = os.cpu_count() or 1
    work('--num-workers', type=int, default=workers, help='worker processes; 0: none (default: one per core)')
    work('--num-shards', type=int, default=1, help='number of shards, e.g. machines (default: 1)')
    work('--shard', type=int, default=0, help='number of this shard, from 0 (default: 0)')
    work('--overwrite', action='store_true', help='delete earlier output in out_dir first')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=RAW)
    commands = parser.add_subparsers(dest='layout', metavar='LAYOUT', required=True)
    for name, layout in LAYOUTS.items():
        text = f'{layout.summary}\n\nExpected folder structure:\n{layout.tree}'
        add_options(commands.add_parser(name, help=layout.summary, description=text, formatter_class=RAW))
    merging = commands.add_parser('merge', help='merge the shards of a run')
    merging.add_argument('out_dir', type=Path, help='where the index is written')
    merging.add_argument(
        'shard_dirs', type=Path, nargs='*', help='folders of the shards (default: all in out_dir)'
    )
    return parser.parse_args()


def run_preparation(args: argparse.Namespace) -> dict[str, Any]:
    """Prepare what the arguments ask for; returns the report."""
    run = RunOptions(
        num_workers=args.num_workers,
        shard=Shard(args.shard, args.num_shards),
        overwrite=args.overwrite,
        splits_dir=args.splits_dir,
        model_dir=args.model_dir,
        device=args.device,
    )
    names = ['compression', 'split', 'val_fraction', 'stills', 'frames', 'analyzer', 'margin', 'max_side']
    names += ['image_format', 'quality', 'masks', 'keep_frames']
    choices = {name: getattr(args, name) for name in names}
    choices['methods'] = tuple(sorted(set(args.methods))) if args.methods else None
    return prepare(args.data_root, args.out_dir, make_settings(args.layout, run, **choices), run)


def main() -> int:
    args = parse_args()
    try:
        report = merge(args.out_dir, args.shard_dirs) if args.layout == 'merge' else run_preparation(args)
    except KeyboardInterrupt:
        if os.environ.get('IID_DEBUG') == '1':
            raise
        message = 'interrupted: finished videos are kept; run the same command again to resume'
        print(message, file=sys.stderr)
        return 130
    print(format_report(report))
    if args.layout != 'merge' and args.num_shards > 1:
        print(f'shard {args.shard} of {args.num_shards} is done; when all are done, run:')
        print(f'python tools/prepare_data.py merge {args.out_dir}')
    else:
        print(f'index: {args.out_dir / "index.parquet"}')
        print(f'report: {args.out_dir / "report.json"}')
    return 0


if __name__ == '__main__':
    sys.exit(run_tool(main))
