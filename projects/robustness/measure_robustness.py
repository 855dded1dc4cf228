# SPDX-License-Identifier: Apache-2.0
"""Test the robustness of a detector to the distortions of DeeperForensics-1.0 and JPEG, at five levels each.

Examples of options for `python projects/robustness/measure_robustness.py CONFIG best.pth`:
    --distortions jpeg gaussian_blur --levels 1 3 5
    --videos /data/FaceForensics++ --layout ffpp
    --resume

The stored crops of the test set are distorted on the fly. Writes report.md, report.json, curves.png (video
AUC against level), distortions.png (all distortions on one face, for visual inspection), and
frame_scores/*.parquet with the score of every face.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.registry import init_default_scope

from iid_mm.datasets.functional.distortion import DISTORTIONS, LEVELS
from iid_mm.datasets.functional.h264 import check_encoder
from iid_mm.errors import InputError
from iid_mm.evaluation.eval_sets import EvalSet, check_eval_set, find_eval_sets
from iid_mm.evaluation.functional.aggregate import AGGREGATIONS
from iid_mm.reporting.scoring import score_sets
from iid_mm.utils.cli import add_run_options, load_run_config, run_tool
from robustness.grid import distorted_set, make_cells
from robustness.report import ReportChoices, plain_dataset, write_report


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    add = parser.add_argument
    add('--distortions', nargs='+', metavar='NAME', help=f'default: all ({", ".join(DISTORTIONS)})')
    add('--levels', nargs='+', type=int, default=list(LEVELS), help='from 1 to 5 (default: all)')
    add('--test-set', '--index', help="prepared folder or index file, or a name in the config's test_sets")
    add('--split', help="split to test (default: the config's)")
    add('--frames-per-video', type=int, help='maximum number of frames per video, for a quick estimate')
    add('--out-dir', type=Path, help='(default: WORK_DIR/robustness)')
    add(
        '--resume',
        action='store_true',
        help='reuse scores computed from the same inputs',
    )
    add('--per-method', action='store_true', help='add a table per manipulation')
    add('--aggregation', default='mean', choices=AGGREGATIONS, help='frame aggregation (default: mean)')
    add('--identities', action='store_true', help='intervals respect several videos of one person')
    add('--videos', type=Path, help='folder of the original videos, to compress them instead of the crops')
    add('--layout', help='layout of --videos, as in tools/prepare_data.py')
    add('--splits-dir', type=Path, help='folder of the split files of --videos, if elsewhere')
    add('--trust-checkpoint', action='store_true', help='allow the checkpoint to run code')
    add_run_options(parser)
    return parser.parse_args()


def find_set(args: argparse.Namespace, cfg: Config) -> EvalSet:
    """The set to test."""
    name = args.test_set
    if name is not None and name.endswith('.parquet'):
        path = Path(name)
        if not path.is_file():
            raise FileNotFoundError(f'index {path} does not exist; make it with tools/prepare_data.py')
        if path.name != 'index.parquet':
            raise InputError(f'--test-set {path}: give a prepared folder, or its index.parquet')
        name = str(path.resolve().parent)
    (found,) = find_eval_sets(cfg, None if name is None else [name])
    if args.split is not None:
        found.dataset['split'] = args.split
    if args.frames_per_video is not None:
        found.dataset['frames_per_video'] = args.frames_per_video
    return found


def find_videos(args: argparse.Namespace, with_compression: bool) -> dict[str, Any] | None:
    if (args.videos is None) != (args.layout is None):
        raise InputError(
            '--videos and --layout go together: where the original videos are, and how they lie there'
        )
    if args.videos is None:
        return None
    if not with_compression:
        raise InputError('--videos is for video_compression, which is not among --distortions')
    return dict(
        root=str(args.videos), layout=args.layout, splits_dir=args.splits_dir and str(args.splits_dir)
    )


def main() -> None:
    args = parse_args()
    cells = make_cells(args.distortions, args.levels)
    with_compression = any(cell.kind == 'video_compression' for cell in cells)
    cfg = load_run_config(args)
    init_default_scope(cfg.get('default_scope', 'iid_mm'))
    checkpoint = Path(args.checkpoint)
    if not checkpoint.is_file():
        raise FileNotFoundError(f'checkpoint {checkpoint} does not exist')
    # Everything that can be wrong is found before the model is built.
    test_set = find_set(args, cfg)
    table = check_eval_set(test_set)
    originals = find_videos(args, with_compression)
    if with_compression:
        check_encoder()
    faces = plain_dataset(test_set, originals)
    sets = {cell.name: (distorted_set(test_set, cell, originals), table) for cell in cells}
    out_dir = args.out_dir or Path(cfg.work_dir) / 'robustness'
    cfg.load_from, cfg.resume, cfg.trust_checkpoint = args.checkpoint, False, args.trust_checkpoint
    records, _ = score_sets(cfg, checkpoint, sets, out_dir, args.resume)
    if is_main_process():
        choices = ReportChoices(args.aggregation, args.identities, args.per_method)
        by_cell = {cell: records[cell.name] for cell in cells}
        print(write_report(out_dir, by_cell, test_set, cfg, choices, faces))
        print(f'\nreport, plots and scores: {out_dir}')


if __name__ == '__main__':
    sys.exit(run_tool(main))
