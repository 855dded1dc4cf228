# SPDX-License-Identifier: Apache-2.0
"""Prepare a public deepfake dataset as downloaded: face crops, landmarks and a verified index.

Examples:
    python tools/prepare_data.py ffpp /data/FaceForensics++ data/ffpp
    python tools/prepare_data.py celebdf --help        # what the folder must look like
    python tools/prepare_data.py ffpp /data/FaceForensics++ data/ffpp --num-shards 4 --shard 0
    python tools/prepare_data.py merge data/ffpp       # when all four shards are done

Started again, it goes on where it was stopped.

Exit status: 0 if it is done, 1 after bad input or if nothing can be written, 130 after Ctrl+C.
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
    """Options that every layout takes; None leaves the choice to the layout or the settings."""
    add = parser.add_argument
    add('data_root', type=Path, help='folder of the dataset as downloaded')
    add('out_dir', type=Path, help='where crops and index are written')
    what = parser.add_argument_group('what is read').add_argument
    what('--compression', help='compression level, where the set comes in several')
    what('--methods', nargs='+', help='manipulations to read (default: all)')
    what('--splits-dir', type=Path, help='folder of the split files, or a list file, if it is elsewhere')
    what('--split', help='split of a set that has no official one: train, val or test (default: test)')
    what('--val-fraction', type=float, help='part of the training identities that becomes the val split')
    what('--stills', action='store_true', help='every image is a still of its own, not a frame of a video')
    faces = parser.add_argument_group('faces').add_argument
    faces('--frames', type=int, help='evenly spaced frames a video (default: 32)')
    faces('--analyzer', help=f"one of {', '.join(ANALYZERS)} (default: the layout's)")
    faces('--model-dir', type=Path, help='folder of the models of the analyzer insightface')
    faces('--device', default='auto', help='where insightface computes: auto, cpu or cuda')
    stored = parser.add_argument_group('what is stored').add_argument
    stored('--margin', type=float, help='margin on each side, part of the face box (default: 0.25)')
    stored('--max-side', type=int, help='longest side of a crop, pixels (default: 320)')
    stored('--image-format', help=f'one of {", ".join(IMAGE_FORMATS)} (default: lossless webp)')
    stored('--quality', type=int, help='quality of jpg (default: 98) or lossy webp')
    stored('--masks', action='store_true', help='also store the crops of manipulation masks')
    stored('--keep-frames', action='store_true', help='also store the whole frames')
    work = parser.add_argument_group('work').add_argument
    workers = os.cpu_count() or 1
    work('--num-workers', type=int, default=workers, help='processes; 0: none (default: one a core)')
    work('--num-shards', type=int, default=1, help='number of machines that share the work')
    work('--shard', type=int, default=0, help='number of this machine, from 0')
    work('--overwrite', action='store_true', help='delete what was prepared in out_dir before')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=RAW)
    commands = parser.add_subparsers(dest='layout', metavar='LAYOUT', required=True)
    for name, layout in LAYOUTS.items():
        text = f'{layout.summary}\n\nThe folder holds\n{layout.tree}'
        add_options(commands.add_parser(name, help=layout.summary, description=text, formatter_class=RAW))
    merging = commands.add_parser('merge', help='put the shards of a run together')
    merging.add_argument('out_dir', type=Path, help='where the index is written')
    merging.add_argument(
        'shard_dirs', type=Path, nargs='*', help='folders of the shards (default: all are in out_dir)'
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
        message = 'interrupted: finished videos are kept; run the same command again to go on'
        print(message, file=sys.stderr)
        return 130
    print(format_report(report))
    if args.layout != 'merge' and args.num_shards > 1:
        print(f'shard {args.shard} of {args.num_shards} ends here; when all have ended:')
        print(f'python tools/prepare_data.py merge {args.out_dir}')
    else:
        print(f'index: {args.out_dir / "index.parquet"}')
        print(f'report: {args.out_dir / "report.json"}')
    return 0


if __name__ == '__main__':
    sys.exit(run_tool(main))
